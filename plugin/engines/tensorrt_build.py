"""NVIDIA's compilers: TensorRT 10 and 11 and TensorRT-RTX, loaded with care and asked for a plan.

Networks are strongly typed: the types are those in the ONNX file, so there is one file for each precision.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from mdenoise.errors import EngineError

log = logging.getLogger(__name__)

NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
TRIPLES_AT_ONCE = 16
LEAST_PX, TYPICAL_PX, LARGEST_PX = 64, (1088, 1152), (1280, 2048)  # typical: a tile of 1080p


def missing(library: str) -> str | None:
    """Why a library cannot be used, in one line, or None. Loads nothing."""
    if importlib.util.find_spec(library) is None:
        return f'{NAMES[library]} is not installed: pip install "mdenoise[{library.replace("_", "-")}]"'
    return None


def load_library(library: str) -> ModuleType:
    """The module; every way in which an installation is incomplete is one EngineError."""
    problem = missing(library)
    if problem:
        raise EngineError(problem)
    try:
        module = importlib.import_module(library)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise EngineError(f"{NAMES[library]} is installed in part and cannot be loaded: {line}") from None
    if not hasattr(module, "Builder") or not hasattr(module, "OnnxParser"):
        raise EngineError(f"{NAMES[library]} is installed without its compiler (lean or dispatch runtime)")
    return module


def open_logger(trt: ModuleType) -> Any:
    """A logger of the library that keeps what went wrong for our own message, in `errors`."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split())[:300])
            log.debug("%s", message)

    return Logger()


def read_network(trt: ModuleType, builder: Any, model: Path, logger: Any) -> tuple[Any, Any]:
    """The strongly typed network of an ONNX file, and its parser, which must live as long."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.read_bytes()):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"{trt.__name__} cannot read {model.name}: {reasons[:300]}")
    return network, parser


def build(trt: ModuleType, model: Path, *, exact: bool, largest_px: int, capability: Any = None) -> bytes:
    """Compile a graph for tiles from 64 x 64 with one triple of layers up. TensorRT-RTX needs no GPU for it; it can be
    told an enumerator of `trt.ComputeCapability` to compile for. `exact`: no TF32.

    Raises EngineError with what the parser or compiler said.
    """
    logger = open_logger(trt)
    try:
        builder = trt.Builder(logger)
    except (RuntimeError, TypeError):  # TensorRT proper: no driver
        raise EngineError(f"{trt.__name__} does not start: {last_error(logger)}") from None
    network, parser = read_network(trt, builder, model, logger)
    config = builder.create_builder_config()
    if exact:
        config.clear_flag(trt.BuilderFlag.TF32)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
    profile = builder.create_optimization_profile()
    typical = tuple(min(side, largest_px) for side in TYPICAL_PX)
    for given in (network.get_input(i) for i in range(network.num_inputs)):
        most = TRIPLES_AT_ONCE if given.name == "layers" else 1
        channels = given.shape[1]
        profile.set_shape(
            given.name,
            (1, channels, LEAST_PX, LEAST_PX),
            (1, channels, *typical),
            (most, channels, largest_px, largest_px),
        )
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    del parser
    if plan is None:
        raise EngineError(f"{trt.__name__} cannot compile {model.name}: {last_error(logger)}")
    return bytes(plan)


def last_error(logger: Any) -> str:
    return logger.errors[-1] if logger.errors else "it does not say why"

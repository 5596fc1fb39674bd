"""TensorRT 10 and 11 and TensorRT-RTX: network and filter in one graph, compiled for the GPU at hand.

A plan is made at first use, which takes from seconds to minutes, and kept (`mdenoise.engines.plans`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mdenoise.engines import cuda, plans
from mdenoise.engines.tensorrt_build import (
    LARGEST_PX,
    NAMES,
    TRIPLES_AT_ONCE,
    build,
    last_error,
    load_library,
    missing,
    open_logger,
)
from mdenoise.engines.triples import arrange
from mdenoise.engines.verify import verify
from mdenoise.errors import EngineError
from mdenoise.models import ModelCard, load_graph

log = logging.getLogger(__name__)

GRAPHS = {"fp16": "fused.fp16", "f32": "fused"}


class TensorRtEngine:
    """One compiled model on one GPU. A session has its stream, memory and graph; sessions of several threads overlap
    copying and computing of different tiles."""

    def __init__(self, card: ModelCard, precision: str = "auto", library: str = "tensorrt", index: int = 0,
                 tile_px: int = LARGEST_PX[0]):  # fmt: skip
        precision = "fp16" if precision == "auto" else precision
        if precision not in GRAPHS:
            raise EngineError(f"precision {precision} cannot be used with {library}. Use --precision fp16 or f32")
        problem = missing(library) or cuda.missing()
        if problem:
            raise EngineError(problem)
        model = load_graph(card, GRAPHS[precision])
        self.name, self.precision = library, precision
        self._trt = trt = load_library(library)
        self._gpu = cuda.open_gpu(index)
        self._sets = 2 if card.chroma else 1
        self._logger = open_logger(trt)
        self._runtime = trt.Runtime(self._logger)  # an engine must not outlive it
        self._context_lock = threading.Lock()
        self._session: _Session | None = None
        largest = next((side for side in LARGEST_PX if side >= tile_px), LARGEST_PX[-1])
        key = {
            "model": card.graphs[GRAPHS[precision]],
            "library": f"{library} {trt.__version__}",
            "gpu": self._gpu.name,
            "capability": self._gpu.capability,
            "driver": self._gpu.driver,
            "precision": precision,
            "profile": f"{largest} px, {TRIPLES_AT_ONCE} triples",
        }
        capability = trt.ComputeCapability.CURRENT if library == "tensorrt_rtx" else None

        def make() -> bytes:
            log.info("compiling %s for %s with %s %s, %s: done once, it can take minutes", card.name, self._gpu.name,
                     NAMES[library], trt.__version__, precision)  # fmt: skip
            started = time.perf_counter()
            plan = build(trt, model, exact=precision == "f32", largest_px=largest, capability=capability)
            self._load(plan)
            difference = verify(self, card)
            log.info("compiled in %.0f s; differs from the CPU by %.2g %%", time.perf_counter() - started,
                     100 * difference)  # fmt: skip
            return plan

        folder = plans.private_folder(library)
        lasting = ("model", "gpu", "precision", "profile")  # a new driver or version replaces the plan of the old
        digest = hashlib.sha256(repr([key[name] for name in lasting]).encode()).hexdigest()[:16]
        self._path = folder / f"{card.name}.{digest}.plan" if folder else None
        self._key = key
        if self._path is None:
            make()
            return
        plan, fresh = plans.load_or_build(self._path, key, make)
        if fresh:
            return
        try:
            self._load(plan)
        except EngineError as error:  # whole, and for this very GPU and version, and yet refused: once more
            log.warning("%s is made again: %s", self._path, error)
            self._path.unlink(missing_ok=True)
            plans.load_or_build(self._path, key, make)

    def _load(self, plan: bytes) -> None:
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"{NAMES[self.name]} cannot load what it compiled: {last_error(self._logger)}")

    def session(self) -> TensorRtEngine:
        """This engine for one more thread."""
        twin = object.__new__(TensorRtEngine)
        twin.__dict__ |= self.__dict__ | {"_session": None}
        return twin

    def filter(
        self, guide: np.ndarray, layers: np.ndarray, confidence: np.ndarray, differences: Collection[int] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `mdenoise.engines.filter_layers`."""
        if self._session is None:
            with self._context_lock:
                self._session = _Session(self._trt, self._engine, self._gpu.index, self._logger, self._path, self._key)
        session = self._session
        plan = arrange(layers.shape[2], differences, self._sets)
        out = np.empty(layers.shape, np.float32)
        for first in range(0, plan.count, TRIPLES_AT_ONCE):
            count = min(TRIPLES_AT_ONCE, plan.count - first)
            session.prepare((count, *layers.shape[:2]), guide.shape[1], self._sets)
            tensors = session.tensors
            tensors["guide"].host[:] = guide
            tensors["confidence"].host[0, 0] = confidence
            plan.pack(layers, first, tensors["layers"].host)
            session.run()
            plan.unpack(tensors["filtered"].host, first, out)
        return out, plan.valid(session.tensors["valid"].host)


class _Session:
    """Context, stream, pinned memory and recorded graph of one thread."""

    def __init__(self, trt: ModuleType, engine: Any, index: int, logger: Any, path: Path | None, key: dict[str, str]):
        self._trt, self._engine, self._index, self._logger = trt, engine, index, logger
        self._path = path.with_suffix(".kernels") if path else None  # of TensorRT-RTX: compiled at first run
        self._key = key
        self._stream = cuda.Stream(index)
        self._records_itself = hasattr(trt, "CudaGraphStrategy")
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._cache = None
        if self._records_itself:
            # Kernels are made and specialised for the shape at run time, so it records its graphs itself.
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._cache = config.create_runtime_cache()
            known = plans.read(self._path, key) if self._path else None
            if known:
                self._cache.deserialize(known)
            config.set_runtime_cache(self._cache)
            self._context = engine.create_execution_context(config)
        else:
            self._context = engine.create_execution_context(strategy)
        if self._context is None:
            raise EngineError(f"{trt.__name__} cannot make an execution context: {last_error(logger)}")
        self._shape: tuple[int, ...] = ()
        self._runs = 0
        self.tensors: dict[str, cuda.Tensor] = {}

    def prepare(self, shape: tuple[int, int, int], guide: int, sets: int) -> None:
        """Memory for (triples, height, width); nothing is done when it is that of the last time."""
        cuda.call(cuda.runtime().cudaSetDevice, self._index)
        if shape == self._shape:
            return
        count, *size = shape
        self._graph, self._runs, self._shape = None, 0, ()
        shapes = {"guide": (1, guide, *size), "layers": (count, 3, *size), "confidence": (1, 1, *size)}
        for name, dimensions in shapes.items():
            self._ask(self._context.set_input_shape(name, dimensions), f"take {name} of {dimensions}")
        self.tensors = {}  # before the new ones are made
        shapes |= {"filtered": (count, 3, *size), "valid": (1, sets, *size)}
        for name, dimensions in shapes.items():
            self.tensors[name] = tensor = cuda.Tensor(dimensions, np.bool_ if name == "valid" else np.float32)
            self._ask(self._context.set_tensor_address(name, tensor.device.address), f"use memory for {name}")
        self._scratch = None
        self._scratch = cuda.Memory(self._context.update_device_memory_size_for_shapes())
        self._context.set_device_memory(self._scratch.address, self._scratch.size)
        self._shape = shape

    def run(self) -> None:
        """Copy in, compute, copy out, and wait. What runs often enough is recorded and started as one."""
        self._runs += 1
        if self._runs == 2 and not self._records_itself:
            try:
                self._graph = self._stream.capture(self._enqueue)
            except EngineError as error:  # not every version can: then it is started piece by piece
                log.debug("no CUDA graph: %s", error)
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue()
        self._stream.wait()
        if self._runs == 1 and self._cache is not None and self._path is not None:
            blob = self._cache.serialize()
            if blob is not None:
                plans.keep(self._path, self._key, bytes(blob))

    def _enqueue(self) -> None:
        for name in ("guide", "layers", "confidence"):
            self.tensors[name].upload(self._stream.handle)
        self._ask(self._context.execute_async_v3(int(self._stream.handle)), "run")
        for name in ("filtered", "valid"):
            self.tensors[name].download(self._stream.handle)

    def _ask(self, done: bool, what: str) -> None:
        if not done:
            raise EngineError(f"{self._trt.__name__} cannot {what}: {last_error(self._logger)}")

"""The network in 8 bits, for CPUs without bfloat16.

The graph stays as it is; it is told where it may round, and OpenVINO computes what lies between in integers. What goes
into a layer is rounded to 256 steps of a range that `mdenoise.exporters.int8` measured on real guides, its weights to
127 steps for each output channel: with more of them CPUs without VNNI, which add two products in 16 bits, overflow. The
layers that give the logits are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mdenoise.errors import EngineError

WEIGHTED = {"Convolution": (1, 2, 3), "MatMul": (0,)}  # and the axes of the weights that an output channel sums over
STEPS, WEIGHT_STEPS = 256, 255


def layer_name(node: Any) -> str:
    """Its name in the ONNX file: OpenVINO adds to that of a convolution that its bias is apart."""
    return node.get_friendly_name().removesuffix("/WithoutBiases")


def weighted_layers(model: Any) -> dict[str, Any]:
    """The convolutions and matrix products with weights of their own, by name."""
    return {
        layer_name(node): node
        for node in model.get_ordered_ops()
        if node.get_type_name() in WEIGHTED and node.input_value(1).get_node().get_type_name() == "Constant"
    }


def round_layers(model: Any, ranges: Mapping[str, Sequence[float]], ops: Any) -> Any:
    """The graph, changed in place, that rounds the layers of `ranges`: lowest and highest input by the layer's name.
    `ops` is an OpenVINO opset. Raises EngineError where the graph has no such layer."""
    layers = weighted_layers(model)
    if missing := sorted(set(ranges) - set(layers)):
        raise EngineError(
            f"precision int8 cannot be used: the model's card has a range for {missing[0]}, its graph no such layer. "
            "Use --precision f32"
        )
    for name, (low, high) in ranges.items():
        node = layers[name]
        span = np.float32(low), np.float32(high)
        weights = node.input_value(1)
        most = np.abs(weights.get_node().data).max(WEIGHTED[node.get_type_name()], keepdims=True)
        most = 2 * np.maximum(most, np.float32(1e-6))  # half of the steps stay unused
        node.input(0).replace_source_output(ops.fake_quantize(node.input_value(0), *span, *span, STEPS).output(0))
        rounded = ops.fake_quantize(weights, -most, most, -most, most, WEIGHT_STEPS)
        node.input(1).replace_source_output(rounded.output(0))
    model.validate_nodes_and_infer_types()
    return model

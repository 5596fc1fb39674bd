"""Half precision, written into the graph: engines that are strongly typed compute in the types they find there.

The network becomes float16 but for its normalisations and softmax; inputs, outputs and the filter stay float32.
Nothing here knows torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

NETWORK = "/net/"  # what the exporter's names of the network's nodes begin with
KEPT = ("LayerNormalization", "Softmax")
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def to_half(model: ModelProto) -> ModelProto:
    """A copy of an exported model, `predict` or `fused`, whose network computes in float16."""
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    weights = {weight.name: weight for weight in graph.initializer}
    outputs = {value.name for value in graph.output}
    now = {name: FLOAT for name, kind in types.items() if kind == FLOAT}  # of every tensor of real numbers
    nodes: list[NodeProto] = []

    def given(name: str, wanted: int) -> str:
        """The name of a tensor in the type wanted; it is made where it does not exist yet."""
        if now[name] == wanted:
            return name
        other = f"{name}_{'half' if wanted == HALF else 'float'}"
        if other not in now:
            now[other] = wanted
            if name in weights:
                weights[other] = numpy_helper.from_array(as_half(numpy_helper.to_array(weights[name])), other)
            else:
                nodes.append(helper.make_node("Cast", [name], [other], f"{other}/Cast", to=wanted))
        return other

    for source in graph.node:
        wanted = HALF if source.name.startswith(NETWORK) and source.op_type not in KEPT else FLOAT
        node = NodeProto()
        node.CopyFrom(source)
        node.input[:] = [given(name, wanted) if name in now else name for name in source.input]
        nodes.append(node)
        for i, name in enumerate(source.output):
            if types.get(name) != FLOAT:
                continue
            now[name] = wanted
            if wanted == HALF:
                retype(node)
                if name in outputs:
                    inner = node.output[i] = f"{name}_half"
                    now[inner], now[name] = HALF, FLOAT
                    nodes.append(helper.make_node("Cast", [inner], [name], f"{name}/Cast", to=FLOAT))
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weight for name, weight in weights.items() if name in used)
    onnx.checker.check_model(model, full_check=True)
    return model


def retype(node: NodeProto) -> None:
    """Give a node that makes float32 by what its attributes say float16 instead."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
            attribute.i = HALF
        elif node.op_type in ("Constant", "ConstantOfShape") and attribute.t.data_type == FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(as_half(numpy_helper.to_array(attribute.t))))


def as_half(array: np.ndarray) -> np.ndarray:
    return np.clip(array, -65504.0, 65504.0).astype(np.float16)

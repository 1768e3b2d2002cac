"""The drum network written anew as an OpenVINO graph: the same function of the same weights.

Belongs here: the network between features and mask logits. Does not belong here: spectra and bands (`band_spectrum`),
compiling, running.

What differs from the torch module (`network.DrumUNet`), and why (each identity is exact; only rounding changes):

- Frames are rows, bands columns and channels lie last, as the spectra around it have them: nothing is reordered.
- Batch norms are folded into the convolutions before them.
- A convolution of two maps side by side is the sum of one over each: nothing is copied together.
- The entry to the time context, a product with all bands of a frame, is a convolution as wide as the bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openvino as ov

State = Mapping[str, NDArray[Any]]

FEATURES = 3
_STRIDES = ((1, 1), (1, 2), (2, 2), (1, 2), (2, 2))
"""Of each level, over frames and bands."""
_EPS = 1e-5


def build_graph(state: State, dilations: Sequence[int], frames: int, bands: int) -> ov.Model:
    """Features float32 [1, frames, bands, 3] → mask logits float32 [1, frames, bands, parts].

    `state`: the tensors of `network.DrumNetwork` by name. Raises KeyError when one is missing.
    """
    import openvino as ov
    from openvino import opset15 as op

    features = op.parameter([1, frames, bands, FEATURES], np.float32, name="features")
    x = op.transpose(features, _ints(0, 3, 1, 2))
    skips: list[ov.Node] = []
    for level, stride in enumerate(_STRIDES):
        if level == 1:
            x = op.add(x, _const(_array(state, "unet.band_position").transpose(0, 1, 3, 2)))
        x = _block([x], state, f"unet.down.{level}", stride)
        skips.append(x)
    x = _time_context(skips.pop(), state, dilations)
    for level in range(len(_STRIDES) - 1):
        skip = skips.pop()
        x = _block([_widened(x, skip), skip], state, f"unet.up.{level}")
    head = _kernel(state, "unet.head.weight")
    y = op.add(_convolve(x, head), _per_channel(_array(state, "unet.head.bias")))
    return ov.Model([op.result(op.transpose(y, _ints(0, 2, 3, 1)))], [features], "stemline_drums")


def _block(inputs: list[ov.Node], state: State, name: str, stride: tuple[int, int] = (1, 1)) -> ov.Node:
    """Two convolutions with norm and ReLU, the first over all `inputs` side by side."""
    from openvino import opset15 as op

    weight, offset = _without_norm(_kernel(state, f"{name}.0.0.weight"), state, f"{name}.0.1")
    splits = np.cumsum([node.get_output_shape(0)[1] for node in inputs])[:-1]
    y = None
    for node, part in zip(inputs, np.split(weight, splits, axis=1), strict=True):
        z = _convolve(node, part, stride=stride, pad=(1, 1))
        y = z if y is None else op.add(y, z)
    y = op.relu(op.add(y, _per_channel(offset)))
    weight, offset = _without_norm(_kernel(state, f"{name}.1.0.weight"), state, f"{name}.1.1")
    return op.relu(op.add(_convolve(y, weight, pad=(1, 1)), _per_channel(offset)))


def _time_context(x: ov.Node, state: State, dilations: Sequence[int]) -> ov.Node:
    from openvino import opset15 as op

    _, channels, frames, bands = x.get_output_shape(0)
    name = "unet.context"
    weight, offset = _without_norm(_array(state, f"{name}.enter.0.weight"), state, f"{name}.enter.1")
    y = op.relu(op.add(_convolve(x, weight.reshape(-1, channels, 1, bands)), _per_channel(offset)))
    for index, dilation in enumerate(dilations):
        weight, offset = _without_norm(
            _array(state, f"{name}.blocks.{index}.0.weight"), state, f"{name}.blocks.{index}.1"
        )
        z = _convolve(y, weight[..., None], pad=(dilation, 0), dilation=(dilation, 1))
        y = op.add(y, op.relu(op.add(z, _per_channel(offset))))
    # Its outputs are ordered by channel, then band: put channels last, where they lie in memory.
    width = y.get_output_shape(0)[1]
    weight = _array(state, f"{name}.leave.weight").reshape(channels, bands, width).transpose(1, 0, 2)
    offset = _array(state, f"{name}.leave.bias").reshape(channels, bands).T
    z = op.add(_convolve(y, weight.reshape(-1, width, 1, 1)), _per_channel(offset))
    z = op.reshape(op.transpose(z, _ints(0, 2, 3, 1)), _ints(1, frames, bands, channels), False)
    return op.add(x, op.transpose(z, _ints(0, 3, 1, 2)))


def _widened(x: ov.Node, like: ov.Node) -> ov.Node:
    """Nearest neighbour to the frames and bands of `like`."""
    from openvino import opset15 as op

    size = like.get_output_shape(0)[2:]
    return op.interpolate(
        x, _ints(*size), "nearest", "sizes", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        axes=_ints(2, 3),
    )  # fmt: skip


def _convolve(
    x: ov.Node,
    weight: NDArray[np.float32],
    *,
    stride: tuple[int, int] = (1, 1),
    pad: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> ov.Node:
    from openvino import opset15 as op

    return op.convolution(x, _const(weight), list(stride), list(pad), list(pad), list(dilation))


def _without_norm(
    weight: NDArray[np.float32], state: State, norm: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and offset of a convolution with the batch norm after it folded in."""
    variance = _array(state, f"{norm}.running_var").astype(np.float64)
    gain = _array(state, f"{norm}.weight") / np.sqrt(variance + _EPS)
    offset = _array(state, f"{norm}.bias") - gain * _array(state, f"{norm}.running_mean")
    folded = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.astype(np.float32), offset.astype(np.float32)


def _array(state: State, name: str) -> NDArray[np.float32]:
    return np.ascontiguousarray(state[name], dtype=np.float32)


def _kernel(state: State, name: str) -> NDArray[np.float32]:
    """Of a convolution over bands and frames, as one over frames and bands."""
    return _array(state, name).swapaxes(2, 3)


def _const(values: Any) -> ov.Node:
    from openvino import opset15 as op

    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _per_channel(values: Any) -> ov.Node:
    return _const(np.reshape(values, (1, -1, 1, 1)))


def _ints(*values: int) -> ov.Node:
    from openvino import opset15 as op

    return op.constant(np.array(values, np.int64))

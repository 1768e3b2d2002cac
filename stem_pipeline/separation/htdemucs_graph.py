"""HTDemucs written anew as an OpenVINO graph: the same function of the same weights, in the shapes a CPU is fast at.

Belongs here: the network between the STFT and the inverse STFT. Does not belong here: the transforms, compiling, running.

What differs from the PyTorch module, and why (each identity is exact; only rounding changes):

- Channels lie last from the first layer to the last, so no layer has to reorder what the one before it wrote.
- A stride-4 convolution of few channels, and the transposed one that ends each branch, work on blocks of four samples
  as channels (space to depth): full vector lanes in, and an output that the inverse STFT can gather in whole runs.
- The residual branches (DConv) are convolutions of height 1 over [channels, frequency, time]. Demucs folds frequency
  into the batch for them, which costs two transposes of the widest maps each time.
- The second norm of a DConv never reads the wide map it normalises: mean and variance of W·h + b follow from the
  eight times narrower h, and the norm becomes a scale and an offset per frequency row.
- A gated linear unit is two convolutions and a product, not one convolution and a split that copies its halves.
- Layer scales, the query's 1/√d, embeddings and positions are constants folded into weights or added once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openvino as ov

BLOCK = 4
"""Samples or bins that lie together as channels at both ends of the graph: the stride of every layer."""
_CROP = 2
"""How many samples or bins the network's padding adds on each side, at both ends of the graph."""
_EPS = 1e-5


def build_graphs(model: Any) -> tuple[ov.Model, ov.Model]:
    """The network for one segment of `model`, a `demucs.htdemucs.HTDemucs` of depth 4 with transformer: body and tail.

    Body. Inputs, both with zero mean and unit deviation, padded by 2 zeros on each side and cut in blocks of 4:
    `spectrogram` float32 [1, 513, frames, 16] (last axis: audio channel, bin in block, real/imaginary) and
    `waveform` float32 [1, 1, blocks, 8] (audio channel, sample in block). Outputs: the maps that the last layer over
    frequency works on, float32 [1, 512, frames, channels], and the waveforms [1, 1, blocks, 32] (source, audio channel,
    sample).
    Tail. Those maps → spectrograms, float32 [1, 513, frames, 64] (source, audio channel, bin, real/imaginary).

    The tail stands apart to be computed in float32 always: the norms of the last residual branch raise small
    differences of large numbers. In bfloat16 they alone make nine tenths of the error (24 dB below a quiet stem on one
    song, where all the rest together leaves 38), and are a twentieth of the time.
    """
    import openvino as ov
    from openvino import opset15 as op

    samples = int(model.segment * model.samplerate)
    frames = -(-samples // model.hop_length)
    bins = model.nfft // 2
    lengths = [samples]
    for _ in model.tencoder:
        lengths.append(-(-lengths[-1] // BLOCK))
    spectrogram = op.parameter([1, bins // BLOCK + 1, frames, 16], np.float32, name="spectrogram")
    waveform = op.parameter([1, 1, lengths[1] + 1, 8], np.float32, name="waveform")
    x, xt = _channels_first(spectrogram), _channels_first(waveform)

    skips, skips_t = [], []
    for index, (layer, layer_t) in enumerate(zip(model.encoder, model.tencoder, strict=True)):
        x, xt = _encode(x, layer, 0, index == 0), _encode(xt, layer_t, lengths[index], index == 0)
        if index == 0:
            embedding = model.freq_emb_scale * _array(model.freq_emb.weight)
            x = op.add(x, _const(embedding.T[None, :, :, None]))
        skips.append(x)
        skips_t.append(xt)
    x, xt = _transform(x, xt, model, frames, lengths[-1])
    last = len(model.decoder) - 1
    for index, (layer, layer_t) in enumerate(zip(model.decoder, model.tdecoder, strict=True)):
        x = _gated(op.add(x, skips.pop()), layer.rewrite, before=(1, 1))
        xt = _residual(_gated(op.add(xt, skips_t.pop()), layer_t.rewrite, before=(0, 1)), layer_t.dconv)
        if index < last:
            x = _upsample(_residual(x, layer.dconv), layer, 0, 0)
            xt = _upsample(xt, layer_t, lengths[-1 - index], lengths[-2 - index])
        else:
            xt = _upsample_in_blocks(xt, layer_t)
    body = ov.Model([_result(x), _result(xt)], [spectrogram, waveform], "htdemucs_body")

    layer = model.decoder[last]
    maps = op.parameter([1, bins // BLOCK, frames, layer.chin], np.float32, name="maps")
    y = _upsample_in_blocks(_residual(_channels_first(maps), layer.dconv), layer)
    return body, ov.Model([_result(y)], [maps], "htdemucs_tail")


def _channels_first(x: ov.Node) -> ov.Node:
    from openvino import opset15 as op

    return op.transpose(x, _ints(0, 3, 1, 2))


def _result(x: ov.Node) -> ov.Node:
    """An output with its channels last, as they lie in memory."""
    from openvino import opset15 as op

    return op.result(op.transpose(x, _ints(0, 2, 3, 1)))


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)


def _const(values: Any) -> ov.Node:
    from openvino import opset15 as op

    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _ints(*values: int) -> ov.Node:
    from openvino import opset15 as op

    return op.constant(np.array(values, np.int64))


def _per_channel(values: Any) -> ov.Node:
    """One number a channel of [1, channels, frequency, time]."""
    return _const(np.reshape(values, (1, -1, 1, 1)))


def _per_feature(values: Any) -> ov.Node:
    """One number a feature of [1, tokens, features]."""
    return _const(np.reshape(values, (1, 1, -1)))


def _kernel(module: Any) -> NDArray[np.float32]:
    """Weights as of a two-dimensional convolution; those over time alone get height 1."""
    weight = _array(module.weight)
    return weight if weight.ndim == 4 else weight[:, :, None, :]


def _convolve(
    x: ov.Node,
    weight: Any,
    bias: Any = None,
    *,
    stride: tuple[int, int] = (1, 1),
    before: tuple[int, int] = (0, 0),
    after: tuple[int, int] | None = None,
    dilation: tuple[int, int] = (1, 1),
) -> ov.Node:
    from openvino import opset15 as op

    y = op.convolution(x, _const(weight), list(stride), list(before), list(after or before), list(dilation))
    return y if bias is None else op.add(y, _per_channel(bias))


def _gated(x: ov.Node, module: Any, before: tuple[int, int] = (0, 0)) -> ov.Node:
    """Convolution and gated linear unit: (first half of the channels) × sigmoid(second half)."""
    from openvino import opset15 as op

    weight, bias = _kernel(module), _array(module.bias)
    half = len(bias) // 2
    gate = op.sigmoid(_convolve(x, weight[half:], bias[half:], before=before))
    return op.multiply(_convolve(x, weight[:half], bias[:half], before=before), gate)


def _encode(x: ov.Node, layer: Any, length: int, first: bool) -> ov.Node:
    """`length`: samples that come in, for the branch over time, which pads them to a multiple of the stride."""
    from openvino import opset15 as op

    weight, bias = _kernel(layer.conv), _array(layer.conv.bias)
    if first:
        y = _convolve(x, _blocks_as_inputs(weight, layer.freq), bias)
    elif layer.freq:
        y = _convolve(x, weight, bias, stride=(BLOCK, 1), before=(_CROP, 0))
    else:
        y = _convolve(x, weight, bias, stride=(1, BLOCK), before=(0, _CROP), after=(0, _CROP + -length % BLOCK))
    return _gated(_residual(op.gelu(y, "erf"), layer.dconv), layer.rewrite)


def _blocks_as_inputs(weight: NDArray[np.float32], freq: bool) -> NDArray[np.float32]:
    """A stride-4 kernel of 8 taps as a stride-1 kernel of 2 taps over blocks of 4."""
    out = len(weight)
    parts = 2 if freq else 1  # real and imaginary
    blocks = weight.reshape(out, -1, parts, 2, BLOCK).transpose(0, 1, 4, 2, 3).reshape(out, -1, 2)
    return blocks[:, :, :, None] if freq else blocks[:, :, None, :]


def _blocks_as_outputs(
    weight: NDArray[np.float32], bias: NDArray[np.float32], parts: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A transposed stride-4 kernel of 8 taps as a stride-1 kernel of 2 taps whose outputs are blocks of 4.

    Sample 4q + j of the transposed convolution is x[q]·w[j] + x[q − 1]·w[4 + j]. `parts`: 2 for real and imaginary.
    """
    inputs = len(weight)
    taps = weight.reshape(inputs, -1, parts, 2, BLOCK).transpose(1, 4, 2, 0, 3)[..., ::-1].reshape(-1, inputs, 2)
    offsets = np.repeat(bias.reshape(-1, 1, parts), BLOCK, axis=1).reshape(-1)
    return (taps[:, :, :, None] if parts == 2 else taps[:, :, None, :]), offsets


def _upsample(y: ov.Node, layer: Any, length: int, wanted: int) -> ov.Node:
    """The transposed convolution of a layer that is not the last: `length` samples come in, `wanted` go out (over
    time)."""
    from openvino import opset15 as op

    if layer.freq:
        stride, before, after = [BLOCK, 1], [_CROP, 0], [_CROP, 0]
    else:
        stride, before, after = [1, BLOCK], [0, _CROP], [0, BLOCK * (length + 1) - _CROP - wanted]
    z = op.convolution_backprop_data(
        y, _const(_kernel(layer.conv_tr)), stride, pads_begin=before, pads_end=after, dilations=[1, 1]
    )
    return op.gelu(op.add(z, _per_channel(_array(layer.conv_tr.bias))), "erf")


def _upsample_in_blocks(y: ov.Node, layer: Any) -> ov.Node:
    """The last transposed convolution, its samples or bins left in blocks of 4 and uncropped."""
    taps, offsets = _blocks_as_outputs(_kernel(layer.conv_tr), _array(layer.conv_tr.bias), 2 if layer.freq else 1)
    return _convolve(y, taps, offsets, before=(1, 0) if layer.freq else (0, 1))


def _residual(x: ov.Node, dconv: Any) -> ov.Node:
    """The DConv branch: x + scale · GLU(norm(W₂ · GELU(norm(W₁ * x)))) twice, norms over channels and time per row."""
    for narrow, norm_narrow, _, wide, norm_wide, _, scale in dconv.layers:
        x = _residual_step(x, narrow, norm_narrow, wide, norm_wide, scale)
    return x


def _residual_step(x: ov.Node, narrow: Any, norm_narrow: Any, wide: Any, norm_wide: Any, scale: Any) -> ov.Node:
    """One DConv step.

    What depends on the row alone is computed without a time axis and joined to the maps by a reshape: OpenVINO would
    otherwise fuse it with them and compute it again for every moment.
    """
    from openvino import opset15 as op

    reach = narrow.dilation[0]
    h = _convolve(x, _kernel(narrow), _array(narrow.bias), before=(0, reach), dilation=(1, reach))
    h = op.subtract(h, op.reduce_mean(h, _ints(1, 3), True))
    variance = op.reduce_mean(op.reduce_mean(op.multiply(h, h), _ints(3), False), _ints(1), True)
    gain = op.multiply(_inverse_deviation(variance), _per_row(_array(norm_narrow.weight)))
    h = op.gelu(op.add(op.multiply(h, _over_time(gain)), _per_channel(_array(norm_narrow.bias))), "erf")

    weight, bias = _kernel(wide)[:, :, 0, 0].astype(np.float64), _array(wide.bias).astype(np.float64)
    mean, deviation = _moments_of_product(h, weight, bias)
    mean = op.multiply(mean, deviation)
    half = len(bias) // 2
    layer_scale = np.concatenate([_array(scale.scale).astype(np.float64), np.ones(half)])
    gain_wide = layer_scale * _array(norm_wide.weight)
    offset_wide = layer_scale * _array(norm_wide.bias)
    deviation_over_time = _over_time(deviation)

    def normed(part: slice) -> ov.Node:
        y = _convolve(h, (gain_wide[part, None] * weight[part])[:, :, None, None])
        shift = op.subtract(
            op.multiply(deviation, _per_row((gain_wide * bias)[part])), op.multiply(mean, _per_row(gain_wide[part]))
        )
        shift = _over_time(op.add(shift, _per_row(offset_wide[part])))
        return op.add(op.multiply(y, deviation_over_time), shift)

    return op.add(x, op.multiply(normed(slice(0, half)), op.sigmoid(normed(slice(half, None)))))


def _per_row(values: Any) -> ov.Node:
    """One number a channel of [1, channels, frequency]."""
    return _const(np.reshape(values, (1, -1, 1)))


def _over_time(rows: ov.Node) -> ov.Node:
    """[1, channels, frequency] → [1, channels, frequency, 1]."""
    from openvino import opset15 as op

    return op.unsqueeze(rows, _ints(3))


def _inverse_deviation(variance: ov.Node) -> ov.Node:
    from openvino import opset15 as op

    return op.divide(_const(1.0), op.sqrt(op.add(variance, _const(_EPS))))


def _moments_of_product(h: ov.Node, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> tuple[ov.Node, ov.Node]:
    """Mean and 1/deviation, over channels and time, of weight · h + bias, without computing it: [1, 1, frequency].

    With w̄ and b̄ the means over the output channels, the mean over channels at one moment is w̄ · h + b̄; what remains
    of the square, the mean over channels of ((W − w̄) h + (b − b̄))², is the quadratic form of [h; 1] in a matrix with
    one row more than h, whose root makes it a sum of that many squares. Both are non-negative: nothing cancels.
    """
    from openvino import opset15 as op

    width = weight.shape[1]
    spread = np.concatenate([weight - weight.mean(0), (bias - bias.mean())[:, None]], axis=1)
    values, vectors = np.linalg.eigh(spread.T @ spread / len(bias))
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    rows = np.concatenate([root[:, :width], weight.mean(0)[None]])
    q = _convolve(h, rows[:, :, None, None], np.concatenate([root[:, width], [bias.mean()]]))
    means = op.reduce_mean(q, _ints(3), False)
    only_mean = np.zeros(width + 2)
    only_mean[-1] = 1
    q = op.subtract(q, _over_time(op.multiply(means, _per_row(only_mean))))
    variance = op.reduce_sum(op.reduce_mean(op.multiply(q, q), _ints(3), False), _ints(1), True)
    mean = op.slice(means, _ints(width + 1), _ints(width + 2), _ints(1), _ints(1))
    return mean, _inverse_deviation(variance)


def _transform(x: ov.Node, xt: ov.Node, model: Any, frames: int, steps: int) -> tuple[ov.Node, ov.Node]:
    """The transformer over both branches, tokens as [1, tokens, features]; frequency slow, time fast."""
    from demucs.transformer import create_2d_sin_embedding, create_sin_embedding
    from openvino import opset15 as op

    transformer = model.crosstransformer
    channels, width = model.channel_upsampler.in_channels, model.channel_upsampler.out_channels
    rows = model.nfft // 2 // BLOCK ** len(model.encoder)
    places = create_2d_sin_embedding(width, rows, frames, max_period=transformer.max_period)
    places_t = create_sin_embedding(steps, width, max_period=transformer.max_period)
    share = transformer.weight_pos_embed

    def enter(y: ov.Node, tokens: int, up: Any, norm: Any, place: NDArray[np.float32]) -> ov.Node:
        y = op.transpose(op.reshape(y, _ints(1, channels, tokens), False), _ints(0, 2, 1))
        return op.add(_layer_norm(_linear(y, _array(up.weight)[:, :, 0], _array(up.bias)), norm), _const(share * place))

    def leave(y: ov.Node, shape: tuple[int, ...], down: Any) -> ov.Node:
        y = _linear(y, _array(down.weight)[:, :, 0], _array(down.bias))
        return op.reshape(op.transpose(y, _ints(0, 2, 1)), _ints(*shape), False)

    place = _array(places)[0].transpose(1, 2, 0).reshape(1, -1, width)
    y = enter(x, rows * frames, model.channel_upsampler, transformer.norm_in, place)
    yt = enter(xt, steps, model.channel_upsampler_t, transformer.norm_in_t, _array(places_t).transpose(1, 0, 2))
    for layer, layer_t in zip(transformer.layers, transformer.layers_t, strict=True):
        if hasattr(layer, "cross_attn"):
            y, yt = _attend(y, yt, layer), _attend(yt, y, layer_t)
        else:
            y, yt = _attend(y, y, layer), _attend(yt, yt, layer_t)
    return (
        leave(y, (1, channels, rows, frames), model.channel_downsampler),
        leave(yt, (1, channels, 1, steps), model.channel_downsampler_t),
    )


def _attend(x: ov.Node, source: ov.Node, layer: Any) -> ov.Node:
    """One pre-norm transformer layer; `source` is `x` itself, or the other branch in a cross layer."""
    from openvino import opset15 as op

    cross = hasattr(layer, "cross_attn")
    attention = layer.cross_attn if cross else layer.self_attn
    width, heads = attention.embed_dim, attention.num_heads
    weights = np.split(_array(attention.in_proj_weight), 3)
    biases = np.split(_array(attention.in_proj_bias), 3)
    root = np.float32((width // heads) ** -0.5)

    def by_head(y: ov.Node) -> ov.Node:
        return op.transpose(op.reshape(y, _ints(1, -1, heads, width // heads), False), _ints(0, 2, 1, 3))

    asking = _layer_norm(x, layer.norm1)
    asked = _layer_norm(source, layer.norm2) if cross else asking
    query = by_head(_linear(asking, weights[0] * root, biases[0] * root))
    key, value = (by_head(_linear(asked, w, b)) for w, b in zip(weights[1:], biases[1:], strict=True))
    y = op.scaled_dot_product_attention(query, key, value, scale=_const(1.0))
    y = op.reshape(op.transpose(y, _ints(0, 2, 1, 3)), _ints(1, -1, width), False)
    x = op.add(x, _scaled_linear(y, attention.out_proj, layer.gamma_1))
    y = _layer_norm(x, layer.norm3 if cross else layer.norm2)
    y = op.gelu(_linear(y, _array(layer.linear1.weight), _array(layer.linear1.bias)), "erf")
    x = op.add(x, _scaled_linear(y, layer.linear2, layer.gamma_2))
    return _affine(op.mvn(x, _ints(1, 2), True, _EPS, "inside_sqrt"), layer.norm_out)


def _linear(x: ov.Node, weight: Any, bias: Any) -> ov.Node:
    from openvino import opset15 as op

    return op.add(op.matmul(x, _const(weight), False, True), _per_feature(bias))


def _scaled_linear(x: ov.Node, linear: Any, scale: Any) -> ov.Node:
    """A linear layer with the layer scale that follows it folded in."""
    gain = _array(scale.scale)
    return _linear(x, _array(linear.weight) * gain[:, None], _array(linear.bias) * gain)


def _layer_norm(x: ov.Node, norm: Any) -> ov.Node:
    from openvino import opset15 as op

    return _affine(op.mvn(x, _ints(2), True, _EPS, "inside_sqrt"), norm)


def _affine(x: ov.Node, norm: Any) -> ov.Node:
    from openvino import opset15 as op

    return op.add(op.multiply(x, _per_feature(_array(norm.weight))), _per_feature(_array(norm.bias)))

"""ONNX's operator Attention (opsets 23 to 25) as keywords of octavo.attention, for each input and attribute.

ONNX counts its diagonal from `offset`: query i sees key j iff j <= i + offset, with offset = past_sequence_length,
nonpad_kv_seqlen - M per sequence, or 0. These are octavo's diagonals "bottom_right" (N - M, with kv_lens len - M) and
"top_left" (0), but for a past in front of more or fewer new keys than queries: that diagonal becomes a boolean mask.
"""

import numpy as np

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
# What decides Y, and softmax_precision, which asks for no less than octavo always computes in (f32).
ATTRIBUTES = {"is_causal", "kv_num_heads", "left_window_size", "q_num_heads", "qk_matmul_output_mode",
              "right_window_size", "scale", "softcap", "softmax_precision"}  # fmt: skip


def attributes_of(node):
    from onnx import helper

    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert set(found) <= ATTRIBUTES, f"an attribute that nobody translates: {sorted(found)}"
    return found


def inputs_of(node, arrays):
    """Input name of the schema -> array; omitted optional inputs have empty names."""
    present = [place for place, name in zip(INPUTS, node.input) if name]
    assert len(present) == len(arrays) and len(node.input) <= len(INPUTS)
    return dict(zip(present, arrays))


def four_axes(x, heads):
    """[B, N, H * D] -> [B, H, N, D]; four axes are unchanged."""
    if x.ndim == 4:
        return x
    batch, rows, _ = x.shape
    return x.reshape(batch, rows, heads, -1).swapaxes(1, 2)


def padded(mask, keys):
    """The mask's last axis may be shorter than the keys: what is missing may not attend. An axis of 1 is no broadcast
    there unless there is one key only."""
    missing = keys - mask.shape[-1]
    width = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
    return np.pad(mask, width, constant_values=False if mask.dtype == bool else -np.inf)


def shown(mask, visible):
    """The mask of both: what is not visible may not attend."""
    if mask is None:
        return visible
    return mask & visible if mask.dtype == bool else np.where(visible, mask, mask.dtype.type(-np.inf))


def call_of(node, arrays):
    """Operands [B, H, rows, D] and keywords of octavo.attention(layout="HND") that compute Y."""
    attributes, inputs = attributes_of(node), inputs_of(node, arrays)
    heads, kv_heads = attributes.get("q_num_heads"), attributes.get("kv_num_heads")
    q, k, v = four_axes(inputs["Q"], heads), four_axes(inputs["K"], kv_heads), four_axes(inputs["V"], kv_heads)
    past = 0
    if "past_key" in inputs:
        past = inputs["past_key"].shape[2]
        k = np.concatenate([inputs["past_key"], k], axis=2)
        v = np.concatenate([inputs["past_value"], v], axis=2)
    rows, keys = q.shape[2], k.shape[2]

    keywords = {"layout": "HND", "softcap": attributes.get("softcap", 0.0)}
    if "scale" in attributes:
        keywords["scale"] = attributes["scale"]
    mask = padded(inputs["attn_mask"], keys) if "attn_mask" in inputs else None
    causal = bool(attributes.get("is_causal", 0))
    left, right = attributes.get("left_window_size", -1), attributes.get("right_window_size", -1)
    if "nonpad_kv_seqlen" in inputs:
        keywords |= {"kv_lens": inputs["nonpad_kv_seqlen"], "causal": causal, "window": (left, right)}
    elif past == keys - rows:
        keywords |= {"causal": causal, "window": (left, right)}
    elif past == 0 and causal:
        keywords |= {"causal": "top_left", "window": (left, right)}
    elif causal or left >= 0 or right >= 0:
        i, j = np.arange(rows)[:, None] + past, np.arange(keys)
        visible = (not causal) | (j <= i)
        visible = visible & ((left < 0) | (j >= i - left)) & ((right < 0) | (j <= i + right))
        mask = shown(mask, visible)
    if mask is not None:
        keywords["mask"] = mask
    return (q, k, v), keywords


def output_of(o, like):
    """[B, H, M, Dv] in the shape of Y."""
    return o if like.ndim == 4 else o.swapaxes(1, 2).reshape(like.shape)

"""Keywords of other attention libraries, and octavo's name for each: the message for an unknown keyword."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MASK = "mask (bool: True = may attend; float: added; broadcast to [B, Hq, M, N])"
_KEY_MASK = "key_mask (bool [B, N], True = the key exists)"
_SCALE = "scale"
_WINDOW = "window=(left, right), -1 = unlimited"
_LENS = "kv_lens (int [B])"
_LSE = "return_lse"
_LAYOUT = 'layout ("NHD" or "HND")'
_RECIPE = "recipe, for example recipe='int8,smooth_k=off'"
_CODES = "octavo.Quantized(codes, scales, role=...) in place of q, k or v"
_SHAPES = "not needed: octavo reads it from the shapes"
_INFERENCE = "not supported: octavo has no dropout and no backward pass"
_TOP_LEFT = "causal; SDPA's diagonal is causal='top_left', FlashAttention's causal=True"

# What the message says of each keyword that octavo does not have.
HINTS = {
    "is_causal": _TOP_LEFT,
    "is_causal_mask": _TOP_LEFT,
    "causal_mask": "causal",
    **dict.fromkeys(("attn_mask", "attention_mask", "attn_bias", "bias", "custom_mask", "bool_mask"), _MASK),
    "key_padding_mask": _KEY_MASK + "; in torch's MultiheadAttention True means padding: pass ~key_padding_mask",
    **dict.fromkeys(("padding_mask", "kv_mask", "k_mask", "key_bias"), _KEY_MASK),
    **dict.fromkeys(("softmax_scale", "sm_scale", "scaling", "qk_scale", "scale_factor", "softmax_scaling"), _SCALE),
    **dict.fromkeys(("window_size", "sliding_window", "local_window_size", "window_left"), _WINDOW),
    **dict.fromkeys(("logits_soft_cap", "soft_cap", "logit_softcap", "logit_cap", "logit_soft_cap"), "softcap"),
    **dict.fromkeys(("attn_logit_softcapping", "softcapping", "tanh_softcap"), "softcap"),
    **dict.fromkeys(("dropout_p", "dropout", "attention_dropout", "training", "dropout_rng"), _INFERENCE),
    "enable_gqa": "not needed: k and v may have fewer heads than q, a divisor of their number",
    **dict.fromkeys(("num_heads", "num_kv_heads", "num_key_value_groups", "head_dim", "num_qo_heads"), _SHAPES),
    **dict.fromkeys(("max_seqlen_q", "max_seqlen_k", "max_seqlen_kv", "max_seqlen", "max_q_len"), _SHAPES),
    **dict.fromkeys(("cache_seqlens", "seqused_k", "seq_lens", "kv_seqlens", "context_lens", "cache_lens"), _LENS),
    **dict.fromkeys(("k_lens", "key_lens", "kv_len", "lengths"), _LENS),
    **dict.fromkeys(("cu_seqlens", "cu_seqlens_kv", "cu_seq_lens_q", "cu_seq_lens_k"), "cu_seqlens_q and cu_seqlens_k"),
    **dict.fromkeys(("qo_indptr", "kv_indptr"), "cu_seqlens_q and cu_seqlens_k"),
    **dict.fromkeys(("alibi_bias", "slopes", "use_alibi"), "alibi_slopes; for -slope * |i - j| with alibi='symmetric'"),
    **dict.fromkeys(("sink", "s_aux", "attention_sinks", "learnable_sink", "attn_sink"), "sinks (float [Hq])"),
    **dict.fromkeys(("return_softmax_lse", "return_attn_probs", "return_softmax", "return_logsumexp"), _LSE),
    **dict.fromkeys(("tensor_layout", "qkv_layout", "qkv_format", "kv_layout", "input_layout"), _LAYOUT),
    **dict.fromkeys(("q_scale", "k_scale", "v_scale", "q_descale", "k_descale", "v_descale"), _CODES),
    **dict.fromkeys(("qk_quant_gran", "pv_accum_dtype", "smooth_k", "smooth_q", "smooth_v", "quant_type"), _RECIPE),
    **dict.fromkeys(("dtype", "output_dtype", "o_dtype"), "out_dtype"),
    "deterministic": "not needed: results have the same bits for any number of threads",
    **dict.fromkeys(("num_splits", "backend", "num_threads"), "octavo.threads(n) and octavo.implementation(name)"),
    **dict.fromkeys(("block_table", "page_table", "block_tables"), "octavo.KVCache(page_size=...) has pages"),
    **dict.fromkeys(("tree_mask", "seq_ids"), "octavo.KVCache.attend has it"),
    **dict.fromkeys(("query", "key", "value"), "q, k and v"),
}


def unexpected(function: str, keyword: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that `function` does not have; `known` are those that it has."""
    message = f"{function}() got an unexpected keyword argument {keyword!r}"
    hint = HINTS.get(keyword)
    if hint is not None:
        return TypeError(f"{message}; octavo: {hint}")
    close = difflib.get_close_matches(keyword, list(known), n=1)
    return TypeError(f"{message}; did you mean {close[0]!r}?" if close else message)

"""The reference (oracle): every recipe in double precision, on one thread; kernels are tested against it."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np

from . import _attention, _core, _runtime
from ._recipe import Recipe
from ._recipe import recipe as _recipe

__all__ = ["Trace", "attention", "trace"]


def attention(q: Any, k: Any, v: Any = None, **keywords: Any) -> Any:
    """`octavo.attention` on the implementation "reference"; the same keywords, results and errors.

    It supports every recipe, exactly as defined, and is slow: use it on small shapes.

    Parameters
    ----------
    q, k, v : array or Quantized
        As for `octavo.attention`: [B, M, Hq, D], [B, N, Hkv, D], [B, N, Hkv, Dv] (NHD), their HND and varlen forms; or
        a `KVCache` as k, without v.
    **keywords
        Those of `octavo.attention`.

    Returns
    -------
    o, or (o, lse) with ``return_lse=True``
        As from `octavo.attention`.

    Raises
    ------
    ValueError, TypeError, RuntimeError, MemoryError
        As `octavo.attention`.
    NotImplementedError
        An accumulator without a model in the reference, or a tensor core's accumulator with f32 operands.

    See Also
    --------
    trace : all intermediate values of a call.
    """
    with _runtime.implementation("reference"):
        return _attention.attention(q, k, v, **keywords)


attention.__signature__ = inspect.signature(_attention.attention)  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """Intermediate values of a call: float64 NumPy arrays, heads before rows in every layout.

    B batch (varlen: sequences), Hq query heads, M and N rows and keys (varlen: of the longest sequence). Rows and keys
    that do not exist, hidden keys, and keys that the recipe computes exactly (`keep_first`, `keep_near`, `keep_heavy`)
    have the score -inf and the code 0; a row with a NaN in its operands has NaN.

    Attributes
    ----------
    scores : ndarray [B, Hq, M, N]
        S: ``scale * q.k`` computed from the recipe's codes, with the terms of smoothing, softcap, mask and ALiBi;
        natural units, so that ``exp(scores - lse[..., None])`` are the weights.
    folded : ndarray [B, Hq, M, N]
        T = S log2(e) + log2(s_j / s_max), base 2: the input of P's quantization. s_j is the scale of V's token j if the
        recipe folds it (`v_scale` = "token_folded"), else the second term is 0.
    codes : ndarray [B, Hq, M, N]
        Codes of P: the integer or float nearest to ``p_range * 2 ** (folded - reference)``, `reference` that of the
        key's block.
    references : ndarray [B, Hq, M, blocks]
        The reference of the codes of a key block, base 2: the block's own maximum of T or the running maximum
        (`p_reference`); -inf if no key of the block is visible to the row.
    maxima : ndarray [B, Hq, M, blocks]
        Running maximum of T after the block, base 2.
    row_sums : ndarray [B, Hq, M, blocks]
        l after the block, relative to ``2 ** maxima``; in units of weights, also if codes are summed.
    log_sums : ndarray [B, Hq, M, blocks]
        LSE after the block, natural logarithm, without the sink.
    output : array
        O, in the call's layout, float32.
    lse : array
        LSE of the rows, natural logarithm, with the sink; as `octavo.attention` returns it.
    recipe : Recipe
        The recipe of the call; block b has the keys ``b * recipe.key_block`` and following.
    """

    scores: np.ndarray
    folded: np.ndarray
    codes: np.ndarray
    references: np.ndarray
    maxima: np.ndarray
    row_sums: np.ndarray
    log_sums: np.ndarray
    output: Any
    lse: Any
    recipe: Recipe


@_attention.takes_attention_keywords("return_lse", "out", "out_dtype", "stream", "workspace")
def trace(arguments: dict[str, Any]) -> Trace:
    """One call on the reference, with all intermediate values.

    Parameters
    ----------
    q, k, v : array or Quantized
        As for `octavo.attention`; `octavo.quantize` returns their codes and scales.
    recipe, causal, scale, window, softcap, mask, key_mask, sinks, layout, alibi_slopes, alibi, kv_lens,
    cu_seqlens_q, cu_seqlens_k
        Those of `octavo.attention`.

    Returns
    -------
    Trace
        Scores S, folded scores T, codes of P; reference, running maximum, row sum l and LSE of every key block.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `octavo.attention`.
    NotImplementedError
        An accumulator without a model in the reference, or a tensor core's accumulator with f32 operands.
    MemoryError
        The scores would take more than 8 GiB.

    Notes
    -----
    The steps are those of FlashAttention's online softmax with integer weights, INT-FlashAttention (arXiv 2409.16997,
    algorithm 1); the fold of V's token scales into P is specific to octavo.

    Examples
    --------
    >>> steps = octavo.reference.trace(q, k, v, recipe="int_flash", causal=True)
    >>> steps.codes.max(), steps.row_sums[..., -1]
    """
    call, output, log_sum, like, _alive = _attention.prepare(
        arguments | {"return_lse": True, "out_dtype": "float32"}
    )
    assert log_sum is not None
    return Trace(
        **_core.trace(call),
        output=output.backend.finish(output, like),
        lse=log_sum.backend.finish(log_sum, like),
        recipe=_recipe(arguments["recipe"]),
    )

"""The oracle: every recipe in double precision, one thread, no cleverness; what the kernels are tested against."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np

from . import _attention, _core, _runtime
from ._recipe import Recipe
from ._recipe import recipe as _recipe

__all__ = ["Trace", "attention", "trace"]


def attention(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """`octavo.attention` on the implementation "reference"; the same keywords, results and errors.

    It runs every recipe that octavo knows, literally as it is defined, and is slow: use it on small shapes.

    Parameters
    ----------
    q, k, v : array or Quantized
        As for `octavo.attention`: [B, M, Hq, D], [B, N, Hkv, D], [B, N, Hkv, Dv] (NHD), their HND and packed forms.
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
        An accumulator that the oracle has no model of, or a tensor core's with f32 where it multiplies 16-bit inputs.

    See Also
    --------
    trace : what happens between the operands and the result.
    """
    with _runtime.implementation("reference"):
        return _attention.attention(q, k, v, **keywords)


attention.__signature__ = inspect.signature(_attention.attention)  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What the oracle went through: float64 NumPy arrays, heads before rows whatever the call's layout.

    B batch (packed: sequences), Hq query heads, M and N rows and keys (packed: of the longest sequence). A row or key
    that does not exist, or a key that the row may not attend to, has the score -inf and the code 0; a row that a NaN
    reached has NaN.

    Attributes
    ----------
    scores : ndarray [B, Hq, M, N]
        S: ``scale * q.k`` as the recipe's codes have it, with the correction of smoothing, softcap, mask and ALiBi;
        natural units, so that ``exp(scores - lse[..., None])`` are the weights.
    folded : ndarray [B, Hq, M, N]
        T = S log2(e) + log2(s_j / s_max), base 2: what the codes of P measure. s_j is the scale of V's token j where
        the recipe folds it (`v_scale` = "token_folded"), else the second term is 0.
    codes : ndarray [B, Hq, M, N]
        Codes of P: the integer or float nearest to ``p_range * 2 ** (folded - reference)``, `reference` that of the
        key's block.
    references : ndarray [B, Hq, M, blocks]
        What the codes of a key block are relative to, base 2: the block's own maximum of T or the running one
        (`p_reference`); -inf where the row sees no key of the block.
    maxima : ndarray [B, Hq, M, blocks]
        Running maximum of T after the block, base 2.
    row_sums : ndarray [B, Hq, M, blocks]
        l after the block, relative to ``2 ** maxima``; in units of weights also where codes are summed.
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


def trace(
    q: Any,
    k: Any,
    v: Any,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    mask: Any = None,
    sinks: Any = None,
    layout: str = "NHD",
    alibi_slopes: Any = None,
    kv_lens: Any = None,
    cu_seqlens_q: Any = None,
    cu_seqlens_k: Any = None,
) -> Trace:
    """One call on the oracle, with everything that lies between its operands and its result.

    Parameters
    ----------
    q, k, v : array or Quantized
        As for `octavo.attention`; the codes and scales that they become are handed out by `octavo.quantize`.
    recipe, causal, scale, window, softcap, mask, sinks, layout, alibi_slopes, kv_lens, cu_seqlens_q, cu_seqlens_k
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
        An accumulator that the oracle has no model of, or a tensor core's with f32 where it multiplies 16-bit inputs.
    MemoryError
        The scores would take more than 8 GiB.

    Notes
    -----
    The steps are those of FlashAttention's online softmax with integer weights, INT-FlashAttention (arXiv 2409.16997,
    algorithm 1); the fold of V's token scales into P is octavo's own.

    Examples
    --------
    >>> steps = octavo.reference.trace(q, k, v, recipe="int_flash", causal=True)
    >>> steps.codes.max(), steps.row_sums[..., -1]
    """
    call, output, log_sum, like, _alive = _attention._prepare(
        q, k, v, recipe, causal, scale, window, softcap, mask, sinks, layout, alibi_slopes, kv_lens, cu_seqlens_q,
        cu_seqlens_k, True, None, "float32", None, None
    )  # fmt: skip
    assert log_sum is not None
    return Trace(
        **_core.trace(call),
        output=output.family.finish(output, like),
        lse=log_sum.family.finish(log_sum, like),
        recipe=_recipe(recipe),
    )

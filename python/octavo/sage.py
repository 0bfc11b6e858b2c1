"""SageAttention's functions with their names, signatures and arithmetic, for torch tensors on the CPU and on CUDA.

>>> from octavo.sage import sageattn
>>> octavo.sage.install()                    # from now on `from sageattention import sageattn` gives octavo's function

What SageAttention swallows is honoured or refused here: `attn_mask` works, an unknown keyword raises TypeError. float32
and head sizes up to 576 are allowed too. Signatures: sageattention 2.2, core.py.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
import warnings
from typing import Any

from torch import Tensor

from . import _core
from ._recipe import Recipe, recipe as _recipe
from .torch import attention

__all__ = [
    "install",
    "sageattn",
    "sageattn_qk_int8_pv_fp16_cuda",
    "sageattn_qk_int8_pv_fp16_triton",
    "sageattn_qk_int8_pv_fp8_cuda",
    "sageattn_qk_int8_pv_fp8_cuda_sm90",
    "sageattn_varlen",
    "set_recipe",
    "uninstall",
]

_ALLOWED = ("attn_mask", "dropout_p", "enable_gqa")  # beyond SageAttention's own parameters

# Of the functions for CUDA: pv_accum_dtype -> recipe without Q's and K's granularity, or None where octavo has no such
# sum.
_CUDA: dict[str, dict[str, str | None]] = {
    "sageattn_qk_int8_pv_fp16_cuda": {
        "fp32": "sage1,key_block=64", "fp16+fp32": "sage1,key_block=64,accumulator=f16", "fp16": None,
    },
    "sageattn_qk_int8_pv_fp8_cuda": {"fp32+fp16": "sage2pp", "fp32+fp32": "sage2_8b", "fp32": None},
    "sageattn_qk_int8_pv_fp8_cuda_sm90": {"fp32+fp32": "sage2_8b,q_group=16,k_group=128,key_block=128"},
}  # fmt: skip
_NO_SUM = {
    "fp16": "octavo has no output that is accumulated in float16 over all keys",
    "fp32": "it is the 22-bit sum of a tensor core",
}
_chosen = "int8"


def set_recipe(recipe: str | Recipe) -> None:
    """The recipe of `sageattn`, which in SageAttention depends on the GPU; default "int8".

    The functions that name their arithmetic (`sageattn_qk_int8_pv_fp8_cuda`, ...) are not affected.
    """
    global _chosen
    _chosen = str(_recipe(recipe))


def sageattn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    sm_scale: float | None = None,
    return_lse: bool = False,
    **kwargs: Any,
) -> Any:
    """Quantized attention by the recipe of `set_recipe` ("int8").

    Parameters
    ----------
    q, k, v : Tensor
        [batch, heads, seqlen, head_dim] (HND) or [batch, seqlen, heads, head_dim] (NHD); float16, bfloat16 or float32.
        k and v may have fewer heads.
    tensor_layout : {"HND", "NHD"}
        Order of the axes.
    is_causal : bool
        For as many queries as keys; others are refused, as their diagonal is not defined.
    sm_scale : float, optional
        Factor of the scores; default 1 / sqrt(head_dim).
    return_lse : bool
        Also return the log-sum-exp, float32 [batch, heads, seqlen].
    **kwargs
        attn_mask: bool (True = may attend) or floats (added), broadcast to [batch, heads, seqlen_q, seqlen_k];
        smooth_k: bool; dropout_p: 0.0; enable_gqa: bool. Others raise TypeError.

    Returns
    -------
    Tensor, or (Tensor, Tensor) with `return_lse`
    """
    smooth_k = kwargs.pop("smooth_k", True)
    return _call("sageattn", _chosen, q, k, v, tensor_layout, is_causal, sm_scale, smooth_k, return_lse, kwargs)


def sageattn_qk_int8_pv_fp16_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    quantization_backend: str = "triton",
    is_causal: bool = False,
    sm_scale: float | None = None,
    smooth_k: bool = True,
    return_lse: bool = False,
    **kwargs: Any,
) -> Any:
    """INT8 Q and K per block, P and V in float16: the recipe "sage1", with either quantization back end."""
    name = "sageattn_qk_int8_pv_fp16_triton"
    _one_of(name, "quantization_backend", quantization_backend, ("triton", "cuda"))
    return _call(name, "sage1", q, k, v, tensor_layout, is_causal, sm_scale, smooth_k, return_lse, kwargs)


def sageattn_qk_int8_pv_fp16_cuda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    qk_quant_gran: str = "per_thread",
    sm_scale: float | None = None,
    pv_accum_dtype: str = "fp32",
    smooth_k: bool = True,
    smooth_v: bool = False,
    return_lse: bool = False,
    **kwargs: Any,
) -> Any:
    """INT8 Q and K per warp or thread, P and V in float16: "sage1" with these scales.

    pv_accum_dtype: "fp32", or "fp16+fp32" (sums in float16, added to float32 after every key block). "fp16" is refused,
    and with it smooth_v, which SageAttention ignores otherwise (with a warning, as here).
    """
    name = "sageattn_qk_int8_pv_fp16_cuda"
    recipe = _cuda_recipe(name, qk_quant_gran, pv_accum_dtype, smooth_v)
    if pv_accum_dtype == "fp16+fp32" and q.shape[-1] == 128:
        recipe += ",q_group=16"
    return _call(name, recipe, q, k, v, tensor_layout, is_causal, sm_scale, smooth_k, return_lse, kwargs)


def sageattn_qk_int8_pv_fp8_cuda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    qk_quant_gran: str = "per_thread",
    sm_scale: float | None = None,
    pv_accum_dtype: str = "fp32+fp16",
    smooth_k: bool = True,
    smooth_v: bool = False,
    return_lse: bool = False,
    **kwargs: Any,
) -> Any:
    """INT8 Q and K, P and V in E4M3: "sage2pp" (pv_accum_dtype "fp32+fp16") or "sage2_8b" ("fp32+fp32").

    "fp32", and with it smooth_v, is refused: it is the 22-bit sum of a tensor core, without a second level.
    """
    name = "sageattn_qk_int8_pv_fp8_cuda"
    recipe = _cuda_recipe(name, qk_quant_gran, pv_accum_dtype, smooth_v)
    return _call(name, recipe, q, k, v, tensor_layout, is_causal, sm_scale, smooth_k, return_lse, kwargs)


def sageattn_qk_int8_pv_fp8_cuda_sm90(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    qk_quant_gran: str = "per_thread",
    sm_scale: float | None = None,
    pv_accum_dtype: str = "fp32+fp32",
    smooth_k: bool = True,
    return_lse: bool = False,
    **kwargs: Any,
) -> Any:
    """"sage2_8b" with the groups of SageAttention's Hopper kernel: scales of 16 queries and 128 keys."""
    name = "sageattn_qk_int8_pv_fp8_cuda_sm90"
    recipe = _cuda_recipe(name, qk_quant_gran, pv_accum_dtype, smooth_v=False)
    return _call(name, recipe, q, k, v, tensor_layout, is_causal, sm_scale, smooth_k, return_lse, kwargs)


def sageattn_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    is_causal: bool = False,
    sm_scale: float | None = None,
    smooth_k: bool = True,
    **kwargs: Any,
) -> Tensor:
    """`sageattn_qk_int8_pv_fp16_triton` for concatenated sequences, [total, heads, head_dim].

    K's mean is that of each sequence, not of the whole batch; max_seqlen_q and max_seqlen_k are not needed.
    """
    name = "sageattn_varlen"
    _check_keywords(name, kwargs, ("dropout_p", "enable_gqa"))
    for argument, value in (("max_seqlen_q", max_seqlen_q), ("max_seqlen_k", max_seqlen_k)):
        if int(value) < 0:
            raise ValueError(f"{name}: {argument}: {value}; 0 or more is allowed")
    return attention(
        q, k, v, recipe=_smoothed("sage1", smooth_k), causal="top_left" if is_causal else False, scale=sm_scale,
        cu_seqlens_q=cu_seqlens_q, cu_seqlens_k=cu_seqlens_k,
    )  # fmt: skip


def _call(
    name: str, recipe: str, q: Tensor, k: Tensor, v: Tensor, tensor_layout: str, is_causal: bool,
    sm_scale: float | None, smooth_k: bool, return_lse: bool, kwargs: dict[str, Any]
) -> Any:  # fmt: skip
    _one_of(name, "tensor_layout", tensor_layout, ("HND", "NHD"))
    _check_keywords(name, kwargs, _ALLOWED)
    axis = 1 if tensor_layout == "NHD" else 2
    if is_causal and q.shape[axis] != k.shape[axis]:
        raise ValueError(
            f"{name}: is_causal with {q.shape[axis]} queries and {k.shape[axis]} keys; SageAttention defines it for "
            "equal numbers only. octavo.torch.attention has causal='top_left' and 'bottom_right'"
        )
    return attention(
        q, k, v, recipe=_smoothed(recipe, smooth_k), causal="top_left" if is_causal else False, scale=sm_scale,
        mask=kwargs.get("attn_mask"), layout=tensor_layout, return_lse=return_lse,
    )  # fmt: skip


def _smoothed(recipe: str, smooth_k: bool) -> str:
    return recipe if smooth_k else f"{recipe},smooth_k=off"


def _cuda_recipe(name: str, qk_quant_gran: str, pv_accum_dtype: str, smooth_v: bool) -> str:
    recipes = _CUDA[name]
    _one_of(name, "pv_accum_dtype", pv_accum_dtype, tuple(recipes))
    recipe = recipes[pv_accum_dtype]
    if recipe is None:
        allowed = " and ".join(repr(one) for one, made in recipes.items() if made is not None)
        raise NotImplementedError(
            f"{name}: pv_accum_dtype={pv_accum_dtype!r}; {_NO_SUM[pv_accum_dtype]}: {allowed} are allowed"
        )
    if smooth_v:
        warnings.warn(f"pv_accum_dtype is {pv_accum_dtype}, smooth_v will be ignored.", stacklevel=3)
    _one_of(name, "qk_quant_gran", qk_quant_gran, ("per_thread", "per_warp"))
    scale = qk_quant_gran.removeprefix("per_")
    return f"{recipe},q_scale={scale},k_scale={scale}"


def _one_of(name: str, argument: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {argument}: {value!r}; allowed: {' and '.join(map(repr, allowed))}")


def _check_keywords(name: str, kwargs: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for keyword in kwargs:
        if keyword not in allowed:
            raise TypeError(
                f"{name}() got an unexpected keyword argument {keyword!r}; beside its parameters "
                f"{', '.join(allowed)} are allowed"
            )
    if kwargs.get("dropout_p"):
        raise NotImplementedError(f"{name}: dropout_p={kwargs['dropout_p']}; octavo has no dropout, 0.0 is allowed")


_MODULES = ("sageattention", "sageattention.core")
_replaced: list[dict[str, Any]] = []  # what stood in sys.modules before each install()


def install(recipe: str | Recipe | None = None) -> None:
    """Puts octavo's functions in sys.modules as `sageattention`, until `uninstall`.

    ``from sageattention import sageattn`` then gives octavo's; names imported before are not replaced. diffusers looks
    for an installed distribution instead: use `octavo.diffusers.enable`.

    Parameters
    ----------
    recipe : str or Recipe, optional
        Also calls `set_recipe`.
    """
    if recipe is not None:
        set_recipe(recipe)
    _replaced.append({name: sys.modules.get(name) for name in _MODULES})
    for name in _MODULES:
        module = types.ModuleType(name, "octavo's implementation of SageAttention's functions (octavo.sage)")
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=__file__, is_package=name == _MODULES[0])
        if name == _MODULES[0]:
            module.__path__ = []
        module.__version__ = f"2.2.0+octavo.{_core.version()}"  # type: ignore[attr-defined]
        for function in __all__:
            if function.startswith("sageattn"):
                setattr(module, function, globals()[function])
        sys.modules[name] = module
    sys.modules[_MODULES[0]].core = sys.modules[_MODULES[1]]  # type: ignore[attr-defined]


def uninstall() -> None:
    """Undoes the last `install`: what stood in sys.modules before is there again.

    Raises
    ------
    RuntimeError
        Nothing is installed.
    """
    if not _replaced:
        raise RuntimeError("octavo.sage is not installed")
    for name, module in _replaced.pop().items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module

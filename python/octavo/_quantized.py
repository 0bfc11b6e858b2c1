"""Quantized tensors: codes, scales and mean as ordinary arrays, made by octavo or by the caller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import _arguments, _containers, _core, _runtime
from ._array_backend import Array
from ._core import DType
from ._recipe import Recipe, recipe as _recipe

_ROLES = {"q": _core.Role.q, "k": _core.Role.k, "v": _core.Role.v}
_FORMATS = {"s8": DType.s8, "s4": DType.s4, "e4m3": DType.e4m3, "e5m2": DType.e5m2}
# The keys of to_dict; those in _OPTIONAL may be None.
_KEYS = ("codes", "scales", "mean", "role", "recipe", "layout", "rotated", "head_dim", "cu_seqlens")
_OPTIONAL = ("scales", "mean", "cu_seqlens")


def role_of(value: Any) -> _core.Role:
    return _arguments.choice(_ROLES, value, "role")


class Quantized:
    """A quantized Q, K or V: ``x ~ code * scale (+ mean)``, rotated back if `rotated`.

    `octavo.quantize` makes one; the constructor wraps the caller's codes and scales without copying.

    Parameters
    ----------
    codes : array
        [B, N, H, D] (NHD) or [B, H, N, D] (HND), any strides. int8; for formats of 4 bits uint8 [..., ceil(D / 2)], two
        codes to a byte along D, the even channel in the low nibble; for FP8 formats float8_e4m3fn / float8_e5m2 (torch,
        ml_dtypes) or their bytes as uint8.
    scales : array or None
        float32, B x H leading in every layout: [B, H] (granularity tensor), [B, H, groups] (block, warp, thread),
        [B, H, N] (token, token_folded), [B, H, D] (channel), [B, H, blocks, D] (block_channel). None if the recipe
        has no scale. docs/quantization.md defines the groups. Varlen, with B sequences: [B, H], [B, H, D], and,
        concatenated over the sequences, [H, groups], [H, total], [H, blocks, D]; on a CUDA device with room behind the
        last group, where `quantize` made them.
    role : {"q", "k", "v"}
        Which operand it is.
    recipe : str or Recipe
        The recipe that the codes were made for; it determines format and granularity.
    layout : {"NHD", "HND"}
        Order of the axes of `codes`.
    mean : array, optional
        float32, the mean subtracted before quantization, in the codes' (rotated) domain: [B, H, D] for K and V,
        [B, H, ceil(N / 128), D] for Q (varlen: [H, blocks of all sequences, D]). Required for Q if the recipe has
        smooth_q; K without a mean means that nothing was subtracted.
    rotated : bool, optional
        Whether the recipe's Hadamard rotation was applied to the codes. Default: as in the recipe.
    head_dim : int, optional
        D; needed only for 4-bit codes of an odd D.
    cu_seqlens : array, optional
        int32 or int64 [B + 1]: start of each varlen sequence, then the total. `codes` then are [total, H, D] (NHD) or
        [H, total, D] (HND), and groups and blocks restart with each sequence.

    Raises
    ------
    TypeError
        `codes`, `scales`, `mean` or `cu_seqlens` is not an array.
    ValueError
        An invalid dtype, role or layout; shapes are checked by the call that uses them.
    """

    __slots__ = (
        "_codes", "_scales", "_mean", "_role", "_recipe", "_layout", "_rotated", "_cu_seqlens", "_format", "_shape",
        "_nbytes",
    )  # fmt: skip

    def __init__(
        self,
        codes: Any,
        scales: Any,
        *,
        role: str,
        recipe: str | Recipe = "int8",
        layout: str = "NHD",
        mean: Any = None,
        rotated: bool | None = None,
        head_dim: int | None = None,
        cu_seqlens: Any = None,
    ) -> None:
        role_of(role)
        self._role = role
        self._recipe = _recipe(recipe)
        _arguments.layout(layout)
        self._layout = layout
        operand_format = self._recipe.values if role == "v" else self._recipe.scores
        if operand_format not in _FORMATS:
            raise ValueError(f"recipe {self._recipe} keeps {role} in floats; it has no codes")
        self._format = _FORMATS[operand_format]
        if rotated is None:
            rotated = self._recipe.hadamard_v if role == "v" else self._recipe.hadamard
        self._rotated = bool(rotated)
        self._codes, self._scales, self._mean, self._cu_seqlens = codes, scales, mean, cu_seqlens
        self._shape = self._check(head_dim)

    def _check(self, head_dim: int | None) -> tuple[int, ...]:
        """Checks dtypes against the recipe's formats; returns the shape of the original tensor."""
        codes = _containers.read(self._codes, "codes")
        two_per_byte = self._format == DType.s4
        allowed = (DType.s8,) if self._format == DType.s8 else (DType.u8,) if two_per_byte else (self._format, DType.u8)
        if codes.dtype not in allowed:
            raise ValueError(
                f"codes: dtype {codes.dtype.name}; recipe {self._recipe} has {self._format.name} codes for "
                f"{self._role}, passed as {' or '.join(dtype.name for dtype in allowed)}"
            )
        self._nbytes = math.prod(codes.shape)
        for container, name in ((self._scales, "scales"), (self._mean, "mean")):
            if container is None:
                continue
            array = _containers.read(container, name)
            if array.dtype != DType.f32:
                raise ValueError(f"{name}: dtype {array.dtype.name}; float32 is allowed")
            self._nbytes += 4 * math.prod(array.shape)
        granularity = {"q": self._recipe.q_scale, "k": self._recipe.k_scale, "v": self._recipe.v_scale}[self._role]
        if self._scales is None and granularity != "none":
            raise ValueError(
                f"scales: None; recipe {self._recipe} has one scale for each {granularity} of {self._role}"
            )
        if self._cu_seqlens is not None:
            cu_seqlens = _containers.read(self._cu_seqlens, "cu_seqlens")
            if cu_seqlens.dtype not in (DType.s32, DType.s64):
                raise ValueError(f"cu_seqlens: dtype {cu_seqlens.dtype.name}; int32 and int64 are allowed")
        width = codes.shape[-1]
        if head_dim is None:
            head_dim = 2 * width if two_per_byte else width
        needed = (head_dim + 1) // 2 if two_per_byte else head_dim
        if needed != width:
            raise ValueError(f"head_dim: {head_dim} takes {needed} bytes a row, but the codes have {width}")
        return (*codes.shape[:-1], head_dim)

    @property
    def codes(self) -> Any:
        """The codes in natural order, in the layout's shape; 4-bit codes two per byte along D."""
        return self._codes

    @property
    def scales(self) -> Any:
        """float32 multipliers that dequantize the codes, or None."""
        return self._scales

    @property
    def mean(self) -> Any:
        """float32, the mean subtracted before quantization, or None."""
        return self._mean

    @property
    def cu_seqlens(self) -> Any:
        """Start of each varlen sequence, then the total; None if the codes have a batch axis."""
        return self._cu_seqlens

    @property
    def role(self) -> str:
        return self._role

    @property
    def recipe(self) -> Recipe:
        return self._recipe

    @property
    def layout(self) -> str:
        return self._layout

    @property
    def rotated(self) -> bool:
        """Whether the recipe's Hadamard rotation is applied to the codes."""
        return self._rotated

    @property
    def head_dim(self) -> int:
        return self._shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the original tensor."""
        return self._shape

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and mean."""
        return self._nbytes

    def _read(self) -> tuple[_core.QuantizedView, Array, list[Any]]:
        """The core's view, the codes' array, and objects to keep alive with the view."""
        codes = _containers.read(self._codes, "codes")
        view = _recast(codes, self._format, self.head_dim)
        scales, mean = _dense(self._scales, "scales"), _dense(self._mean, "mean")
        cu_seqlens = None if self._cu_seqlens is None else _containers.read(self._cu_seqlens, "cu_seqlens")
        quantized = _core.QuantizedView(
            view,
            None if scales is None else scales.view,
            None if mean is None else mean.view,
            _ROLES[self._role],
            _arguments.layout(self._layout),
            self._rotated,
            self._recipe._value,
            None if cu_seqlens is None else cu_seqlens.view,
        )
        return quantized, codes, [codes, scales, mean, cu_seqlens]

    def dequantize(self, dtype: Any = "float32") -> Any:
        """``code * scale + mean``, rotated back: an approximation of the original tensor.

        Parameters
        ----------
        dtype : {"float32", "float16", "bfloat16"} or a dtype object of those
            Dtype of the result.

        Returns
        -------
        array
            In the layout's shape [B, N, H, D] or [B, H, N, D], varlen [total, H, D] or [H, total, D]; the array type of
            `codes`.

        Raises
        ------
        ValueError
            Invalid `dtype`; shapes of codes, scales or mean that do not match each other and the recipe.
        """
        view, codes, alive = self._read()
        out = codes.backend.empty(self.shape, _containers.float_dtype(dtype, "dtype"), self._codes)
        stream = codes.backend.stream(codes.device)
        _core.dequantize(view, out.view, _runtime.forced.get(), stream)
        codes.backend.sync(codes.device, stream)
        del alive
        return codes.backend.finish(out, self._codes)

    def to_dict(self) -> dict[str, Any]:
        """Arrays and plain values from which `from_dict` makes the same tensor."""
        return {key: getattr(self, key) for key in _KEYS} | {"recipe": str(self._recipe)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Quantized:
        """The tensor of a `to_dict` result; a missing or unknown key is a ValueError."""
        if not isinstance(fields, Mapping):
            raise TypeError(f"from_dict: a {type(fields).__qualname__} is not a mapping; pass a result of to_dict")
        missing = [key for key in _KEYS if key not in fields or fields[key] is None and key not in _OPTIONAL]
        if missing:
            raise ValueError(f"from_dict: {', '.join(missing)} missing; required are {', '.join(_KEYS)}")
        unknown = [repr(key) for key in fields if key not in _KEYS]
        if unknown:
            raise ValueError(f"from_dict: {', '.join(unknown)} unknown; allowed are {', '.join(_KEYS)}")
        return cls(**fields)

    def __repr__(self) -> str:
        return (
            f"octavo.Quantized(role={self._role!r}, recipe={str(self._recipe)!r}, layout={self._layout!r}, "
            f"shape={self.shape})"
        )


def _recast(codes: Array, operand_format: DType, head_dim: int) -> _core.TensorView:
    """A view of uint8 as its codes: strides of s4 count nibbles, FP8 only changes the dtype."""
    if codes.dtype != DType.u8:
        return codes.view
    data, shape, strides = codes.view.data, codes.shape, codes.view.strides
    if operand_format == DType.s4:
        if strides[-1] != 1 and shape[-1] > 1 and math.prod(shape) > 0:
            raise ValueError(f"codes: 4-bit codes, two per byte, need stride 1 along D, not {strides[-1]}")
        shape = (*shape[:-1], head_dim)
        strides = (*(2 * stride for stride in strides[:-1]), 1)
    return _core.TensorView(data, operand_format, shape, strides, codes.device)


def _dense(x: Any, name: str) -> Array | None:
    """A dense view for the core, which requires dense scales and means; other arrays are copied."""
    if x is None:
        return None
    array = _containers.read(x, name)
    expected = 1
    for extent, stride in zip(reversed(array.shape), reversed(array.view.strides)):
        if extent > 1 and stride != expected:
            return _containers.read(array.backend.dense(x), name)
        expected *= extent
    return array


def quantize(
    x: Any,
    *,
    role: str,
    recipe: str | Recipe = "int8",
    layout: str = "NHD",
    cu_seqlens: Any = None,
    kv_lens: Any = None,
    key_mask: Any = None,
) -> Quantized:
    """Quantizes Q, K or V for a recipe: rotation, smoothing, scales and codes.

    Codes and scales are bit-equal on every implementation. `octavo.attention` on quantized operands computes the same
    as on the original floats, except for what needs floats: with codes no keys are kept, gains are 1, and V has no
    centre, so that "int8" computes what "int8_fast" does; the bias of Q's smoothing is computed from dequantized K; and
    fewer than 16 queries have the codes that were passed, instead of 16-bit ones.

    Parameters
    ----------
    x : array
        [B, N, H, D] (NHD) or [B, H, N, D] (HND), D 1 to 576; float32, float16 or bfloat16; any strides. With
        `cu_seqlens` [total, H, D] or [H, total, D].
    role : {"q", "k", "v"}
        Which operand it is: each has its own scales and smoothing.
    recipe : str or Recipe
        A preset's name, a text of the recipe grammar, or a Recipe.
    layout : {"NHD", "HND"}
        Order of the axes of `x` and of the codes.
    cu_seqlens : array, optional
        int32 or int64 [B + 1], on the device of `x`: start of each varlen sequence, then the total. Each sequence has
        the codes and scales that it would have alone. On a CUDA device values are not checked.
    kv_lens : array or list, optional
        [B], int32 or int64, 0 to N: number of keys of each sequence, as in `octavo.attention`; for roles "k" and "v",
        not together with cu_seqlens.
    key_mask : array, optional
        [B, N], bool: False = the key does not exist; likewise. Keys that `kv_lens` or `key_mask` exclude take part in
        no mean, range or scale, whatever `x` holds there; their codes are 0.

    Returns
    -------
    Quantized
        With arrays of `x`'s type (NumPy, torch, ...).

    Raises
    ------
    ValueError
        Invalid shape, dtype, role, layout, recipe, cu_seqlens, kv_lens or key_mask.
    TypeError
        `x` is not an array.
    NotImplementedError
        The recipe keeps this operand in floats.

    Notes
    -----
    ``scale = amax / R``, ``code = round(x * (R / amax))``, ties to even, R = 127 (s8), 7 (s4), 448 (E4M3).
    docs/quantization.md has the full definition, with a NumPy program that makes the same bytes. Sources: per-token
    scales, INT-FlashAttention (arXiv 2409.16997, section 3); smoothing of K, SageAttention (arXiv 2410.02367, section
    4.2); smoothing of Q and per-thread groups, SageAttention2 (arXiv 2411.10958, sections 3.1 and 3.2).
    """
    made_for, operand, order = _recipe(recipe), role_of(role), _arguments.layout(layout)
    array = _containers.read(x, "x")
    cu_seqlens = _containers.listed(cu_seqlens, "cu_seqlens")
    starts = None if cu_seqlens is None else _containers.read(cu_seqlens, "cu_seqlens")
    lens = None if kv_lens is None else _containers.read(_containers.listed(kv_lens, "kv_lens"), "kv_lens")
    exists = None if key_mask is None else _containers.read(key_mask, "key_mask")
    stream = array.backend.stream(array.device)
    starts_view, lens_view, exists_view = (None if given is None else given.view for given in (starts, lens, exists))
    tensor = _core.quantize(
        array.view, operand, made_for._value, order, _runtime.forced.get(), starts_view, lens_view, exists_view, stream
    )
    array.backend.sync(array.device, stream)

    def wrap(made: Any, dtype: DType) -> Any:
        return None if made is None else array.backend.wrap(made, dtype, x)

    return Quantized(
        wrap(tensor.codes, tensor.dtype),
        wrap(tensor.scales, DType.f32),
        role=role,
        recipe=made_for,
        layout=layout,
        mean=wrap(tensor.mean, DType.f32),
        rotated=tensor.rotated,
        head_dim=array.shape[-1],
        cu_seqlens=cu_seqlens,
    )

"""What a call writes: dtypes, shapes and memory of the output and the LSE."""

from __future__ import annotations

from typing import Any

from . import _containers
from ._array_backend import Array, ArrayBackend
from ._core import DType, Layout

_FLOATS = (DType.f32, DType.f16, DType.bf16)


def output_dtype(out_dtype: Any, q: DType) -> DType:
    """`out_dtype`, or by default q's dtype; f32 for codes, and for dtypes that the core refuses."""
    if out_dtype is not None:
        return _containers.float_dtype(out_dtype, "out_dtype")
    return q if q in _FLOATS else DType.f32


def output(out: Any, shape: tuple[int, ...], dtype: DType, backend: ArrayBackend, like: Any) -> Array:
    """View of `out`, or a new output of this shape; the core checks the shape of `out`."""
    if out is None:
        return backend.empty(shape, dtype, like)
    array = _containers.write(out, "out")
    if array.dtype != dtype:
        raise ValueError(f"out: dtype {array.dtype.name}; the output's is {dtype.name}")
    return array


def lse_shape(q: tuple[int, ...], order: Layout) -> tuple[int, ...]:
    """[B, Hq, M], or [Hq, total] of varlen sequences, from q's shape."""
    rows, heads = (-3, -2) if order == Layout.NHD else (-2, -3)
    if len(q) < 3:
        return (1,)  # the core reports q's rank
    return (*q[:-3], q[heads], q[rows])

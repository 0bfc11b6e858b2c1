"""NumPy arrays, and objects with the buffer protocol, as views for the core."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._core import DType
from ._array_backend import DTYPES, EXTENSION_DTYPES, Array, check_rank, dtype_error

_DTYPES: dict[Any, DType] = {np.dtype(name): dtype for name, dtype in DTYPES.items()}
_TYPES: dict[DType, Any] = {DType.f32: np.dtype(np.float32), DType.f16: np.dtype(np.float16)}


def _numpy_dtype(dtype: np.dtype, name: str) -> DType:
    found = _DTYPES.get(dtype)
    if found is not None:
        return found
    if not dtype.isnative:
        raise ValueError(
            f"{name}: dtype {dtype.str} has the other byte order; convert it with x.astype(x.dtype.newbyteorder('='))"
        )
    found = EXTENSION_DTYPES.get(dtype.name)
    if found is None:
        raise dtype_error(name, dtype)
    _DTYPES[dtype] = found
    return found


def _numpy_type(dtype: DType) -> Any:
    found = _TYPES.get(dtype)
    if found is None:
        try:
            import ml_dtypes
        except ImportError:
            raise ImportError(
                f"NumPy has no {dtype.name}: install ml_dtypes, or pass out_dtype='float32'"
            ) from None
        names = {value: key for key, value in EXTENSION_DTYPES.items()}
        found = _TYPES[dtype] = np.dtype(getattr(ml_dtypes, names[dtype]))
    return found


def plain_call(q: Any, k: Any, v: Any, order: _core.Layout) -> tuple[_core.Call, np.ndarray] | None:
    """The core's call on float32 or float16 arrays and its output, made in one step; None where that is not possible.

    A short call takes microseconds, and so do the views of its arrays one by one.
    """
    if not (type(q) is np.ndarray and type(k) is np.ndarray and type(v) is np.ndarray and q.ndim > 0 and v.ndim > 0):
        return None
    out = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    call = _core.call_of_buffers(q, k, v, out, order)
    return None if call is None else (call, out)


class Numpy:
    name = "NumPy array"

    def read(self, x: Any, name: str) -> Array:
        if not isinstance(x, np.ndarray):
            x = np.asarray(x)
        elif isinstance(x, np.ma.MaskedArray):
            raise ValueError(f"{name}: a masked array; pass its mask as mask=")
        return self._array(x, x, name)

    def _array(self, x: np.ndarray, container: Any, name: str) -> Array:
        dtype = _DTYPES.get(x.dtype) or _numpy_dtype(x.dtype, name)
        check_rank(x.ndim, name)
        view = _core.view_of_buffer(x, dtype)
        if view is None:
            x = x.copy()  # a field of a record or the like: strides that are no multiple of the element size
            view = _core.view_of_buffer(x, dtype)
            assert view is not None
        return Array(view, x.shape, dtype, container, x, self)

    def write(self, x: Any, name: str) -> Array:
        if not isinstance(x, np.ndarray):
            x = np.asarray(x)
        if not x.flags.writeable:
            raise ValueError(f"{name}: the array is read-only")
        array = self.read(x, name)
        if array.owner is not x:
            raise ValueError(f"{name}: strides {x.strides} are not multiples of the element size {x.itemsize}")
        return array

    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        x = np.empty(shape, _numpy_type(dtype))
        return self._array(x, x, "out")

    def finish(self, array: Array, like: Any) -> Any:
        return array.container

    def wrap(self, array: np.ndarray, dtype: DType, like: Any) -> Any:
        if dtype in (DType.e4m3, DType.e5m2):
            try:
                return array.view(_numpy_type(dtype))
            except ImportError:  # the bytes; Quantized accepts them too
                return array
        return array

    def stream(self, device: int) -> int:
        return 0

    def sync(self, device: int, stream: int) -> None:
        pass

    def dense(self, x: Any) -> Any:
        return np.ascontiguousarray(x)

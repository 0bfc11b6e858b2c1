"""The array backend of an object (NumPy, torch or DLPack), and functions that work with every backend.

The type decides: NumPy arrays (and objects with the buffer protocol), torch tensors, other objects with DLPack. Only
NumPy is imported.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import _arguments, _core
from ._arguments import shown
from ._core import DType
from ._dlpack import Dlpack
from ._array_backend import Array, ArrayBackend
from ._numpy import Numpy
from ._torch import Torch

FLOATS = {
    "float32": DType.f32,
    "float16": DType.f16,
    "bfloat16": DType.bf16,
    "f32": DType.f32,
    "f16": DType.f16,
    "bf16": DType.bf16,
}

_ALIGNMENT = 64  # of scratch memory on the CPU
_DEVICE_ALIGNMENT = 256  # on a CUDA device

NUMPY, TORCH = Numpy(), Torch()
DLPACK = Dlpack(NUMPY)


@functools.lru_cache(maxsize=128)
def _backend_of(kind: type) -> ArrayBackend | None:
    if issubclass(kind, np.ndarray):
        return NUMPY
    for base in kind.__mro__:
        if base.__name__ == "Tensor" and base.__module__.partition(".")[0] == "torch":
            return TORCH
    if hasattr(kind, "__dlpack__") and hasattr(kind, "__dlpack_device__"):
        return DLPACK
    if hasattr(kind, "__array_interface__"):
        return NUMPY
    return None


def backend_of(x: Any, name: str) -> ArrayBackend:
    backend = _backend_of(type(x))  # type: ignore[arg-type]  # mypy: type[Any] is not hashable
    if backend is None:
        try:
            memoryview(x)
        except TypeError:
            raise TypeError(
                f"{name}: a {type(x).__qualname__} is not an array; NumPy arrays, torch tensors and objects with "
                "DLPack or the buffer protocol are"
            ) from None
        backend = NUMPY
    return backend


def read(x: Any, name: str) -> Array:
    """View of an input.

    Raises TypeError if `x` is not an array, ValueError for an unsupported dtype, byte order or rank, and RuntimeError
    for an unusable device or a tensor that requires grad.
    """
    return backend_of(x, name).read(x, name)


def listed(x: Any, name: str) -> Any:
    """A list or tuple of numbers as an array: of floats for sinks and slopes, else as the numbers are; of integers
    where there are none.
    """
    if not isinstance(x, (list, tuple)):
        return x
    dtype = np.float64 if name in ("sinks", "alibi_slopes") else None if x else np.int64
    try:
        return np.array(x, dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # text, ragged lists, torch on a device
        raise ValueError(f"{name}: {shown(x)}; an array or a list of numbers is allowed") from None


def _place(device: int) -> str:
    return "the CPU" if device < 0 else f"cuda:{device}"


def check_places(arrays: dict[str, Array]) -> int:
    """The one device of all arrays (-1 = the CPU); RuntimeError names the first on another device."""
    places = iter(arrays.items())
    first, array = next(places)
    device = array.device
    for name, array in places:
        if array.device != device:
            raise RuntimeError(
                f"{name} is on {_place(array.device)} and {first} on {_place(device)}; all arrays of a call must be on "
                "one device"
            )
    return device


def write(x: Any, name: str) -> Array:
    """View of a tensor that a call writes; ValueError if it is read-only."""
    return backend_of(x, name).write(x, name)


def float_dtype(dtype: Any, name: str) -> DType:
    """f32, f16 or bf16 from a name or from the dtype object of NumPy, ml_dtypes, torch or JAX."""
    text = dtype
    if not isinstance(dtype, str):
        try:
            text = np.dtype(dtype).name
        except TypeError:
            text = str(dtype).rpartition(".")[2]
    found = FLOATS.get(text)
    if found is None:
        raise ValueError(f"{name}: {dtype!r} is not supported; float32, float16 and bfloat16 are")
    return found


def alignment(device: int) -> int:
    return _ALIGNMENT if device < 0 else _DEVICE_ALIGNMENT


def stream_of(given: Any, backend: ArrayBackend, device: int) -> int:
    """The given stream, or the current stream of the array type."""
    if given is None:
        return backend.stream(device)
    if device >= 0 and backend is DLPACK:
        _core.synchronize(device)  # the producers synchronized with the legacy default stream
    return _arguments.stream(given)


def dense_bytes(x: Any, name: str) -> Array:
    """View of the caller's memory for the core, uint8 [n]."""
    array = write(x, name)
    if array.dtype != DType.u8 or len(array.shape) != 1 or (array.shape[0] > 1 and array.view.strides != (1,)):
        raise ValueError(f"{name}: {array.dtype.name} {list(array.shape)}; a dense uint8 [n] is allowed")
    return array


def scratch(workspace: Any) -> tuple[_core.TensorView, Any]:
    """The aligned part of the workspace; `workspace_size` includes the bytes that alignment may skip."""
    array = dense_bytes(workspace, "workspace")
    skipped = -array.view.data % alignment(array.device)
    size = max(array.shape[0] - skipped, 0)
    return _core.TensorView(array.view.data + skipped, DType.u8, (size,), (1,), array.device), array

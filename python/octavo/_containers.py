"""Which family an array belongs to, NumPy, torch or DLPack, and what calls ask of arrays whatever their family.

Families are told apart by type: NumPy arrays (and whatever has the buffer protocol), torch tensors, and any other
object that speaks DLPack. None of them is imported for the sake of the test, NumPy excepted.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ._core import DType
from ._dlpack import Dlpack
from ._family import Array, Family
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

NUMPY, TORCH = Numpy(), Torch()
DLPACK = Dlpack(NUMPY)


@functools.lru_cache(maxsize=128)
def _family_of(kind: type) -> Family | None:
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


def family_of(x: Any, name: str) -> Family:
    family = _family_of(type(x))  # type: ignore[arg-type]  # mypy does not believe that type[Any] can be hashed
    if family is None:
        try:
            memoryview(x)
        except TypeError:
            raise TypeError(
                f"{name}: a {type(x).__qualname__} is not an array; NumPy arrays, torch tensors and objects with "
                "DLPack or the buffer protocol are"
            ) from None
        family = NUMPY
    return family


def read(x: Any, name: str) -> Array:
    """View of an input.

    Raises TypeError where `x` is not an array, ValueError for a dtype, byte order or rank that no call takes, and
    RuntimeError for a device that cannot be used or a tensor that requires grad.
    """
    return family_of(x, name).read(x, name)


def _place(device: int) -> str:
    return "the CPU" if device < 0 else f"cuda:{device}"


def check_places(arrays: list[tuple[str, Array | None]]) -> int:
    """The one device of all arrays (-1 = the CPU); RuntimeError names the first that lies elsewhere."""
    first: tuple[str, int] | None = None
    for name, array in arrays:
        if array is None:
            continue
        if first is None:
            first = name, array.device
        elif array.device != first[1]:
            raise RuntimeError(
                f"{name} is on {_place(array.device)} and {first[0]} on {_place(first[1])}; all arrays of a call must "
                "be on one device"
            )
    return -1 if first is None else first[1]


def write(x: Any, name: str) -> Array:
    """View of a tensor that a call writes; read-only ones are refused."""
    return family_of(x, name).write(x, name)


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

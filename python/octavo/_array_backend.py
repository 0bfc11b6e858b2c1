"""The interface of an array backend (NumPy, torch, DLPack), dtype names, and error messages common to all backends."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from . import _core
from ._core import DType


# Dtype names common to all array types, and those that NumPy has only with ml_dtypes.
DTYPES = {
    "float32": DType.f32,
    "float16": DType.f16,
    "float64": DType.f64,
    "int8": DType.s8,
    "uint8": DType.u8,
    "int16": DType.s16,
    "uint16": DType.u16,
    "int32": DType.s32,
    "uint32": DType.u32,
    "int64": DType.s64,
    "uint64": DType.u64,
    "bool": DType.bool,
}
EXTENSION_DTYPES = {"bfloat16": DType.bf16, "float8_e4m3fn": DType.e4m3, "float8_e5m2": DType.e5m2}


class Array:
    """One tensor of a call: the core's view, and the container that it belongs to."""

    __slots__ = ("view", "shape", "dtype", "container", "owner", "backend", "device")

    def __init__(
        self, view: _core.TensorView, shape: tuple[int, ...], dtype: DType, container: Any, owner: Any,
        backend: ArrayBackend, device: int = -1
    ) -> None:  # fmt: skip
        self.view = view
        self.shape = shape
        self.dtype = dtype
        self.container = container
        self.owner = owner  # keeps the memory of `view` alive
        self.backend = backend
        self.device = device  # CUDA device; -1 = the CPU


class ArrayBackend(Protocol):
    """Operations on one array type."""

    name: str

    def read(self, x: Any, name: str) -> Array:
        """View of an input; `name` is the argument's name, for error messages."""

    def write(self, x: Any, name: str) -> Array:
        """View of a tensor that will be written."""

    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        """An uninitialised result; `finish` converts it to the caller's array type."""

    def finish(self, array: Array, like: Any) -> Any:
        """The container returned to the caller."""

    def stream(self, device: int) -> int:
        """The CUDA stream of calls without a `stream` argument."""

    def sync(self, device: int, stream: int) -> None:
        """Synchronizes after a call on a device, if the caller could not use the result otherwise."""

    def wrap(self, array: Any, dtype: DType, like: Any) -> Any:
        """Memory of the core, a NumPy array or a DLPack object on a device, as a container of this backend."""

    def dense(self, x: Any) -> Any:
        """A row-major copy that `octavo._containers.read` accepts."""


def check_rank(rank: int, name: str) -> None:
    if not 1 <= rank <= 4:
        raise ValueError(f"{name}: rank {rank}; tensors of 1 to 4 axes are allowed")


_ANY_FLOAT = "float32, float16, bfloat16 and float64"
# Allowed dtypes of arguments other than operands, for dtypes unknown to the core; it reports the others itself.
_ALLOWED = {
    "mask": f"bool, {_ANY_FLOAT}",
    "sinks": _ANY_FLOAT,
    "alibi_slopes": _ANY_FLOAT,
    **dict.fromkeys(("kv_lens", "cu_seqlens", "cu_seqlens_q", "cu_seqlens_k"), "int32 and int64"),
    "codes": "int8, uint8, float8_e4m3fn and float8_e5m2",
    "workspace": "uint8",
}


def dtype_error(name: str, dtype: Any) -> ValueError:
    allowed = _ALLOWED.get(name, "float32, float16 and bfloat16")
    return ValueError(f"{name}: dtype {dtype} is not supported; allowed: {allowed}")


@functools.cache
def no_cuda() -> str:
    """Why no CUDA device can be used; "" if one can."""
    return _core.no_devices()


def device_error(name: str, device: str) -> RuntimeError:
    why = no_cuda() if device.startswith("cuda") else "octavo reads tensors on the CPU and on CUDA devices only"
    return RuntimeError(f"{name} is on {device}: {why}; move it to the CPU")

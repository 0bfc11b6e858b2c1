"""Arrays of every kind as views for the core, and results of the same kind: the only place that knows NumPy from torch.

Three families of containers are told apart by type: NumPy arrays (and whatever has the buffer protocol), torch tensors,
and any other object that speaks DLPack. None of them is imported for the sake of the test, NumPy excepted.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Protocol

import numpy as np

from . import _core
from ._core import DType

FLOATS = {
    "float32": DType.f32,
    "float16": DType.f16,
    "bfloat16": DType.bf16,
    "f32": DType.f32,
    "f16": DType.f16,
    "bf16": DType.bf16,
}


class Array:
    """One tensor of a call: what the core reads, and what is needed to make a result like it."""

    __slots__ = ("view", "shape", "dtype", "container", "owner", "family", "device")

    def __init__(
        self, view: Any, shape: tuple[int, ...], dtype: DType, container: Any, owner: Any, family: Family,
        device: int = -1
    ):  # fmt: skip
        self.view = view
        self.shape = shape
        self.dtype = dtype
        self.container = container
        self.owner = owner  # keeps the memory of `view` alive
        self.family = family
        self.device = device  # of CUDA; -1 = the CPU


class Family(Protocol):
    """What the rest of the package needs to know about a kind of container."""

    name: str

    def read(self, x: Any, name: str) -> Array:
        """View of an input; `name` is the argument's, for messages."""

    def write(self, x: Any, name: str) -> Array:
        """View of a tensor that will be written."""

    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        """An uninitialised result that `finish` turns into the caller's kind."""

    def finish(self, array: Array, like: Any) -> Any:
        """The container that the caller gets."""

    def stream(self, device: int) -> int:
        """The CUDA stream on which calls run that name none."""

    def settle(self, device: int, stream: int) -> None:
        """After a call on a device: what must happen before the caller may use the result."""

    def adopt(self, array: Any, dtype: DType, like: Any) -> Any:
        """The core's own memory, a NumPy array or a DLPack object on a device, as a container of this family."""

    def dense(self, x: Any) -> Any:
        """A row-major copy, in a container that `octavo._containers.read` takes."""


def _check_rank(rank: int, name: str) -> None:
    if not 1 <= rank <= 4:
        raise ValueError(f"{name}: rank {rank}; tensors of 1 to 4 axes are allowed")


def _refuse_dtype(name: str, dtype: Any) -> ValueError:
    return ValueError(f"{name}: dtype {dtype} is not supported; float32, float16 and bfloat16 are")


# --- NumPy and the buffer protocol -----------------------------------------------------------------------------------

_NUMPY_DTYPES: dict[Any, DType] = {
    np.dtype(name): dtype
    for name, dtype in {
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
    }.items()
}
# Types of ml_dtypes by name: the package need not be there.
_EXTENSION_DTYPES = {"bfloat16": DType.bf16, "float8_e4m3fn": DType.e4m3, "float8_e5m2": DType.e5m2}
_NUMPY_TYPES: dict[DType, Any] = {DType.f32: np.dtype(np.float32), DType.f16: np.dtype(np.float16)}


def _numpy_dtype(dtype: np.dtype, name: str) -> DType:
    found = _NUMPY_DTYPES.get(dtype)
    if found is not None:
        return found
    if not dtype.isnative:
        raise ValueError(
            f"{name}: dtype {dtype.str} has the other byte order; convert it with x.astype(x.dtype.newbyteorder('='))"
        )
    found = _EXTENSION_DTYPES.get(dtype.name)
    if found is None:
        raise _refuse_dtype(name, dtype)
    _NUMPY_DTYPES[dtype] = found
    return found


def _numpy_type(dtype: DType) -> Any:
    found = _NUMPY_TYPES.get(dtype)
    if found is None:
        try:
            import ml_dtypes
        except ImportError:
            raise ImportError(
                f"NumPy has no {dtype.name} of its own: install ml_dtypes, or ask for out_dtype='float32'"
            ) from None
        names = {value: key for key, value in _EXTENSION_DTYPES.items()}
        found = _NUMPY_TYPES[dtype] = np.dtype(getattr(ml_dtypes, names[dtype]))
    return found


class _Numpy:
    name = "NumPy array"

    def read(self, x: Any, name: str) -> Array:
        if not isinstance(x, np.ndarray):
            x = np.asarray(x)
        elif isinstance(x, np.ma.MaskedArray):
            raise ValueError(f"{name}: a masked array; hand its mask over as mask=")
        return self._array(x, x, name)

    def _array(self, x: np.ndarray, container: Any, name: str) -> Array:
        dtype = _NUMPY_DTYPES.get(x.dtype) or _numpy_dtype(x.dtype, name)
        _check_rank(x.ndim, name)
        size = x.itemsize
        if not x.flags.aligned or any([s % size for s in x.strides]):
            x = x.copy()  # fields of records and the like: strides that no element count expresses
        view = _core.TensorView(
            x.__array_interface__["data"][0], dtype, x.shape, tuple([s // size for s in x.strides])
        )
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

    def adopt(self, array: np.ndarray, dtype: DType, like: Any) -> Any:
        if dtype in (DType.e4m3, DType.e5m2):
            try:
                return array.view(_numpy_type(dtype))
            except ImportError:  # the bytes themselves, which Quantized takes back
                return array
        return array

    def stream(self, device: int) -> int:
        return 0

    def settle(self, device: int, stream: int) -> None:
        pass

    def dense(self, x: Any) -> Any:
        return np.ascontiguousarray(x)


# --- torch -----------------------------------------------------------------------------------------------------------


class _Torch:
    name = "torch tensor"

    @functools.cached_property
    def torch(self) -> Any:
        return sys.modules["torch"]  # there is a tensor, so it was imported

    @functools.cached_property
    def dtypes(self) -> dict[Any, DType]:
        names = {
            "float32": DType.f32,
            "float16": DType.f16,
            "bfloat16": DType.bf16,
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
            "float8_e4m3fn": DType.e4m3,
            "float8_e5m2": DType.e5m2,
        }
        return {getattr(self.torch, name): dtype for name, dtype in names.items() if hasattr(self.torch, name)}

    @functools.cached_property
    def types(self) -> dict[DType, Any]:
        return {dtype: torch_dtype for torch_dtype, dtype in self.dtypes.items()}

    def read(self, x: Any, name: str) -> Array:
        if x.requires_grad and self.torch.is_grad_enabled():
            raise RuntimeError(
                f"{name} requires grad and octavo has no backward pass: call it under torch.no_grad(), or hand over "
                f"{name}.detach()"
            )
        device = -1
        if not x.is_cpu:
            if not x.is_cuda or _no_cuda():
                raise _no_device(name, str(x.device))
            device = x.device.index
        if x.layout is not self.torch.strided:
            raise ValueError(f"{name}: layout {x.layout}; only dense (strided) tensors are supported")
        dtype = self.dtypes.get(x.dtype)
        if dtype is None:
            raise _refuse_dtype(name, x.dtype)
        shape = x.shape
        _check_rank(len(shape), name)
        pointer = x.data_ptr()
        owner = x
        if x.is_neg() or pointer % x.element_size():
            owner = x.detach().resolve_neg().clone()
            pointer = owner.data_ptr()
        view = _core.TensorView(pointer, dtype, shape, owner.stride(), device)
        return Array(view, shape, dtype, x, owner, self, device)

    def write(self, x: Any, name: str) -> Array:
        array = self.read(x, name)
        if array.owner is not x:
            raise ValueError(f"{name}: a view with a pending negation or an unaligned address cannot be written")
        return array

    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        x = self.torch.empty(shape, dtype=self.types[dtype], device=like.device)
        device = -1 if x.is_cpu else x.device.index
        return Array(_core.TensorView(x.data_ptr(), dtype, shape, x.stride(), device), shape, dtype, x, x, self, device)

    def finish(self, array: Array, like: Any) -> Any:
        return array.container

    def stream(self, device: int) -> int:
        return self.torch.cuda.current_stream(device).cuda_stream if device >= 0 else 0

    def settle(self, device: int, stream: int) -> None:
        pass  # torch goes on with the same stream

    def adopt(self, array: Any, dtype: DType, like: Any) -> Any:
        x = self.torch.from_numpy(array) if isinstance(array, np.ndarray) else self.torch.from_dlpack(array)
        return x.view(self.types[dtype]) if dtype in (DType.e4m3, DType.e5m2) else x

    def dense(self, x: Any) -> Any:
        return x.contiguous()


# --- anything else that speaks DLPack --------------------------------------------------------------------------------

_DLPACK_HOST = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost: memory that this processor reads
_DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


@functools.cache
def _no_cuda() -> str:
    """Why no CUDA device can be used here; "" where one can."""
    return _core.no_devices()


def _no_device(name: str, device: str) -> RuntimeError:
    why = _no_cuda() if device.startswith("cuda") else "octavo reads tensors on the CPU and on CUDA devices only"
    return RuntimeError(f"{name} is on {device}: {why}; move it to the CPU")


class _Dlpack:
    name = "DLPack tensor"

    def read(self, x: Any, name: str) -> Array:
        kind, index = x.__dlpack_device__()
        device = -1
        if int(kind) not in _DLPACK_HOST:
            if int(kind) not in _DLPACK_CUDA:
                raise _no_device(name, f"DLPack device {int(kind)}:{index}")
            if _no_cuda():
                raise _no_device(name, f"cuda:{index}")
            device = int(index)
        # A producer on a device makes the stream that it is told wait for the data. 1 is the legacy default stream, on
        # which such a call runs.
        tensor = _core.from_dlpack(x if device < 0 else x.__dlpack__(stream=1))
        if tensor.dtype is None:
            raise _refuse_dtype(name, getattr(x, "dtype", "unknown"))
        shape = tensor.shape
        _check_rank(len(shape), name)
        view = _core.TensorView(tensor.data, tensor.dtype, shape, tensor.strides, device)
        return Array(view, shape, tensor.dtype, x, (x, tensor), self, device)

    def write(self, x: Any, name: str) -> Array:
        raise ValueError(f"{name}: a {type(x).__module__}.{type(x).__qualname__} cannot be written in place; NumPy "
                         "arrays and torch tensors can")

    # Results are made in NumPy, on a device in memory of octavo's own, and handed to the producer's own array-API
    # namespace.
    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        kind, index = like.__dlpack_device__()
        if int(kind) in _DLPACK_CUDA:
            made = _core.device_array(int(index), dtype, shape)
            return Array(made.view, shape, dtype, made, made, self, int(index))
        array = NUMPY.empty(shape, dtype, None)
        array.family = self
        return array

    def stream(self, device: int) -> int:
        return 0

    def settle(self, device: int, stream: int) -> None:
        if device >= 0:
            _core.synchronize(device, stream)  # nobody knows on which stream the result will be read

    def finish(self, array: Array, like: Any) -> Any:
        made = array.container
        return self.adopt(made.dlpack() if isinstance(made, _core.DeviceArray) else made, array.dtype, like)

    def adopt(self, array: Any, dtype: DType, like: Any) -> Any:
        if not isinstance(array, np.ndarray):
            namespace = getattr(like, "__array_namespace__", None)
            return array if namespace is None else namespace().from_dlpack(array)
        array = NUMPY.adopt(array, dtype, None)
        namespace = getattr(like, "__array_namespace__", None)
        return array if namespace is None else namespace().asarray(array)

    def dense(self, x: Any) -> Any:
        return np.ascontiguousarray(np.from_dlpack(x))


# --- which is which --------------------------------------------------------------------------------------------------

NUMPY, TORCH, DLPACK = _Numpy(), _Torch(), _Dlpack()


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

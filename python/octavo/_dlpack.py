"""Other objects with DLPack as views for the core; results are converted by their array-API namespace."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from . import _arguments, _core
from ._core import DType
from ._array_backend import Array, check_rank, device_error, dtype_error, no_cuda
from ._numpy import Numpy

_HOST = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost: memory accessible from the CPU
_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


def _failed(x: Any, name: str, method: str, error: Exception) -> RuntimeError:
    said = f"{type(error).__name__}: {_arguments.shown(str(error))}"
    return RuntimeError(f"{name}: {method} of this {type(x).__qualname__} raised {said}")


def _device(x: Any, name: str) -> tuple[int, int]:
    try:
        device = x.__dlpack_device__()
    except MemoryError:
        raise
    except Exception as error:
        raise _failed(x, name, "__dlpack_device__", error) from error
    try:
        kind, index = device
        return operator.index(kind), operator.index(index)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: __dlpack_device__ of this {type(x).__qualname__} returned {_arguments.shown(device)}; allowed is "
            "a pair of integers (device type, device id)"
        ) from None


def _tensor(x: Any, name: str, stream: dict[str, int]) -> _core.DlpackTensor:
    """The producer's tensor; exported here and not in the binding, which would hide the producer's exception."""
    try:
        capsule = x.__dlpack__(**stream)
    except MemoryError:
        raise
    except Exception as error:
        try:  # read-only memory is exported only since DLPack 1.0, to consumers that declare support
            capsule = x.__dlpack__(**stream, max_version=(1, 0))
        except MemoryError:
            raise
        except Exception:
            raise _failed(x, name, "__dlpack__", error) from error
    try:
        if type(capsule).__name__ == "PyCapsule":
            return _core.from_dlpack(capsule)
    except TypeError:
        pass
    raise TypeError(
        f"{name}: __dlpack__ of this {type(x).__qualname__} returned {_arguments.shown(capsule)}; allowed is an "
        "unused capsule"
    )


class _Exported:
    """Memory of octavo on a CUDA device as the array-API standard's from_dlpack takes it: once, and no bare capsule."""

    def __init__(self, capsule: Any, device: int) -> None:
        self._capsule = capsule
        self._device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA[0], self._device

    def __dlpack__(self, **_: Any) -> Any:
        capsule, self._capsule = self._capsule, None
        if capsule is None:
            raise RuntimeError("this result of octavo has been consumed already; take its DLPack tensor once")
        return capsule


class Dlpack:
    name = "DLPack tensor"

    def __init__(self, numpy: Numpy):
        self.numpy = numpy

    def read(self, x: Any, name: str) -> Array:
        kind, index = _device(x, name)
        device = -1
        if kind not in _HOST:
            if kind not in _CUDA:
                raise device_error(name, f"DLPack device {kind}:{index}")
            if no_cuda():
                raise device_error(name, f"cuda:{index}")
            device = index
        # A producer on a device makes the given stream wait for its data. 1 is the legacy default stream, on which the
        # call runs.
        tensor = _tensor(x, name, {} if device < 0 else {"stream": 1})
        if tensor.dtype is None:
            raise dtype_error(name, getattr(x, "dtype", "unknown"))
        shape = tensor.shape
        check_rank(len(shape), name)
        view = _core.TensorView(tensor.data, tensor.dtype, shape, tensor.strides, device)
        return Array(view, shape, tensor.dtype, x, (x, tensor), self, device)

    def write(self, x: Any, name: str) -> Array:
        # DLPack before 1.0 does not say whether memory may be written. CuPy's arrays do here; JAX's say it may not.
        interface = getattr(x, "__cuda_array_interface__", None)
        data = interface.get("data") if isinstance(interface, dict) else None
        if isinstance(data, tuple) and len(data) == 2 and data[1] is False:
            return self.read(x, name)
        raise ValueError(f"{name}: a {type(x).__module__}.{type(x).__qualname__} cannot be written in place; NumPy "
                         "arrays, torch tensors and arrays with a writable __cuda_array_interface__ (CuPy) can")

    # Results are NumPy arrays, or device memory of octavo, converted by the producer's array-API namespace.
    def empty(self, shape: tuple[int, ...], dtype: DType, like: Any) -> Array:
        kind, index = like.__dlpack_device__()
        if int(kind) in _CUDA:
            made = _core.device_array(int(index), dtype, shape)
            return Array(made.view, shape, dtype, made, made, self, int(index))
        array = self.numpy.empty(shape, dtype, None)
        array.backend = self
        return array

    def stream(self, device: int) -> int:
        return 0

    def sync(self, device: int, stream: int) -> None:
        if device >= 0:
            _core.synchronize(device, stream)  # the stream that will read the result is unknown

    def finish(self, array: Array, like: Any) -> Any:
        made = array.container
        return self.wrap(made.dlpack() if isinstance(made, _core.DeviceArray) else made, array.dtype, like)

    def wrap(self, array: Any, dtype: DType, like: Any) -> Any:
        if not isinstance(array, np.ndarray):
            exported = _Exported(array, operator.index(like.__dlpack_device__()[1]))
            namespace = getattr(like, "__array_namespace__", None)
            return exported if namespace is None else namespace().from_dlpack(exported)
        array = self.numpy.wrap(array, dtype, None)
        namespace = getattr(like, "__array_namespace__", None)
        return array if namespace is None else namespace().asarray(array)

    def dense(self, x: Any) -> Any:
        return np.ascontiguousarray(np.from_dlpack(x))

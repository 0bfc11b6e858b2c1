"""torch tensors as views for the core. torch is never imported here: a tensor implies that it already is."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from . import _core
from ._core import DType
from ._array_backend import DTYPES, EXTENSION_DTYPES, Array, check_rank, device_error, dtype_error, no_cuda

NESTED = (
    "nested tensors are not supported; allowed are dense ones: concatenated sequences with cu_seqlens_q and "
    "cu_seqlens_k, or padded sequences with kv_lens or key_mask"
)


class Torch:
    name = "torch tensor"

    @functools.cached_property
    def torch(self) -> Any:
        return sys.modules["torch"]

    @functools.cached_property
    def dtypes(self) -> dict[Any, DType]:
        names = DTYPES | EXTENSION_DTYPES
        return {getattr(self.torch, name): dtype for name, dtype in names.items() if hasattr(self.torch, name)}

    @functools.cached_property
    def types(self) -> dict[DType, Any]:
        return {dtype: torch_dtype for torch_dtype, dtype in self.dtypes.items()}

    def read(self, x: Any, name: str) -> Array:
        if x.requires_grad and self.torch.is_grad_enabled():
            raise RuntimeError(
                f"{name} requires grad and octavo has no backward pass: call it under torch.no_grad(), or pass "
                f"{name}.detach()"
            )
        device = -1
        if not x.is_cpu:
            if not x.is_cuda or no_cuda():
                raise device_error(name, str(x.device))
            device = x.device.index
        if x.is_nested:
            raise NotImplementedError(f"{name}: {NESTED}")
        if x.layout is not self.torch.strided:
            raise ValueError(f"{name}: layout {x.layout}; only dense (strided) tensors are supported")
        dtype = self.dtypes.get(x.dtype)
        if dtype is None:
            raise dtype_error(name, x.dtype)
        shape = x.shape
        check_rank(len(shape), name)
        try:
            pointer = x.data_ptr()
        except RuntimeError:
            pointer = 0
        if pointer == 0 and x.numel() > 0:
            raise RuntimeError(
                f"{name} is a {type(x).__qualname__} without memory, as inside torch.vmap and while a graph is traced; "
                "under torch.compile and torch.export call octavo.torch's functions"
            )
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

    def sync(self, device: int, stream: int) -> None:
        pass  # torch continues on the same stream

    def wrap(self, array: Any, dtype: DType, like: Any) -> Any:
        x = self.torch.from_numpy(array) if isinstance(array, np.ndarray) else self.torch.from_dlpack(array)
        return x.view(self.types[dtype]) if dtype in (DType.e4m3, DType.e5m2) else x

    def dense(self, x: Any) -> Any:
        return x.contiguous()

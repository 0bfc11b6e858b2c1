"""The libraries of the side-by-side benchmark, and how each is called in its fastest configuration.

An adapter prepares one problem (q [B, Hq, M, D], k and v [B, Hkv, N, D], float32) in the library's preferred format,
outside the timed region, and then runs it repeatedly. Work that a user of the library needs for each call (octavo:
quantization, smoothing, rotation) is part of the run. If a library cannot be imported or compiled, or does not support
a problem, the adapter raises an error with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from .importable import Importable
from .octavo_adapter import Octavo
from .onnx_adapters import GroupQuery, MultiHead, OpsetAttention
from .openvino_adapters import OpenVino, OpenVinoPaged
from .program_adapter import IkLlama, OneDnn
from .torch_adapter import Torch


@dataclass(frozen=True)
class Adapter:
    name: str
    make: Callable[[int], object]  # of a number of threads
    products: tuple[str, str] | None = None  # the peaks its two products are bound by: vnni, bf16 or f32
    ours: bool = False


def octavo(label: str, recipe: str, dtype: str, scores: str, values: str) -> Adapter:
    return Adapter(f"octavo {label}", lambda threads: Octavo(recipe, dtype, threads), (scores, values), True)


ALL = [
    octavo("int8", "int8", "f32", "vnni", "vnni"),
    octavo("int8 (bf16 in)", "int8", "bf16", "vnni", "vnni"),
    octavo("int8_fast", "int8_fast", "f32", "vnni", "vnni"),
    octavo("int8_fast (bf16 in)", "int8_fast", "bf16", "vnni", "vnni"),
    octavo("int8_block", "int8_block", "f32", "vnni", "vnni"),
    octavo("int4", "int4", "f32", "vnni", "vnni"),
    octavo("int_flash", "int_flash", "f32", "vnni", "vnni"),
    octavo("int_flash_block_v", "int_flash_block_v", "f32", "vnni", "vnni"),
    octavo("int_flash_half", "int_flash_half", "f32", "vnni", "f32"),
    octavo("sage1", "sage1", "f32", "vnni", "f32"),
    octavo("sage2_8b", "sage2_8b", "f32", "vnni", "bf16"),
    octavo("sage2_4b", "sage2_4b", "f32", "vnni", "bf16"),
    octavo("exact f32", "exact", "f32", "f32", "f32"),
    octavo("exact bf16", "exact", "bf16", "bf16", "bf16"),
    octavo("exact f16", "exact", "f16", "f32", "f32"),
    Adapter("OpenVINO bf16", lambda t: OpenVino("bf16", t), ("bf16", "bf16")),
    Adapter("OpenVINO f32", lambda t: OpenVino("f32", t), ("f32", "f32")),
    Adapter("OpenVINO paged u8", lambda t: OpenVinoPaged("bf16", "u8", t), ("bf16", "bf16")),
    Adapter("ONNX Runtime MultiHeadAttention f32", MultiHead, ("f32", "f32")),
    Adapter("ONNX Runtime Attention-23 f32", OpsetAttention, ("f32", "f32")),
    Adapter("ONNX Runtime GQA f32", lambda t: GroupQuery(32, t), ("f32", "f32")),
    Adapter("ONNX Runtime GQA int8", lambda t: GroupQuery(8, t)),
    Adapter("PyTorch SDPA f32", lambda t: Torch("f32", t), ("f32", "f32")),
    Adapter("PyTorch SDPA bf16", lambda t: Torch("bf16", t), ("bf16", "bf16")),
    Adapter("PyTorch SDPA f16", lambda t: Torch("f16", t)),
    Adapter("oneDNN graph f32", lambda t: OneDnn("f32", t), ("f32", "f32")),
    Adapter("oneDNN graph bf16", lambda t: OneDnn("bf16", t), ("bf16", "bf16")),
    Adapter("oneDNN graph int8", lambda t: OneDnn("int8", t), ("vnni", "vnni")),
    Adapter("ik_llama.cpp q8_0", lambda t: IkLlama("q8_0", t), ("vnni", "f32")),
    Adapter("ik_llama.cpp bf16", lambda t: IkLlama("bf16", t), ("bf16", "f32")),
    Adapter("FlashAttention", lambda t: Importable("flash_attn", t)),
    Adapter("SageAttention", lambda t: Importable("sageattention", t)),
]
ADAPTERS = {adapter.name: adapter for adapter in ALL}


# Libraries that can be limited to AVX2, and the environment variables that do it.
AVX2 = {"octavo int8", "octavo int8_fast", "octavo int_flash", "octavo exact f32", "PyTorch SDPA f32",
        "oneDNN graph f32"}
AVX2_ENVIRONMENT = {"OCTAVO_FORCE_IMPLEMENTATION": "avx2", "ATEN_CPU_CAPABILITY": "avx2",
                    "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def environment(threads: int, avx2: bool = False) -> dict[str, str]:
    """The environment of a library's process: each library has its own variable for the number of threads.

    Idle threads sleep: a spinning pool would take processor time from the library that is timed next.
    """
    return os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                         "OCTAVO_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE",
                         "ORT_MLAS_QKGEMM_S8_APPROX_VNNI": "1"} | (AVX2_ENVIRONMENT if avx2 else {})

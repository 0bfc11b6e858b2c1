"""Who takes part in the side-by-side benchmark, and how each is called at its best.

A contender prepares one problem (q [B, Hq, M, D], k and v [B, Hkv, N, D], float32) in the form it likes, outside the
timing, and then runs it again and again. What its own users would have to do for each call (octavo: quantization,
smoothing, rotation) is part of the run. A contender that cannot be imported, compiled or refuses a problem says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from .importable import Importable
from .octavo_contender import Octavo
from .onnx_contenders import GroupQuery, MultiHead, OpsetAttention
from .openvino_contenders import OpenVino, OpenVinoPaged
from .program_contender import IkLlama, OneDnn
from .torch_contender import Torch


@dataclass(frozen=True)
class Contender:
    name: str
    make: Callable[[int], object]  # of a number of threads
    products: tuple[str, str] | None = None  # the peaks its two products are bound by: vnni, bf16 or f32
    ours: bool = False


def octavo(label: str, recipe: str, dtype: str, scores: str, values: str) -> Contender:
    return Contender(f"octavo {label}", lambda threads: Octavo(recipe, dtype, threads), (scores, values), True)


ALL = [
    octavo("int8", "int8", "f32", "vnni", "vnni"),
    octavo("int8 (bf16 in)", "int8", "bf16", "vnni", "vnni"),
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
    Contender("OpenVINO bf16", lambda t: OpenVino("bf16", t), ("bf16", "bf16")),
    Contender("OpenVINO f32", lambda t: OpenVino("f32", t), ("f32", "f32")),
    Contender("OpenVINO paged u8", lambda t: OpenVinoPaged("bf16", "u8", t), ("bf16", "bf16")),
    Contender("ONNX Runtime MultiHeadAttention f32", MultiHead, ("f32", "f32")),
    Contender("ONNX Runtime Attention-23 f32", OpsetAttention, ("f32", "f32")),
    Contender("ONNX Runtime GQA f32", lambda t: GroupQuery(32, t), ("f32", "f32")),
    Contender("ONNX Runtime GQA int8", lambda t: GroupQuery(8, t)),
    Contender("PyTorch SDPA f32", lambda t: Torch("f32", t), ("f32", "f32")),
    Contender("PyTorch SDPA bf16", lambda t: Torch("bf16", t), ("bf16", "bf16")),
    Contender("PyTorch SDPA f16", lambda t: Torch("f16", t)),
    Contender("oneDNN graph f32", lambda t: OneDnn("f32", t), ("f32", "f32")),
    Contender("oneDNN graph bf16", lambda t: OneDnn("bf16", t), ("bf16", "bf16")),
    Contender("oneDNN graph int8", lambda t: OneDnn("int8", t), ("vnni", "vnni")),
    Contender("ik_llama.cpp q8_0", lambda t: IkLlama("q8_0", t), ("vnni", "f32")),
    Contender("ik_llama.cpp bf16", lambda t: IkLlama("bf16", t), ("bf16", "f32")),
    Contender("FlashAttention", lambda t: Importable("flash_attn", t)),
    Contender("SageAttention", lambda t: Importable("sageattention", t)),
]
CONTENDERS = {contender.name: contender for contender in ALL}


# Who can be held to AVX2, and by what.
AVX2 = {"octavo int8", "octavo int_flash", "octavo exact f32", "PyTorch SDPA f32", "oneDNN graph f32"}
AVX2_ENVIRONMENT = {"OCTAVO_FORCE_IMPLEMENTATION": "avx2", "ATEN_CPU_CAPABILITY": "avx2",
                    "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def environment(threads: int, avx2: bool = False) -> dict[str, str]:
    """What a contender's process is started with: every library's own way to be told its threads.

    Waiting threads sleep: a pool that spins would take the processor from whoever is timed next.
    """
    return os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                         "OCTAVO_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE",
                         "ORT_MLAS_QKGEMM_S8_APPROX_VNNI": "1"} | (AVX2_ENVIRONMENT if avx2 else {})

"""What is timed on a GPU, octavo's recipes and the baselines, and how each is called at its best.

An entry is made for one problem (q, k, v [B, H, N, D] in bf16 on the GPU), converts them outside the timing to the form
it takes, and is then called again and again; octavo's quantization is part of its calls unless the name says otherwise.
What cannot be imported or refuses the problem is absent, with the reason.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

OURS = "octavo "
# And the largest relative L2 that each may show of N(0, 1) in bf16, rounding of a bf16 result included: one and a half
# times what docs/recipes.md has for the CPU's kernels (int_flash at 16384 rows, where it is largest; exact of bf16 as
# in bench/results/PROCESSOR/cpu.md).
BOUNDS = {"int8": 0.020, "int8_fast": 0.020, "int8_block": 0.0225, "int_flash": 0.075, "int_flash_half": 0.0135,
          "exact": 0.006}
RECIPES = tuple(BOUNDS)


def bound_of(name: str) -> float | None:
    """Of octavo's entries; the baselines have none."""
    return BOUNDS.get(name.removeprefix(OURS).split(",")[0]) if name.startswith(OURS) else None


class Absent(Exception):
    """Why an entry does not run."""


@dataclass
class Ready:
    """An entry before its first call: `run` enqueues one, `last_rows(result, n)` are rows of its first head."""
    run: Callable[[], object]
    last_rows: Callable[[object, int], object]
    # None: by CUDA events. Else waits for all that was enqueued: the clock of the host then times a stretch of calls.
    wait: Callable[[], None] | None = None


def need(module: str):
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever an import may raise: a missing library of the system, an old driver
        raise Absent(f"{module} cannot be imported: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def heads_first(out, n):
    return out[0, 0, -n:]


def heads_second(out, n):
    return out[0, -n:, 0]


def same_heads(q, k, v):
    """K and V repeated for every query head, for libraries that know no groups."""
    share = q.shape[1] // k.shape[1]
    return (k, v) if share == 1 else (k.repeat_interleave(share, 1), v.repeat_interleave(share, 1))


def octavo(recipe: str):
    def make(q, k, v, causal):
        library = need("octavo")
        return Ready(lambda: library.attention(q, k, v, recipe=recipe, causal=causal, layout="HND"), heads_first)
    return make


def octavo_codes(recipe: str):
    def make(q, k, v, causal):
        library = need("octavo")
        codes = [library.quantize(x, role=role, recipe=recipe, layout="HND") for role, x in zip("qkv", (q, k, v))]
        return Ready(lambda: library.attention(*codes, recipe=recipe, causal=causal, layout="HND"), heads_first)
    return make


def torch_sdpa(backend: str, groups: bool = True):
    def make(q, k, v, causal):
        torch = need("torch")
        attention = need("torch.nn.attention")
        chosen = getattr(attention.SDPBackend, backend)
        if not groups:
            k, v = same_heads(q, k, v)
        grouped = groups and q.shape[1] != k.shape[1]

        def run():
            with attention.sdpa_kernel(chosen), torch.inference_mode():
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
        return Ready(run, heads_first)
    return make


def sage(q, k, v, causal):
    sageattn = need("sageattention").sageattn
    return Ready(lambda: sageattn(q, k, v, tensor_layout="HND", is_causal=causal), heads_first)


def flash2(q, k, v, causal):
    call = need("flash_attn").flash_attn_func
    rows = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
    return Ready(lambda: call(*rows, causal=causal), heads_second)


def flash3(fp8: bool):
    def make(q, k, v, causal):
        call = need("flash_attn_interface").flash_attn_func
        rows = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
        if fp8:
            # N(0, 1) fits E4M3 without a scale.
            rows = [x.to(need("torch").float8_e4m3fn) for x in rows]

        def run():
            out = call(*rows, causal=causal)
            return out[0] if isinstance(out, tuple) else out
        return Ready(run, heads_second)
    return make


def triton_tutorial(q, k, v, causal):
    need("triton")
    kernel = need("triton_attention").attention
    k, v = same_heads(q, k, v)
    halves = [x.half().contiguous() for x in (q, k, v)]
    return Ready(lambda: kernel(*halves, causal), heads_first)


def jax_cudnn_fp8(q, k, v, causal):
    jax = need("jax")
    fused = need("jax._src.cudnn.fused_attention_stablehlo")
    torch = need("torch")
    if not hasattr(fused, "fp8_params_keys"):
        raise Absent("this jax has no FP8 attention by cuDNN")
    if all(device.platform != "gpu" for device in jax.devices()):
        raise Absent("jax sees no CUDA device")
    numpy = need("jax.numpy")
    one = numpy.ones((1, 1, 1, 1), numpy.float32)
    params = {name: one for name in fused.fp8_params_keys}
    # Weights of up to 1 fill E4M3 when they are multiplied by 256; the output N(0, 1 / N) is as small as they are
    # large.
    params |= {"scale_s": 256 * one, "descale_s": one / 256, "scale_o": 16 * one}
    codes = [jax.dlpack.from_dlpack(x.to(torch.float8_e4m3fn).view(torch.uint8).contiguous()).view(numpy.float8_e4m3fn)
             for x in (q, k, v)]
    mask = fused.MaskType.CAUSAL if causal else fused.MaskType.NO_MASK
    call = jax.jit(lambda a, b, c: fused.dot_product_attention(
        a, b, c, fp8_params=params, scale=1 / math.sqrt(q.shape[-1]), mask_type=mask, qkv_layout="BNTH",
        use_fp8=True)[0])
    last = []

    def run():
        last[:] = [call(*codes)]
        return last[0]

    def rows(out, n):
        return torch.from_dlpack(out[0, 0, -n:].astype(numpy.float32)) / 16
    return Ready(run, rows, lambda: last[0].block_until_ready())


ENTRIES: dict[str, Callable] = {
    **{f"{OURS}{recipe}": octavo(recipe) for recipe in RECIPES},
    f"{OURS}int8_fast, codes given": octavo_codes("int8_fast"),
    f"{OURS}int_flash, codes given": octavo_codes("int_flash"),
    "PyTorch SDPA flash bf16": torch_sdpa("FLASH_ATTENTION"),
    "PyTorch SDPA cuDNN bf16": torch_sdpa("CUDNN_ATTENTION"),
    "PyTorch SDPA efficient bf16": torch_sdpa("EFFICIENT_ATTENTION", groups=False),
    "SageAttention": sage,
    "FlashAttention-2 bf16": flash2,
    "FlashAttention-3 bf16": flash3(False),
    "FlashAttention-3 fp8": flash3(True),
    "JAX cuDNN fp8": jax_cudnn_fp8,
    "Triton tutorial f16": triton_tutorial,
}

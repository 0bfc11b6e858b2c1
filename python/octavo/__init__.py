"""octavo: softmax(Q K^T) V with 8-bit and 4-bit operands in one online-softmax pass.

>>> o = octavo.attention(q, k, v, recipe="int8", causal=True)    # NumPy, torch, any DLPack object

`octavo.recipes()` lists the recipes, `octavo.info()` the implementations of this machine.
"""

from __future__ import annotations

from . import _core, reference
from ._attention import attention, merge_state, workspace_size
from ._kv_cache import KVCache
from ._quantized import Quantized, quantize
from ._recipe import Recipe, recipe, recipes
from ._runtime import implementation, info, set_num_threads, threads

__version__: str = _core.version()

__all__ = [
    "KVCache",
    "Quantized",
    "Recipe",
    "__version__",
    "attention",
    "implementation",
    "info",
    "merge_state",
    "quantize",
    "recipe",
    "recipes",
    "reference",
    "set_num_threads",
    "threads",
    "workspace_size",
]

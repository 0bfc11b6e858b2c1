"""octavo for torch: operators that compile and export, SDPA's signature, and two ways to put octavo in SDPA's place.

>>> import octavo.torch
>>> o = octavo.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
>>> with octavo.torch.patch(recipe="int8"):                      # F.scaled_dot_product_attention is octavo's
...     model(x)
>>> torch.nn.attention.activate_flash_attention_impl(octavo.torch.register())    # torch's dispatcher calls octavo
"""

from ._attention import attention, quantize
from ._flash_impl import register
from ._kv_cache import KVCache
from ._patch import patch
from ._sdpa import scaled_dot_product_attention

__all__ = ["KVCache", "attention", "patch", "quantize", "register", "scaled_dot_product_attention"]

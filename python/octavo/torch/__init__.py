"""octavo for torch: operators that compile and export, SDPA's signature, and a patch of SDPA.

>>> import octavo.torch
>>> o = octavo.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
>>> with octavo.torch.patch(recipe="int8"):                      # F.scaled_dot_product_attention is octavo's
...     model(x)
"""

from ._attention import attention, quantize
from ._patch import patch
from ._sdpa import scaled_dot_product_attention

__all__ = ["attention", "patch", "quantize", "scaled_dot_product_attention"]

"""octavo for Hugging Face transformers: attention implementations by name, and a cache.

>>> import octavo.transformers
>>> octavo.transformers.register()
>>> model.set_attn_implementation("octavo")                  # recipe int8; "octavo_exact", "octavo_sage2_8b", ...
>>> cache = octavo.transformers.OctavoCache(model.config, capacity=4096)
>>> model.generate(**batch, cache=cache)
"""

from ._cache import OctavoCache
from ._register import names, register

__all__ = ["OctavoCache", "names", "register"]

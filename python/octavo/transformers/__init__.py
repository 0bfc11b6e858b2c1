"""octavo for Hugging Face transformers: attention implementations by name.

>>> import octavo.transformers
>>> octavo.transformers.register()
>>> model.set_attn_implementation("octavo")                  # recipe int8; "octavo_exact", "octavo_sage2_8b", ...
"""

from ._register import names, register

__all__ = ["names", "register"]

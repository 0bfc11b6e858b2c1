"""The oracle: every recipe in double precision, one thread, no cleverness; what the kernels are tested against."""

from __future__ import annotations

from typing import Any

from . import _attention, _runtime

__all__ = ["attention"]


def attention(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """`octavo.attention` on the implementation "reference"; the same keywords, results and errors.

    It runs every recipe that octavo knows, literally as it is defined, and is slow: use it on small shapes.
    """
    with _runtime.implementation("reference"):
        return _attention.attention(q, k, v, **keywords)

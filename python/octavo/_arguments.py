"""Scalar keywords of the calls: allowed Python values and their conversion to values of the core."""

from __future__ import annotations

import functools
import math
import numbers
import operator
from collections.abc import Mapping
from typing import Any, TypeVar

from . import _core
from ._core import Alibi, Causal, Layout

T = TypeVar("T")

_LAYOUTS = {"NHD": Layout.NHD, "HND": Layout.HND}
_CAUSAL = {
    False: Causal.none,
    True: Causal.bottom_right,
    "bottom_right": Causal.bottom_right,
    "top_left": Causal.top_left,
}
_ALIBI = {"causal": Alibi.causal, "symmetric": Alibi.symmetric}
_INT64_MAX = 2**63 - 1
_MOST_SHOWN = 80


def shown(value: Any) -> str:
    """A value for an error message, shortened; Python cannot print integers of more than 4300 digits."""
    try:
        text = repr(value)
    except ValueError:
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__qualname__}"
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 20] + "..." + text[-17:]


def choice(table: Mapping[Any, T], value: Any, name: str) -> T:
    """The entry of a table of allowed values."""
    try:
        return table[value]
    except (KeyError, TypeError):
        *others, last = map(repr, table)
        raise ValueError(f"{name}: {shown(value)}; {', '.join(others)} and {last} are allowed") from None


def layout(value: Any) -> Layout:
    return choice(_LAYOUTS, value, "layout")


def causal(value: Any) -> Causal:
    return choice(_CAUSAL, value, "causal")


def alibi(value: Any) -> Alibi:
    return choice(_ALIBI, value, "alibi")


def number(value: Any, name: str) -> float:
    """Any value convertible to a real number, except text and complex numbers."""
    if type(value) is float:
        return value
    if not isinstance(value, (str, bytes, bytearray)) and (
        isinstance(value, numbers.Real) or not isinstance(value, numbers.Complex)
    ):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name}: {shown(value)}; numbers up to 1.8e308 are allowed") from None
        except (TypeError, ValueError, RuntimeError):  # RuntimeError: torch, for more than one element
            pass
    raise ValueError(f"{name}: {shown(value)} is not a number; a float or an integer is allowed")


def scale(value: Any) -> float:
    """None becomes NaN, which stands for 1 / sqrt(D) in the core; a NaN of the caller is an error."""
    if value is None:
        return math.nan
    made = number(value, "scale")
    if math.isnan(made):
        raise ValueError("scale: NaN; a finite number or None (1 / sqrt(head_dim)) is allowed")
    return made


def window(value: Any) -> tuple[int, int]:
    """Any sequence of two integers."""
    try:
        left, right = (min(operator.index(side), _INT64_MAX) for side in value)
        return max(left, -_INT64_MAX), max(right, -_INT64_MAX)
    except (TypeError, ValueError):
        raise ValueError(
            f"window: {shown(value)}; a pair of integers (left, right) is allowed, -1 = unlimited, or None"
        ) from None


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> _core.Recipe:
    # A lone surrogate has no UTF-8; the core reports an error for its escaped form.
    parsed = _core.parse_recipe(text.encode(errors="backslashreplace").decode())
    _core.check_recipe(parsed)
    return parsed


def recipe(value: Any) -> _core.Recipe:
    """The core's recipe from a preset name, a text of the recipe grammar, or a Recipe."""
    if isinstance(value, str):
        return _parse(value)
    held = getattr(value, "_value", None)
    if not isinstance(held, _core.Recipe):
        raise ValueError(f"recipe: {shown(value)}; a recipe's text or an octavo.Recipe is allowed")
    return held


def stream(value: Any) -> int:
    """A CUDA stream as an address: an integer, or an object of torch (`cuda_stream`) or CuPy (`ptr`); None = 0."""
    if value is None:
        return 0
    for attribute in ("cuda_stream", "ptr"):
        value = getattr(value, attribute, value)
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"stream: {shown(value)}; None, an address or a stream object is allowed") from None

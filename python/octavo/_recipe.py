"""Recipes in Python: an immutable wrapper of the core's recipe, which defines the fields and the grammar."""

from __future__ import annotations

import inspect
from typing import Any

from . import _arguments, _core

_DEFAULT = _core.Recipe()
_FIELDS = tuple(_core.recipe_fields())
_BOOLS = {"on": True, "off": False}


def _typed(text: str) -> Any:
    """A field's text as the Python value it stands for."""
    if text in _BOOLS:
        return _BOOLS[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except ValueError:  # an integer too long for Python to print: the core reports an invalid value
        return _arguments.shown(value)


class Recipe:
    """How Q, K, P and V are represented and how their products are accumulated.

    Fields that are not given have the values of the preset ``int8``. Recipes are immutable: `replace` makes a new one.
    ``str(recipe)`` is a text of the recipe grammar (``"int8,smooth_q=off"``) that `octavo.recipe` and the command-line
    tool accept.

    Parameters
    ----------
    scores : {"s8", "s4", "e4m3", "e5m2", "f16", "input"}
        Representation of Q and K.
    q_scale, k_scale : {"none", "tensor", "block", "warp", "thread", "token"}
        Which elements of Q and of K share a scale (docs/quantization.md has pictures).
    q_group, k_group : int
        Rows of the slices that per-warp and per-thread groups are made of: 16, 32 or 64 queries, 64 or 128 keys. 16 and
        128 are those of SageAttention's Hopper kernels.
    hadamard : bool
        Rotate the channels of Q and K; scores do not change (FlashAttention-3, arXiv 2407.08608, section 3.3).
    smooth_q, smooth_k, smooth_v : bool
        Subtract the mean of each 128 rows of Q (SageAttention2, arXiv 2411.10958, section 3.1), of K over its tokens
        (SageAttention, arXiv 2410.02367, section 4.2), of V over its tokens. Scores and output are corrected for it.
    p : {"u8", "s8", "u16", "e4m3", "e5m2", "f16", "input"}
        Representation of the weights.
    p_range : int
        Largest code of an integer P, static factor of a float P (a number of that format); 1 to the maximum of `p`.
    p_reference : {"block", "running"}
        The row maximum that the codes of P are relative to: the key block's own, or the running one
        (INT-FlashAttention, arXiv 2409.16997, algorithm 1), whose error grows with the number of keys.
    row_sum : {"weights", "codes"}
        Terms of the softmax denominator: the weights before rounding, or their codes (INT-FlashAttention).
    values : {"s8", "s4", "e4m3", "e5m2", "f16", "input"}
        Representation of V.
    v_scale : {"none", "tensor", "block", "token", "token_folded", "channel", "block_channel"}
        Which elements of V share a scale. "token_folded": one row, its scale moved into P (docs/the_algorithm.md,
        section 4).
    v_range : float
        Largest code of V; 0 = that of the format.
    hadamard_v : bool
        Rotate the channels of V; O is rotated back.
    channel_gains : bool
        Divide V's channels by their amax over the geometric mean of all, before the fold; floats only.
    key_block : int
        Keys of one step of the online softmax: a multiple of 16 in 16..4096.
    accumulator : {"f32", "f16", "sm80", "sm89", "sm90", "sm100"}
        How products of floats are summed: "f16" rounds the second product after every 32 keys (SageAttention2++,
        arXiv 2505.21136); the last four model tensor cores to the bit (docs/the_algorithm.md, section 10), on
        the reference only.
    two_level : bool
        With accumulators other than "f32": a fresh sum per key block, added to an f32 output; False: the output is the
        accumulator.
    qk_gains : bool
        Balance the channels of Q and K before the rotation: K times a gain, Q divided by it.
    robust : bool
        Leave keys that no row sees, and rows 8 to 16 times larger than most, out of means, gains and scales.
    keep_first, keep_near, keep_heavy : int
        Keys of a row that are computed exactly, beside the quantized product (docs/the_algorithm.md, section 5): the
        first 0..16 keys, 0..4 strips of 16 keys around the row's position, 0..32 keys of largest expected weight.

    Raises
    ------
    TypeError
        An unknown field.
    ValueError
        An invalid value, or contradicting fields.
    """

    __slots__ = ("_value",)
    _value: _core.Recipe

    scores: str
    q_scale: str
    k_scale: str
    q_group: int
    k_group: int
    hadamard: bool
    smooth_q: bool
    smooth_k: bool
    smooth_v: bool
    p: str
    p_range: int
    p_reference: str
    row_sum: str
    values: str
    v_scale: str
    v_range: float
    hadamard_v: bool
    channel_gains: bool
    key_block: int
    accumulator: str
    two_level: bool
    qk_gains: bool
    robust: bool
    keep_first: int
    keep_near: int
    keep_heavy: int

    def __init__(self, **fields: Any) -> None:
        self._compose(_DEFAULT, fields)

    def _compose(self, base: _core.Recipe, fields: dict[str, Any]) -> None:
        composed = _core.Recipe(base)
        for field, value in fields.items():
            if field not in _FIELDS:
                raise TypeError(f"a recipe has no field {field!r}; it has {', '.join(_FIELDS)}")
            _core.set_recipe_field(composed, field, _text(value))
        _core.check_recipe(composed)
        object.__setattr__(self, "_value", composed)

    def replace(self, **fields: Any) -> Recipe:
        """This recipe with the fields named replaced; raises as the constructor does."""
        other = object.__new__(Recipe)
        other._compose(self._value, fields)
        return other

    def to_dict(self) -> dict[str, Any]:
        """All fields and their values; ``Recipe(**recipe.to_dict()) == recipe``."""
        return {field: getattr(self, field) for field in _FIELDS}

    def __getattr__(self, field: str) -> Any:
        if field not in _FIELDS:
            raise AttributeError(f"a recipe has no field {field!r}; it has {', '.join(_FIELDS)}")
        return _typed(_core.recipe_field(self._value, field))

    def __setattr__(self, field: str, value: Any) -> None:
        raise AttributeError(f"a recipe does not change: use recipe.replace({field}={value!r})")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_FIELDS]

    def __eq__(self, other: object) -> bool:
        return self._value.same(other._value) if isinstance(other, Recipe) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return _core.recipe_text(self._value)

    def __repr__(self) -> str:
        return f"octavo.recipe({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return recipe, (str(self),)


# help(Recipe) shows the fields and defaults of the core.
Recipe.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=_typed(_core.recipe_field(_DEFAULT, field)))
        for field in _FIELDS
    ]
)


def recipe(text: str | Recipe) -> Recipe:
    """Parses a recipe: a preset's name, followed by ``,field=value`` for any fields, each at most once.

    Parameters
    ----------
    text : str or Recipe
        ``"int8"``, ``"int8,smooth_q=off,key_block=64"``; a Recipe is returned unchanged.

    Raises
    ------
    ValueError
        An unknown preset, field or value (the message lists what is allowed), or contradicting fields.
    """
    if isinstance(text, Recipe):
        return text
    made = object.__new__(Recipe)
    made._compose(_arguments.recipe(text), {})
    return made


def recipes() -> dict[str, str]:
    """Names of all presets, the default first, each with a one-line description and its source."""
    return dict(_core.recipes())

"""register: attention and mask functions under names that transformers accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from .._recipe import Recipe, recipe as _recipe, recipes
from ._forward import Forward
from ._mask import octavo_mask

DEFAULT = "octavo"


def names() -> dict[str, str]:
    """Names that `register()` registers -> recipe.

    "octavo" is the default recipe, "octavo_<preset>" the others. transformers takes a name with "flash" in it for
    flash-attention, so these presets are spelled with "fa": "octavo_int_fa" is int_flash.
    """
    presets = recipes()
    return {DEFAULT: next(iter(presets))} | {f"octavo_{preset.replace('flash', 'fa')}": preset for preset in presets}


def register(
    name: str | None = None,
    *,
    recipe: str | Recipe = "int8",
    layers: Mapping[int, str | Recipe] | None = None,
    ignore: Iterable[str] = (),
) -> list[str]:
    """Registers attention implementations with transformers, with their mask function.

    Parameters
    ----------
    name : str, optional
        The implementation's name, for one of your own. Default: all of `names`, without the other parameters but
        `ignore`.
    recipe : str or Recipe
        The recipe of `name`.
    layers : mapping, optional
        Layer index -> recipe of that layer; negative indices count from the last layer.
    ignore : iterable of str
        Keywords of a model that have no effect on attention. Others that octavo does not know raise
        NotImplementedError.

    Returns
    -------
    list of str
        The names, for ``model.set_attn_implementation(name)`` or ``from_pretrained(..., attn_implementation=name)``.

    Raises
    ------
    ValueError
        An invalid name or recipe.

    Examples
    --------
    >>> octavo.transformers.register()
    >>> octavo.transformers.register("octavo_mixed", recipe="int4", layers={0: "exact", -1: "exact"})
    """
    ignored = frozenset(ignore)
    if name is None:
        if layers is not None or _recipe(recipe) != _recipe("int8"):
            raise ValueError("register: recipe and layers need a name of your own: register('octavo_mine', recipe=...)")
        wanted: dict[str, Any] = {key: Forward(key, preset, {}, ignored) for key, preset in names().items()}
    else:
        _check_name(name)
        by_layer = {int(index): str(_recipe(one)) for index, one in (layers or {}).items()}
        wanted = {name: Forward(name, str(_recipe(recipe)), by_layer, ignored)}
    for key, forward in wanted.items():
        AttentionInterface.register(key, forward)
        AttentionMaskInterface.register(key, octavo_mask)
    return list(wanted)


def _check_name(name: str) -> None:
    taken = AttentionInterface._global_mapping.get(name)
    if not isinstance(name, str) or not name or "flash" in name or set(name) & set("/|:@ "):
        raise ValueError(
            f"name: {name!r}; transformers takes names with 'flash' in them for flash-attention and 'owner/name' for a "
            "hub kernel; letters, digits, '-', '.' and '_' are allowed"
        )
    if name == "eager" or (taken is not None and not isinstance(taken, Forward)):
        raise ValueError(f"name: {name!r} is an implementation of transformers or of another library")

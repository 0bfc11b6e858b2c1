"""Threads, the choice of an implementation, and information about this machine."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from . import _arguments, _core

# Per thread or task, not per process: calls of other threads are unaffected.
forced: ContextVar[str] = ContextVar("octavo.implementation", default="")

_ENVIRONMENT = (
    "OCTAVO_FORCE_IMPLEMENTATION",
    "OCTAVO_NUM_THREADS",
    "OCTAVO_LOG",
    "OCTAVO_INTERLEAVE_SOFTMAX",
    "OCTAVO_CUDA_PING_PONG",
)


def set_num_threads(n: int) -> None:
    """Sets the number of threads of octavo's pool, including the caller, for all later calls of the process.

    Results do not depend on it, bit for bit.

    Parameters
    ----------
    n : int
        1 to 1024; 0 = all processors available to this process.

    Raises
    ------
    ValueError
        Out of range.
    TypeError
        Not an integer.
    """
    allowed = f"allowed are 0 (automatic) to {_core.max_threads}"
    try:
        number = operator.index(n)
    except TypeError:
        raise TypeError(f"n: {_arguments.shown(n)} is not an integer; {allowed}") from None
    if not 0 <= number <= _core.max_threads:
        raise ValueError(f"n: {_arguments.shown(n)}; {allowed}")
    _core.set_num_threads(number)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Context in which the pool has `n` threads (see `set_num_threads`), for the whole process.

    On exit the previous setting is restored: a number, 0 for automatic, or OCTAVO_NUM_THREADS.

    Examples
    --------
    >>> with octavo.threads(1):
    ...     o = octavo.attention(q, k, v)
    """
    before = _core.requested_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        _core.set_num_threads(before)


@contextlib.contextmanager
def implementation(name: str | None) -> Iterator[None]:
    """Context in which calls of this thread run on one implementation of `info()["implementations"]`.

    There is no fallback: a call that the implementation does not support raises NotImplementedError.

    Parameters
    ----------
    name : str or None
        Exact name, e.g. "avx512_vnni", "scalar" or "reference"; None or "" = the automatic choice.

    Raises
    ------
    ValueError
        An unknown name; the message lists the known ones.
    RuntimeError
        This machine cannot run it.
    """
    known = {known_name: (supported, reason) for known_name, _, supported, reason, _ in _core.implementations()}
    if name is None:
        name = ""
    if not isinstance(name, str) or name and name not in known:
        raise ValueError(f"implementation: {name!r} is unknown; this build has {', '.join(known)}")
    if name:
        supported, reason = known[name]
        if not supported:
            raise RuntimeError(f"implementation {name} cannot run on this machine: {reason}")
    token = forced.set(name)
    try:
        yield
    finally:
        forced.reset(token)


def info() -> dict[str, Any]:
    """Version, implementations, recipes and environment, as plain values (usable with ``json.dumps``).

    Returns
    -------
    dict
        ``version``; ``processor``: instruction-set features; ``implementations``: list of dicts (name, description,
        supported, reason, and device: "cpu" or "cuda", the tensors it accepts), in order of preference;
        ``active_implementation``: the default for calls of this thread, or None with ``active_implementation_error`` if
        the environment names one that cannot run; ``last_implementation``: the one of this thread's last call;
        ``num_threads``; ``recipes``: name -> summary; ``environment``: octavo's variables.
    """
    result: dict[str, Any] = {
        "version": _core.version(),
        "processor": _core.processor_features(),
        "implementations": [
            dict(zip(("name", "description", "supported", "reason", "device"), entry))
            for entry in _core.implementations()
        ],
        "active_implementation": forced.get() or None,
        "last_implementation": _core.last_implementation() or None,
        "num_threads": _core.num_threads(),
        "recipes": dict(_core.recipes()),
        "environment": {variable: os.environ.get(variable) for variable in _ENVIRONMENT},
    }
    if result["active_implementation"] is None:
        try:
            result["active_implementation"] = _core.active_implementation()
        except (ValueError, RuntimeError) as error:
            result["active_implementation_error"] = str(error)
    return result

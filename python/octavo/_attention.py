"""attention, workspace_size and merge_state: arguments to the core's call, results in the caller's array type."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

from . import _arguments, _containers, _core, _keywords, _numpy, _outputs, _runtime
from ._array_backend import Array
from ._core import DType
from ._kv_cache import KVCache
from ._quantized import Quantized
from ._recipe import Recipe



def attention(
    q: Any,
    k: Any,
    v: Any = None,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] | None = (-1, -1),
    softcap: float | None = 0.0,
    mask: Any = None,
    key_mask: Any = None,
    sinks: Any = None,
    layout: str = "NHD",
    alibi_slopes: Any = None,
    alibi: str = "causal",
    kv_lens: Any = None,
    cu_seqlens_q: Any = None,
    cu_seqlens_k: Any = None,
    return_lse: bool = False,
    out: Any = None,
    out_dtype: Any = None,
    stream: Any = None,
    workspace: Any = None,
    **unexpected: NoReturn,
) -> Any:
    """``softmax(scale * Q K^T + ...) V`` with the arithmetic of a recipe, in one online-softmax pass.

    Each score is, in this order: ``s = scale * q.k``, softcap, float mask, ALiBi; hidden keys are set to -inf.

    B batch, Hq / Hkv query and key-value heads (query head h reads KV head ``h // (Hq // Hkv)``), M queries, N keys,
    D head_dim, Dv head_dim of V (1 to 576). Arrays are NumPy arrays, torch tensors, or objects with DLPack or the
    buffer protocol, with any strides, all on the CPU or on one CUDA device. Inputs are never modified. On the CPU
    sinks, alibi_slopes, kv_lens and cu_seqlens may also be Python lists or tuples.

    Parameters
    ----------
    q : array or Quantized
        [B, M, Hq, D] (NHD) or [B, Hq, M, D] (HND); with cu_seqlens [total_q, Hq, D] or [Hq, total_q, D]. float32,
        float16 or bfloat16, the same for q, k and v.
    k, v : array or Quantized
        [B, N, Hkv, D] and [B, N, Hkv, Dv], or their HND and varlen forms. Or k is a `KVCache` and v is not given: the
        M queries are the last M tokens of each sequence, N is the sequence's own length, and the cache's format decides
        the arithmetic. It takes every keyword but recipe, kv_lens and cu_seqlens_k, and causal is not "top_left";
        `KVCache.attend` also takes some of its sequences, and tree masks.
    recipe : str or Recipe
        How Q, K, P and V are represented: a preset of `octavo.recipes`, a text of the recipe grammar, or a Recipe. With
        Quantized operands: the recipe they were made for.
    causal : bool or {"bottom_right", "top_left"}
        True = "bottom_right": query i sees key j iff ``j <= i + N - M``; "top_left": iff ``j <= i``.
    scale : float, optional
        Factor of q.k; default 1 / sqrt(D).
    window : (int, int) or None
        Keys visible to the left and right of the causal diagonal (without `causal`: the bottom-right diagonal); -1 =
        unlimited; None = (-1, -1). Combined with `causal` and `mask`.
    softcap : float or None
        c > 0: scores become ``c * tanh(s / c)``, before mask and ALiBi; 0 and None = off.
    mask : array, optional
        bool (True = may attend) or floats of any width (added to the scaled score, natural units; -inf hides, finfo.min
        is finite), rank 1 to 4, broadcast from the right to [B, Hq, M, N] (varlen: of the longest sequences).
    key_mask : array, optional
        [B, N], bool: False = the key does not exist (padding), whatever its row of k and v holds. Not together with
        cu_seqlens.
    sinks : array, optional
        [Hq], floats: one extra logit per head, included in the denominator and the LSE, without a value.
    layout : {"NHD", "HND"}
        Order of the axes of q, k, v and the output.
    alibi_slopes : array, optional
        [Hq] or [B, Hq], any float dtype: ``slope * (j - (i + N - M))`` is added to the score (top_left: ``j - i``).
    alibi : {"causal", "symmetric"}
        "symmetric": ``-slope * |j - (i + N - M)|`` instead, for encoders (top_left: ``|j - i|``). Needs `alibi_slopes`.
    kv_lens : array, optional
        [B], int32 or int64, 0 to N: number of keys of each sequence. Not together with cu_seqlens.
    cu_seqlens_q, cu_seqlens_k : array, optional
        [B + 1], int32 or int64: start of each varlen sequence, then the total; both or neither.
    return_lse : bool
        Also return the log-sum-exp of the scores.
    out : array, optional
        Array for the output: its exact shape and dtype, no overlap with an input.
    out_dtype : {"float32", "float16", "bfloat16"} or a dtype object, optional
        Dtype of the output; default: q's (float32 if q is Quantized).
    stream : optional
        CUDA stream of device tensors: an address, or torch's or CuPy's object. Default: torch's current stream; for
        other containers the legacy default stream, and the call synchronizes.
    workspace : array, optional
        Writable bytes (uint8 [n], n >= `workspace_size`), with which the core allocates no memory.

    Returns
    -------
    o : array
        [B, M, Hq, Dv] (or the corresponding layout), of q's array type, on q's device; `out` itself if given. Finite
        operands give finite results (float16 saturates).
    lse : array
        Only with `return_lse`: float32, natural logarithm, [B, Hq, M] (varlen: [Hq, total_q]). A row without visible
        keys has O = 0 and lse = -inf (with a sink: the sink).

    Raises
    ------
    ValueError
        Invalid shape, dtype or argument.
    TypeError
        Not an array; an unknown keyword (the message names octavo's keyword for those of other libraries).
    NotImplementedError
        A valid call that this build or the forced implementation does not support.
    RuntimeError
        Arrays on different devices; a tensor that requires grad while grad mode is on; a DLPack producer that raised.
    MemoryError
        No memory for scratch memory, or raised by a DLPack producer.

    Notes
    -----
    Algorithm: FlashAttention's forward pass with INT8 operands, INT-FlashAttention (arXiv 2409.16997, algorithm 1) and
    SageAttention2 (arXiv 2411.10958). `octavo.recipes` describes the presets; derivations: docs/the_algorithm.md.

    A NaN or infinity in an operand makes the rows that use it NaN; in v, or if tokens share a scale, possibly all rows
    of that sequence and KV head. Recipes that smooth Q with per-token scales (int8, int8_fast, int8_p16, int4) use
    16-bit Q for sequences of fewer than 16 queries, if q is not Quantized.

    Examples
    --------
    >>> o = octavo.attention(q, k, v, causal=True)
    >>> o, lse = octavo.attention(q, k, v, recipe="int8,smooth_q=off", return_lse=True)
    >>> o = octavo.attention(q, cache)
    """
    if unexpected:
        raise _keywords.unexpected("attention", next(iter(unexpected)), DEFAULTS)
    arguments = locals()
    if isinstance(k, KVCache):
        return _over_cache(arguments)
    if out is None and out_dtype is None and not return_lse and stream is None and workspace is None:
        without_arrays = mask is key_mask is alibi_slopes is sinks is kv_lens is cu_seqlens_q is cu_seqlens_k is None
        plain = _numpy.plain_call(q, k, v, _arguments.layout(layout)) if without_arrays else None
        if plain is not None:
            _set_options(plain[0], arguments)
            _core.attention(plain[0])
            return plain[1]
    call, output, log_sum, like, _alive = prepare(arguments)
    _core.attention(call)
    output.backend.sync(output.device, call.stream)
    result = out if out is not None else output.backend.finish(output, like)
    return result if log_sum is None else (result, output.backend.finish(log_sum, like))


def _over_cache(arguments: dict[str, Any]) -> Any:
    """`attention(q, cache, ...)`: the cache's own call, for keywords that it has."""
    if arguments["v"] is not None:
        kind = type(arguments["v"])
        raise TypeError(f"v: a {kind.__module__}.{kind.__qualname__}; over a KVCache, which holds v too, leave it out")
    for name, default in DEFAULTS.items():
        value = arguments[name]
        if name not in _OVER_CACHE and value is not default and not (isinstance(value, str) and value == default):
            why = "the cache's format decides the arithmetic" if name == "recipe" else "it does not apply to a KVCache"
            raise NotImplementedError(f"{name}: {_arguments.shown(value)}; {why}, leave it out")
    keywords = {name: arguments[name] for name in _OVER_CACHE}
    if _arguments.causal(keywords["causal"]) == _core.Causal.top_left:
        raise NotImplementedError("causal: 'top_left'; over a KVCache False, True and 'bottom_right' are allowed")
    keywords["causal"] = bool(keywords["causal"])
    return arguments["k"].attend(arguments["q"], **keywords)


_OVER_CACHE = (
    *("causal", "scale", "window", "softcap", "mask", "key_mask", "sinks", "alibi_slopes", "alibi", "cu_seqlens_q"),
    *("layout", "return_lse", "out", "out_dtype", "stream", "workspace"),
)
_SIGNATURE = inspect.signature(attention)
_SIGNATURE = _SIGNATURE.replace(parameters=[p for p in _SIGNATURE.parameters.values() if p.kind is not p.VAR_KEYWORD])
attention.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
DEFAULTS = {name: p.default for name, p in _SIGNATURE.parameters.items() if p.kind is p.KEYWORD_ONLY}
ARRAYS = ("mask", "key_mask", "alibi_slopes", "sinks", "kv_lens", "cu_seqlens_q", "cu_seqlens_k")
_LISTS = ("alibi_slopes", "sinks", "kv_lens", "cu_seqlens_q", "cu_seqlens_k")  # those that may be Python lists


def takes_attention_keywords(*excluded: str) -> Callable[[Callable[[dict[str, Any]], Any]], Callable[..., Any]]:
    """Makes `function(arguments)` a function of q, k, v and the keywords of `attention` without the excluded ones.

    `attention` is the only place that lists the keywords with their types and defaults.
    """
    parameters = [p for name, p in _SIGNATURE.parameters.items() if name not in excluded]
    parameters = [p.replace(default=p.empty) if p.name == "v" else p for p in parameters]
    names = {p.name for p in parameters}

    def decorate(function: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
        def wrapper(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in names:
                    raise _keywords.unexpected(function.__name__, name, names)
            return function(DEFAULTS | keywords | {"q": q, "k": k, "v": v})

        functools.update_wrapper(wrapper, function)
        wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=function.__annotations__["return"]
        )
        return wrapper

    return decorate


@takes_attention_keywords("workspace")
def workspace_size(arguments: dict[str, Any]) -> int:
    """Bytes of workspace with which `attention` on the same arguments allocates no memory.

    The size depends on the number of threads. Arguments and errors are those of `attention`.
    """
    call, output, *_alive = prepare(arguments)
    size = _core.workspace_size(call)
    return size + _containers.alignment(output.device) - 1 if size > 0 else 0


def prepare(arguments: dict[str, Any]) -> tuple[_core.Call, Array, Array | None, Any, Any]:
    """The core's call, output, lse, the container whose type results have, and objects to keep alive during the call.

    `arguments` are those of `attention`, by name. Options with default values keep the core's defaults.
    """
    layout = arguments["layout"]
    order = _arguments.layout(layout)
    q_view, q_array, q_shape, q_alive = _operand(arguments["q"], "q", layout)
    k_view, k_array, _, k_alive = _operand(arguments["k"], "k", layout)
    v_view, v_array, v_shape, v_alive = _operand(arguments["v"], "v", layout)

    backend, like = q_array.backend, q_array.container
    dtype = _outputs.output_dtype(arguments["out_dtype"], q_array.dtype)
    output = _outputs.output(arguments["out"], (*q_shape[:-1], v_shape[-1]), dtype, backend, like)
    log_sum = None
    if arguments["return_lse"]:
        log_sum = backend.empty(_outputs.lse_shape(q_shape, order), DType.f32, like)

    arrays = {"q": q_array, "k": k_array, "v": v_array, "out": output}
    for name in ARRAYS:
        if (x := arguments[name]) is not None:
            arrays[name] = _containers.read(_containers.listed(x, name) if name in _LISTS else x, name)
    device = _containers.check_places(arrays)
    scratch = None if arguments["workspace"] is None else _containers.scratch(arguments["workspace"])

    call = _core.Call(q_view, k_view, v_view, output.view, order)
    if log_sum is not None:
        call.lse = log_sum.view
    if len(arrays) > 4:
        for name in ARRAYS:
            if name in arrays:
                setattr(call, name, arrays[name].view)
    _set_options(call, arguments)
    if stream := _containers.stream_of(arguments["stream"], backend, device):
        call.stream = stream
    if scratch is not None:
        call.set_workspace(scratch[0])
    return call, output, log_sum, like, (q_alive, k_alive, v_alive, arrays, scratch)


def _set_options(call: _core.Call, arguments: dict[str, Any]) -> None:
    if (window := arguments["window"]) is not DEFAULTS["window"] and window is not None:
        call.window = _arguments.window(window)
    call.recipe = _arguments.recipe(arguments["recipe"])
    if (scale := arguments["scale"]) is not None:
        call.scale = _arguments.scale(scale)
    if (causal := arguments["causal"]) is not False:
        call.causal = _arguments.causal(causal)
    if (softcap := arguments["softcap"]) is not DEFAULTS["softcap"] and softcap is not None:
        call.softcap = _arguments.number(softcap, "softcap")
    if (alibi := arguments["alibi"]) is not DEFAULTS["alibi"]:
        call.alibi = _arguments.alibi(alibi)
    if implementation := _runtime.forced.get():
        call.implementation = implementation


def _operand(x: Any, name: str, layout: str) -> tuple[Any, Array, tuple[int, ...], Any]:
    """View, array, shape in the call's layout, and the object that keeps the view alive."""
    if isinstance(x, Quantized):
        view, codes, alive = x._read()
        shape = x.shape
        if x.layout != layout:
            shape = (*shape[:-3], shape[-2], shape[-3], shape[-1])
        return view, codes, shape, alive
    array = _containers.read(x, name)
    return array.view, array, array.shape, array


def merge_state(o_a: Any, lse_a: Any, o_b: Any, lse_b: Any, *, layout: str = "NHD") -> tuple[Any, Any]:
    """Merges two partial results over disjoint keys, as in split-KV, ring and tree attention.

    ``LSE = max + log1p(exp(min - max))``; ``O = O_a exp(LSE_a - LSE) + O_b exp(LSE_b - LSE)``. Commutative and
    associative; if both LSE are -inf, the result is O = 0, LSE = -inf.

    Parameters
    ----------
    o_a, o_b : array
        float32 [B, M, H, Dv] (NHD) or [B, H, M, Dv] (HND): outputs of `attention` with ``out_dtype="float32"``.
    lse_a, lse_b : array
        float32 [B, H, M].
    layout : {"NHD", "HND"}
        Order of the axes of `o_a`, `o_b` and the result.

    Returns
    -------
    (o, lse)
        Float32, with the inputs' shapes and `o_a`'s array type.

    Raises
    ------
    ValueError
        Invalid shape or dtype.
    TypeError
        Not an array.
    """
    order = _arguments.layout(layout)
    a, log_a = _containers.read(o_a, "o_a"), _containers.read(lse_a, "lse_a")
    b, log_b = _containers.read(o_b, "o_b"), _containers.read(lse_b, "lse_b")
    device = _containers.check_places({"o_a": a, "lse_a": log_a, "o_b": b, "lse_b": log_b})
    stream = a.backend.stream(device)
    out = a.backend.empty(a.shape, DType.f32, o_a)
    lse = a.backend.empty(log_a.shape, DType.f32, o_a)
    forced = _runtime.forced.get()
    _core.merge_state(a.view, log_a.view, b.view, log_b.view, out.view, lse.view, order, forced, stream)
    a.backend.sync(device, stream)
    return a.backend.finish(out, o_a), a.backend.finish(lse, o_a)

"""The calls: keywords in, views to the core, a result of the caller's own kind out."""

from __future__ import annotations

from typing import Any

from . import _arguments, _containers, _core, _runtime
from ._containers import Array
from ._core import DType
from ._quantized import Quantized
from ._recipe import Recipe

_FLOATS = (DType.f32, DType.f16, DType.bf16)
_ALIGNMENT = 64  # of the core's scratch memory
_DEVICE_ALIGNMENT = 256  # likewise on a CUDA device


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    mask: Any = None,
    sinks: Any = None,
    layout: str = "NHD",
    alibi_slopes: Any = None,
    kv_lens: Any = None,
    cu_seqlens_q: Any = None,
    cu_seqlens_k: Any = None,
    return_lse: bool = False,
    out: Any = None,
    out_dtype: Any = None,
    stream: Any = None,
    workspace: Any = None,
) -> Any:
    """``softmax(scale * Q K^T + ...) V`` with the arithmetic of a recipe, in one online-softmax pass.

    Per score, in this order: ``s = scale * q.k``, softcap, float mask, ALiBi, then what is hidden becomes -inf.

    B batch, Hq / Hkv query and key-value heads (query head h reads KV head ``h // (Hq // Hkv)``), M queries, N keys,
    D head_dim, Dv head_dim of V (1 to 576). Arrays are NumPy arrays, torch tensors, or anything with DLPack or the
    buffer protocol, with any strides, all on the CPU or on one CUDA device; inputs are never modified.

    Parameters
    ----------
    q : array or Quantized
        [B, M, Hq, D] (NHD) or [B, Hq, M, D] (HND); with cu_seqlens [total_q, Hq, D] or [Hq, total_q, D]. float32,
        float16 or bfloat16, the same for q, k and v.
    k, v : array or Quantized
        [B, N, Hkv, D] and [B, N, Hkv, Dv], or their HND and packed forms.
    recipe : str or Recipe
        How Q, K, P and V are represented: a preset of `octavo.recipes`, a text of the recipe grammar, or a Recipe. With
        Quantized operands: the recipe that they were made for.
    causal : bool or {"bottom_right", "top_left"}
        True = "bottom_right": query i sees key j iff ``j <= i + N - M``; "top_left": iff ``j <= i``.
    scale : float, optional
        Factor of q.k; default 1 / sqrt(D).
    window : (int, int)
        Keys visible to the left and to the right of the causal diagonal, without `causal` of the bottom-right one; -1 =
        unlimited. Intersects with `causal` and `mask`.
    softcap : float
        c > 0: scores become ``c * tanh(s / c)``, before mask and ALiBi; 0 = off.
    mask : array, optional
        bool (True = may attend) or floats of any width (added to the scaled score, natural units; -inf hides, finfo.min
        is a number), rank 1 to 4, broadcast from the right to [B, Hq, M, N] (packed: of the longest sequences).
    sinks : array, optional
        [Hq], floats: one extra logit per head that takes part in the denominator and the LSE and has no value.
    layout : {"NHD", "HND"}
        Order of the axes of q, k, v and the output.
    alibi_slopes : array, optional
        [Hq] or [B, Hq], any float dtype: ``slope * (j - (i + N - M))`` is added to the score (top_left: ``j - i``).
    kv_lens : array, optional
        [B], int32 or int64, 0 to N: keys of each sequence beyond it do not exist. Not together with cu_seqlens.
    cu_seqlens_q, cu_seqlens_k : array, optional
        [B + 1], int32 or int64: where the packed sequences begin, last the total; both or neither.
    return_lse : bool
        Also return the log-sum-exp of the scores.
    out : array, optional
        Where the output goes: exactly its shape and dtype, no overlap with an input.
    out_dtype : {"float32", "float16", "bfloat16"} or a dtype object, optional
        Of the output; default q's (float32 where q is Quantized).
    stream : optional
        CUDA stream of device tensors: an address, or torch's or CuPy's object. Default: torch's current stream; for
        other containers the legacy default stream, and the call waits for its result.
    workspace : array, optional
        Writable bytes (uint8 [n], n at least `workspace_size`); with one given, the core allocates nothing.

    Returns
    -------
    o : array
        [B, M, Hq, Dv] (or the form of q's layout), of q's kind and on q's device; `out` itself where given. Finite
        operands give finite numbers (float16 saturates).
    lse : array
        Only with `return_lse`: float32, natural logarithm, [B, Hq, M] (packed: [Hq, total_q]). A row that sees no key
        has O = 0 and lse = -inf (with a sink: the sink).

    Raises
    ------
    ValueError
        Shape, dtype or argument.
    TypeError
        Something that is not an array; an unknown keyword.
    NotImplementedError
        A legal call that this build or the forced implementation cannot serve.
    RuntimeError
        Another device; a tensor that requires grad while grad mode is on; a DLPack producer that raised (the cause).
    MemoryError
        Scratch memory; a DLPack producer's own.

    Notes
    -----
    Algorithm: FlashAttention's forward pass with INT8 operands, INT-FlashAttention (arXiv 2409.16997, algorithm 1) and
    SageAttention2 (arXiv 2411.10958); `octavo.recipes` says which preset is which, docs/the_algorithm.md derives all.

    A NaN or infinity in an operand makes the rows NaN that use it; in v, or where tokens share a scale, possibly all
    rows of that sequence and KV head. Recipes that smooth Q under per-token scales (int8, int8_p16, int4) take Q in 16
    bits where a sequence has fewer than 16 queries, if q is an array and not Quantized.

    Examples
    --------
    >>> o = octavo.attention(q, k, v, causal=True)
    >>> o, lse = octavo.attention(q, k, v, recipe="int8,smooth_q=off", return_lse=True)
    """
    call, output, log_sum, like, _alive = _prepare(
        q, k, v, recipe, causal, scale, window, softcap, mask, sinks, layout, alibi_slopes, kv_lens, cu_seqlens_q,
        cu_seqlens_k, return_lse, out, out_dtype, stream, workspace
    )  # fmt: skip
    _core.attention(call)
    output.family.settle(output.device, call.stream)
    result = out if out is not None else output.family.finish(output, like)
    return result if log_sum is None else (result, output.family.finish(log_sum, like))


def workspace_size(
    q: Any,
    k: Any,
    v: Any,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    mask: Any = None,
    sinks: Any = None,
    layout: str = "NHD",
    alibi_slopes: Any = None,
    kv_lens: Any = None,
    cu_seqlens_q: Any = None,
    cu_seqlens_k: Any = None,
    return_lse: bool = False,
    out: Any = None,
    out_dtype: Any = None,
    stream: Any = None,
) -> int:
    """Bytes of scratch memory with which `attention` on these very arguments allocates nothing.

    It depends on the number of threads; arguments and errors are those of `attention`.
    """
    call, *_alive = _prepare(
        q, k, v, recipe, causal, scale, window, softcap, mask, sinks, layout, alibi_slopes, kv_lens, cu_seqlens_q,
        cu_seqlens_k, return_lse, out, out_dtype, stream, None
    )  # fmt: skip
    size = _core.workspace_size(call)
    return size + _alignment(_alive[0].device) - 1 if size > 0 else 0


def _prepare(
    q: Any, k: Any, v: Any, recipe: Any, causal: Any, scale: Any, window: Any, softcap: Any, mask: Any, sinks: Any,
    layout: Any, alibi_slopes: Any, kv_lens: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, return_lse: Any, out: Any,
    out_dtype: Any, stream: Any, workspace: Any
) -> tuple[_core.Call, Array, Array | None, Any, Any]:  # fmt: skip
    """The core's call, output, lse, the container that they shall be like, and what must live until it has run."""
    order = _arguments.layout(layout)
    q_view, q_array, q_shape, q_alive = _operand(q, "q", layout)
    k_view, k_array, _, k_alive = _operand(k, "k", layout)
    v_view, v_array, v_shape, v_alive = _operand(v, "v", layout)

    dtype = _containers.float_dtype(out_dtype, "out_dtype") if out_dtype is not None else _out_dtype(q, q_array)
    shape = (*q_shape[:-1], v_shape[-1])
    family, like = q_array.family, q_array.container
    if out is None:
        output = family.empty(shape, dtype, like)
    else:
        output = _containers.write(out, "out")
        if output.dtype != dtype:
            raise ValueError(f"out: dtype {output.dtype.name}; the output's is {dtype.name}")
    log_sum = family.empty(_lse_shape(q_shape, order), DType.f32, like) if return_lse else None

    optional = [
        None if x is None else _containers.read(x, name)
        for x, name in (
            (mask, "mask"), (alibi_slopes, "alibi_slopes"), (sinks, "sinks"), (kv_lens, "kv_lens"),
            (cu_seqlens_q, "cu_seqlens_q"), (cu_seqlens_k, "cu_seqlens_k"),
        )
    ]  # fmt: skip
    views: list[Any] = [None if array is None else array.view for array in optional]
    names = ("mask", "alibi_slopes", "sinks", "kv_lens", "cu_seqlens_q", "cu_seqlens_k")
    device = _containers.check_places(
        [("q", q_array), ("k", k_array), ("v", v_array), ("out", output), *zip(names, optional)]
    )
    scratch = (None, None) if workspace is None else _scratch(workspace)
    left, right = _arguments.window(window)
    call = _core.Call(
        q_view,
        k_view,
        v_view,
        output.view,
        None if log_sum is None else log_sum.view,
        views[0],
        views[1],
        views[2],
        views[3],
        views[4],
        views[5],
        order,
        _arguments.recipe(recipe),
        _arguments.scale(scale),
        _arguments.causal(causal),
        left,
        right,
        _arguments.number(softcap, "softcap"),
        _runtime.forced.get(),
        _stream(stream, family, device),
        scratch[0],
    )
    return call, output, log_sum, like, (q_alive, k_alive, v_alive, optional, scratch)


def _operand(x: Any, name: str, layout: str) -> tuple[Any, Array, tuple[int, ...], Any]:
    """View, the array that a result is like, the floats' shape in the call's layout, what keeps the view alive."""
    if isinstance(x, Quantized):
        view, codes, alive = x._read()
        shape = x.shape
        if x.layout != layout:
            shape = (*shape[:-3], shape[-2], shape[-3], shape[-1])
        return view, codes, shape, alive
    array = _containers.read(x, name)
    return array.view, array, array.shape, array


def _out_dtype(q: Any, array: Array) -> DType:
    # A dtype that no call takes is refused by the core, in words and before anything is written.
    if isinstance(q, Quantized) or array.dtype not in _FLOATS:
        return DType.f32
    return array.dtype


def _lse_shape(q_shape: tuple[int, ...], order: _core.Layout) -> tuple[int, ...]:
    rows, heads = (-3, -2) if order == _core.Layout.NHD else (-2, -3)
    if len(q_shape) < 3:
        return (1,)  # refused by the core for q's rank
    return (*q_shape[:-3], q_shape[heads], q_shape[rows])


def _alignment(device: int) -> int:
    return _ALIGNMENT if device < 0 else _DEVICE_ALIGNMENT


def _stream(given: Any, family: _containers.Family, device: int) -> int:
    """The stream of a call: the caller's, else the one that his containers work on."""
    if given is None:
        return family.stream(device)
    if device >= 0 and family is _containers.DLPACK:
        _core.synchronize(device)  # the producers were told of the legacy default stream
    return _arguments.stream(given)


def _scratch(workspace: Any) -> tuple[_core.TensorView, Any]:
    """The aligned part of the caller's bytes: containers start where they like, `workspace_size` has room for that."""
    array = _containers.write(workspace, "workspace")
    if array.dtype != DType.u8 or len(array.shape) != 1 or (array.shape[0] > 1 and array.view.strides != (1,)):
        raise ValueError(f"workspace: {array.dtype.name} {list(array.shape)}; a dense uint8 [n] is allowed")
    skipped = -array.view.data % _alignment(array.device)
    size = max(array.shape[0] - skipped, 0)
    return _core.TensorView(array.view.data + skipped, DType.u8, (size,), (1,), array.device), array


def merge_state(o_a: Any, lse_a: Any, o_b: Any, lse_b: Any, *, layout: str = "NHD") -> tuple[Any, Any]:
    """Joins two partial results over disjoint keys: the algebra under split keys, ring and tree attention.

    ``LSE = max + log1p(exp(min - max))``; ``O = O_a exp(LSE_a - LSE) + O_b exp(LSE_b - LSE)``. Commutative and
    associative; where both LSE are -inf the result is O = 0, LSE = -inf.

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
        Of the inputs' shapes, float32, of `o_a`'s kind.

    Raises
    ------
    ValueError
        Shape or dtype.
    TypeError
        Something that is not an array.
    """
    order = _arguments.layout(layout)
    a, log_a = _containers.read(o_a, "o_a"), _containers.read(lse_a, "lse_a")
    b, log_b = _containers.read(o_b, "o_b"), _containers.read(lse_b, "lse_b")
    device = _containers.check_places([("o_a", a), ("lse_a", log_a), ("o_b", b), ("lse_b", log_b)])
    stream = a.family.stream(device)
    out = a.family.empty(a.shape, DType.f32, o_a)
    lse = a.family.empty(log_a.shape, DType.f32, o_a)
    _core.merge_state(a.view, log_a.view, b.view, log_b.view, out.view, lse.view, order, stream)
    a.family.settle(device, stream)
    return a.family.finish(out, o_a), a.family.finish(lse, o_a)

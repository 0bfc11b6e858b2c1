"""octavo for JAX: `attention` under `jax.jit`, by a callback to the host.

>>> import octavo.jax
>>> o = jax.jit(lambda q, k, v: octavo.jax.attention(q, k, v, causal=True))(q, k, v)

Outside of jit, `octavo.attention` accepts JAX arrays by DLPack, without a callback.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _arguments, _attention, _outputs

__all__ = ["attention"]

_ARRAYS = _attention.ARRAYS
_FLOATS = ("float32", "float16", "bfloat16")


@_attention.takes_attention_keywords("out", "stream", "workspace")
def attention(arguments: dict[str, Any]) -> Any:
    """`octavo.attention` for JAX arrays, usable in `jax.jit`, `jax.vmap` and `jax.lax.scan`.

    Arguments, results and errors are those of `octavo.attention`. The computation runs on the host, by
    `jax.pure_callback`. There is no derivative: `jax.grad` raises NotImplementedError.
    """
    q, k, v = (jnp.asarray(arguments[name]) for name in "qkv")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dtype.name not in _FLOATS or x.dtype != q.dtype:
            raise ValueError(f"{name}: dtype {x.dtype}; q, k and v have one of {', '.join(_FLOATS)}, the same for all")
        if x.ndim not in (3, 4):
            raise ValueError(f"{name}: rank {x.ndim}; q, k and v have rank 4, or 3 with cu_seqlens")
    order = _arguments.layout(arguments["layout"])
    dtype = q.dtype if arguments["out_dtype"] is None else jnp.dtype(arguments["out_dtype"])
    results = [jax.ShapeDtypeStruct((*q.shape[:-1], v.shape[-1]), dtype)]
    if arguments["return_lse"]:
        results.append(jax.ShapeDtypeStruct(_outputs.lse_shape(q.shape, order), jnp.float32))
    arrays = {name: jnp.asarray(arguments[name]) for name in _ARRAYS if arguments[name] is not None}
    options = {
        name: one
        for name, one in arguments.items()
        if name not in ("q", "k", "v", "out", "stream", "workspace", *_ARRAYS)
    }
    options["out_dtype"] = dtype

    def on_host(q: Any, k: Any, v: Any, arrays: dict[str, Any]) -> Any:
        keywords: dict[str, Any] = {**options, **{name: np.asarray(x) for name, x in arrays.items()}}
        made = _attention.attention(np.asarray(q), np.asarray(k), np.asarray(v), **keywords)
        return made if isinstance(made, tuple) else (made,)

    @jax.custom_jvp
    def call(q: Any, k: Any, v: Any, arrays: dict[str, Any]) -> Any:
        return jax.pure_callback(on_host, tuple(results), q, k, v, arrays, vmap_method="sequential")

    @call.defjvp
    def no_derivative(primals: Any, tangents: Any) -> Any:
        raise NotImplementedError("octavo has no backward pass: its attention is for inference")

    made = call(q, k, v, arrays)
    return made if arguments["return_lse"] else made[0]

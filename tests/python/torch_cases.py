"""Random attention problems for torch tensors, each from its seed alone, and the float64 SDPA result."""

import dataclasses
import math
import random

DIMS = (1, 3, 8, 17, 31, 33, 40, 64, 65, 80, 96, 127, 128)
ROWS = (0, 1, 2, 7, 16, 31, 32, 33, 65, 129)
KEYS = (0, 1, 3, 15, 17, 63, 64, 65, 100, 127, 128, 129, 200)
VIEWS = ("dense", "other_layout", "padded_rows", "every_second_channel", "offset", "expanded_batch", "expanded_heads",
         "expanded_rows")  # fmt: skip
MASKS = ("none", "bool", "float32", "float16", "bfloat16", "float64")
SCALES = (None, 0.3, 1.0, 0.0, -0.2)


@dataclasses.dataclass(frozen=True)
class Case:
    seed: int
    dtype: str
    layout: str
    batch: int
    heads: int
    kv_heads: int
    rows: int
    keys: int
    dim: int
    value_dim: int
    views: tuple
    causal: object
    window: tuple
    mask: str
    mask_shape: tuple
    scale: object
    softcap: float
    sinks: bool
    alibi: str  # "none", "heads", "batch"
    lens: str  # "none", "kv_lens", "packed"
    threads: int


def draw(seed):
    """Half of the options are off in each case, so that each option also occurs alone."""
    r = random.Random(seed)
    kv_heads, lens = r.choice((1, 2, 3)), r.choice(("none", "none", "kv_lens", "packed"))
    heads, batch = kv_heads * r.choice((1, 1, 2, 3)), r.choice((1, 1, 2, 3)) if r.random() < 0.95 else 0
    rows, keys, dim = r.choice(ROWS), r.choice(KEYS), r.choice(DIMS)
    mask = r.choice(MASKS) if r.random() < 0.5 else "none"
    full = (batch, heads, rows, keys)
    shape = full[4 - r.randint(1, 4) :]
    shape = tuple(1 if r.random() < 0.3 else extent for extent in shape)
    if lens == "packed" and mask != "none":  # one mask for all sequences: [longest q, longest k] of equal lengths
        mask = "none"
    return Case(
        seed=seed,
        dtype=r.choice(("float32", "float32", "float16", "bfloat16")),
        layout=r.choice(("NHD", "HND")),
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        rows=rows,
        keys=keys,
        dim=dim,
        value_dim=r.choice((dim, r.choice(DIMS))),
        views=tuple(r.choice(VIEWS) for _ in range(3)),
        causal=r.choice((False, True, "top_left")),
        window=r.choice(((-1, -1), (-1, -1), (r.randint(0, 40), -1), (-1, r.randint(0, 40)), (r.randint(0, 9), 0))),
        mask=mask,
        mask_shape=shape if mask != "none" else (),
        scale=r.choice(SCALES) if r.random() < 0.5 else None,
        softcap=r.choice((0.7, 5.0, 30.0)) if r.random() < 0.2 else 0.0,
        sinks=r.random() < 0.2,
        alibi=r.choice(("heads", "batch")) if r.random() < 0.2 else "none",
        lens=lens,
        threads=r.choice((1, 2, 3)),
    )


def tensor(torch, generator, shape, view, dtype):
    """HND [B, H, N, D] random numbers behind a view that is not dense."""
    batch, heads, rows, dim = shape

    def normal(*extents):
        return torch.randn(extents, generator=generator, dtype=torch.float64).to(dtype)

    if view == "other_layout":
        return normal(batch, rows, heads, dim).transpose(1, 2)
    if view == "padded_rows":
        return normal(batch, heads, rows + 1, dim + 3)[:, :, 1:, 2:-1]
    if view == "every_second_channel":
        return normal(batch, heads, rows, 2 * dim)[..., ::2]
    if view == "offset":
        count = math.prod(shape)
        return normal(count + 5)[3 : 3 + count].view(shape)
    if view == "expanded_batch":
        return normal(1, heads, rows, dim).expand(shape)
    if view == "expanded_heads":
        return normal(batch, 1, rows, dim).expand(shape)
    if view == "expanded_rows":
        return normal(batch, heads, 1, dim).expand(shape)
    return normal(*shape)


def operands(torch, case):
    """q, k, v as HND [B, H, rows, D]; options as keywords of octavo.attention, masks and numbers still torch's."""
    g = torch.Generator().manual_seed(case.seed)
    dtype = getattr(torch, case.dtype)
    shapes = ((case.batch, case.heads, case.rows, case.dim), (case.batch, case.kv_heads, case.keys, case.dim),
              (case.batch, case.kv_heads, case.keys, case.value_dim))  # fmt: skip
    q, k, v = (tensor(torch, g, shape, view, dtype) for shape, view in zip(shapes, case.views))
    options = {"causal": case.causal, "window": case.window, "scale": case.scale, "softcap": case.softcap}
    if case.mask == "bool":
        options["mask"] = torch.rand(case.mask_shape, generator=g) < 0.7
    elif case.mask != "none":
        mask = torch.randn(case.mask_shape, generator=g).to(getattr(torch, case.mask))
        options["mask"] = mask.masked_fill(torch.rand(case.mask_shape, generator=g) < 0.2, -math.inf)
    if case.sinks:
        options["sinks"] = torch.randn(case.heads, generator=g)
    if case.alibi != "none":
        shape = (case.heads,) if case.alibi == "heads" else (case.batch, case.heads)
        options["alibi_slopes"] = 0.1 * torch.rand(shape, generator=g)
    return (q, k, v), options


def bias_of(torch, case, rows, keys, options, b):
    """What is added to the scores of sequence b: float64 [Hq, rows, keys], -inf for hidden keys."""
    bias = torch.zeros(case.heads, rows, keys, dtype=torch.float64)
    mask = options.get("mask")
    if mask is not None:
        mask = mask.broadcast_to(case.batch, case.heads, case.rows, case.keys)[b, :, :, :keys]
        bias = torch.where(mask, bias, -math.inf) if mask.dtype == torch.bool else bias + mask
    centre = 0 if options["causal"] == "top_left" else keys - rows
    slopes = options.get("alibi_slopes")
    if slopes is not None:
        distance = torch.arange(keys) - (torch.arange(rows)[:, None] + centre)
        bias = bias + slopes.double().broadcast_to(case.batch, case.heads)[b, :, None, None] * distance
    visible = torch.ones(rows, keys, dtype=torch.bool)
    if options["causal"]:
        visible = visible.tril(centre)
    left, right = options["window"]
    if left >= 0:
        visible = visible.triu(centre - left)
    if right >= 0:
        visible = visible.tril(centre + right)
    return torch.where(visible, bias, -math.inf)


def expected(torch, case, q, k, v, options, b):
    """O [Hq, rows, Dv], LSE [Hq, rows] and spread of one sequence, float64: q [Hq, rows, D], k, v [Hkv, keys, D].

    spread [Hq, rows, Dv] = sqrt(sum_j P_j^2 V_j^2) is what independent relative errors of the weights add up to; O can
    cancel to much less where it has few elements.

    SDPA computes O wherever it can: a sink is to it one more key of zeros whose score is the sink. Softcap is
    written out.
    """
    q, k, v = q.double(), k.double(), v.double()
    rows, keys = q.shape[1], k.shape[1]
    scale = case.dim**-0.5 if options["scale"] is None else options["scale"]
    bias = bias_of(torch, case, rows, keys, options, b)
    group = case.heads // case.kv_heads
    scores = scale * q @ k.repeat_interleave(group, 0).transpose(1, 2)
    if case.softcap:
        scores = case.softcap * torch.tanh(scores / case.softcap)
    scores = scores + bias
    if case.sinks:
        sink = options["sinks"].double()[:, None, None].expand(case.heads, rows, 1)
        scores, bias = torch.cat([scores, sink], 2), torch.cat([bias, sink], 2)
        k, v = (torch.cat([x, torch.zeros_like(x[:, :1]) if keys else x.new_zeros(case.kv_heads, 1, x.shape[2])], 1)
                for x in (k, v))  # fmt: skip
    lse = torch.logsumexp(scores, 2) if scores.shape[2] else torch.full(scores.shape[:2], -math.inf).double()
    weights = torch.exp(scores - torch.where(lse > -math.inf, lse, 0)[..., None])
    spread = torch.sqrt(weights**2 @ v.repeat_interleave(group, 0) ** 2)
    if case.softcap or rows == 0 or scores.shape[2] == 0:
        return weights @ v.repeat_interleave(group, 0), lse, spread
    plain = not (options.get("mask") is not None or case.alibi != "none" or case.sinks or case.window != (-1, -1))
    attend = torch.nn.functional.scaled_dot_product_attention
    # torch's causal flag writes -inf before it multiplies by the scale: NaN where that is not positive.
    if plain and options["causal"] in (False, "top_left") and scale > 0:
        o = attend(q[None], k[None], v[None], is_causal=bool(options["causal"]), scale=scale, enable_gqa=group > 1)
    else:
        o = attend(q[None], k[None], v[None], attn_mask=bias[None], scale=scale, enable_gqa=group > 1)
    dark = lse == -math.inf
    return torch.where(dark[..., None], 0.0, o[0]), lse, spread

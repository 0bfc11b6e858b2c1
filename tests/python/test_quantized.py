"""octavo.quantize and octavo.Quantized: shapes, error bounds, and quantized operands instead of floats."""

import ml_dtypes
import numpy as np
import pytest
from oracle import relative_error, softmax_attention

import octavo

ROLES = {"q": 0, "k": 1, "v": 2}


def quantize_all(qkv, recipe, layout="NHD"):
    return tuple(octavo.quantize(x, role=role, recipe=recipe, layout=layout) for x, role in zip(qkv, "qkv"))


@pytest.mark.parametrize("role", "qkv")
@pytest.mark.parametrize("recipe", ["int8_fast", "int_flash"])
def test_shapes(qkv, recipe, role):
    x = qkv[ROLES[role]]
    batch, rows, heads, dim = x.shape
    made = octavo.quantize(x, role=role, recipe=recipe)
    assert made.codes.shape == x.shape and made.codes.dtype == np.int8 and np.abs(made.codes.astype(int)).max() == 127
    per_token = recipe == "int8_fast" or role != "v"
    assert made.scales.shape == ((batch, heads, rows) if per_token else (batch, heads))
    assert made.scales.dtype == np.float32 and np.all(made.scales > 0)
    mean_shape = {"q": (batch, heads, 1, dim), "k": (batch, heads, dim), "v": None}[role]
    if recipe == "int8_fast" and mean_shape:
        assert made.mean.shape == mean_shape and made.mean.dtype == np.float32
    else:
        assert made.mean is None
    assert made.rotated == (recipe == "int8_fast")
    assert (made.role, made.layout, str(made.recipe), made.shape) == (role, "NHD", recipe, x.shape)


@pytest.mark.parametrize("role", "qk")
def test_codes_are_the_papers(qkv, role):
    """INT-FlashAttention section 3: scale = amax of the token / 127, codes rounded to nearest even."""
    x = qkv[ROLES[role]]
    made = octavo.quantize(x, role=role, recipe="int_flash")
    amax = np.abs(x).max(axis=-1)
    np.testing.assert_array_equal(made.scales, np.swapaxes(amax / np.float32(127), 1, 2))
    np.testing.assert_array_equal(made.codes, np.rint(x * (np.float32(127) / amax)[..., None]))


@pytest.mark.parametrize("role", "qkv")
def test_dequantize_is_within_half_a_step(qkv, role):
    x = qkv[ROLES[role]]
    made = octavo.quantize(x, role=role, recipe="int_flash")
    back = made.dequantize()
    assert back.dtype == np.float32 and back.shape == x.shape
    step = np.swapaxes(made.scales, 1, 2)[..., None] if role != "v" else made.scales[:, None, :, None]
    assert np.all(np.abs(back - x) <= 0.5001 * step)
    assert np.any(back != x)


@pytest.mark.parametrize("role", "qkv")
def test_dequantize_undoes_rotation_and_smoothing(qkv, role):
    x = qkv[ROLES[role]] + np.float32(3)
    made = octavo.quantize(x, role=role, recipe="int8_fast")
    # Half a step in every rotated channel is at most half a step times sqrt(D) in one, in the 2-norm.
    back = made.dequantize()
    error = np.linalg.norm(back - x, axis=-1)
    assert np.all(error <= 0.5001 * np.swapaxes(made.scales, 1, 2) * np.sqrt(x.shape[-1]) + 1e-5)
    assert relative_error(back, x) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dequantize_dtype(qkv, dtype):
    made = octavo.quantize(qkv[0], role="q", recipe="int8_fast")
    assert made.dequantize(dtype).dtype == np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    assert relative_error(made.dequantize(dtype), made.dequantize()) < 8e-3


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("recipe", ["int8_fast", "int_flash", "int8_block", "int4", "sage2_8b", "fp8_e5m2"])
def test_quantized_operands_give_the_bits_of_floats(rng, recipe, layout):
    shape = (1, 20, 2, 32) if layout == "NHD" else (1, 2, 20, 32)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    operands = quantize_all((q, k, v), recipe, layout)
    with octavo.implementation("reference"):
        # smooth_q with codes only takes the correction from dequantized keys, another (documented) arithmetic.
        exact = "smooth_q=off" if recipe in ("int8_fast", "int4") else ""
        text = f"{recipe},{exact}" if exact else recipe
        operands = quantize_all((q, k, v), text, layout)
        floats = octavo.attention(q, k, v, recipe=text, layout=layout)
        codes = octavo.attention(*operands, recipe=text, layout=layout)
        mixed = octavo.attention(q, *operands[1:], recipe=text, layout=layout)
    assert codes.dtype == np.float32 and codes.shape == shape
    np.testing.assert_allclose(codes, floats, atol=2e-6)
    np.testing.assert_allclose(mixed, floats, atol=2e-6)


def test_default_recipe_from_codes(rng):
    q, k, v = (rng.standard_normal((1, 40, 2, 64)).astype(np.float32) for _ in range(3))
    o, lse = octavo.attention(*quantize_all((q, k, v), "int8_fast"), causal=True, return_lse=True)
    expected, expected_lse = softmax_attention(q, k, v, causal=True)
    assert relative_error(o, expected) < 0.03
    np.testing.assert_allclose(lse, expected_lse, atol=0.1)


def test_layouts_may_differ(rng):
    q, k, v = (rng.standard_normal((2, 6, 3, 16)).astype(np.float32) for _ in range(3))
    hnd = tuple(octavo.quantize(x.swapaxes(1, 2), role=role, layout="HND") for x, role in zip((q, k, v), "qkv"))
    nhd = quantize_all((q, k, v), "int8_fast")
    assert np.array_equal(octavo.attention(*hnd), octavo.attention(*nhd))
    assert np.array_equal(octavo.attention(*hnd, layout="HND").swapaxes(1, 2), octavo.attention(*nhd))


def test_packed_codes(rng):
    x = rng.standard_normal((1, 6, 2, 10)).astype(np.float32)
    made = octavo.quantize(x, role="q", recipe="int_flash_int4")
    assert made.codes.shape == (1, 6, 2, 5) and made.codes.dtype == np.uint8
    low, high = (made.codes & 15).astype(np.int8), (made.codes >> 4).astype(np.int8)
    codes = np.stack([low, high], axis=-1).reshape(x.shape)
    codes = np.where(codes > 7, codes - 16, codes)
    amax = np.abs(x).max(axis=-1)
    np.testing.assert_array_equal(codes, np.rint(x * (np.float32(7) / amax)[..., None]))
    assert np.abs(made.dequantize() - x).max() <= 0.5001 * made.scales.max()


def test_packed_codes_of_an_odd_head_dim(rng):
    x = rng.standard_normal((1, 6, 2, 7)).astype(np.float32)
    made = octavo.quantize(x, role="k", recipe="int_flash_int4")
    assert made.codes.shape == (1, 6, 2, 4) and made.shape == x.shape and made.head_dim == 7
    assert np.abs(made.dequantize() - x).max() <= 0.5001 * made.scales.max()
    again = octavo.Quantized(made.codes, made.scales, role="k", recipe="int_flash_int4", head_dim=7)
    assert np.array_equal(again.dequantize(), made.dequantize())
    with pytest.raises(ValueError, match="head_dim"):
        octavo.Quantized(made.codes, made.scales, role="k", recipe="int_flash_int4", head_dim=9)


def test_fp8_codes(rng):
    v = rng.standard_normal((1, 70, 2, 8)).astype(np.float32)
    made = octavo.quantize(v, role="v", recipe="sage2_8b")
    assert made.codes.dtype == ml_dtypes.float8_e4m3fn and made.scales.shape == (1, 2, 8)
    expected = made.codes.astype(np.float32) * made.scales[:, None]
    np.testing.assert_array_equal(made.dequantize(), expected)
    raw = octavo.Quantized(made.codes.view(np.uint8), made.scales, role="v", recipe="sage2_8b")
    np.testing.assert_array_equal(raw.dequantize(), expected)
    unscaled = octavo.quantize(v, role="v", recipe="fp8_e5m2")
    assert unscaled.scales is None and unscaled.codes.dtype == ml_dtypes.float8_e5m2
    np.testing.assert_array_equal(unscaled.dequantize(), v.astype(ml_dtypes.float8_e5m2).astype(np.float32))


@pytest.mark.parametrize("recipe", ["int8_fast", "int4", "sage2_8b"])
def test_round_trip_through_a_dict(qkv, recipe):
    made = octavo.quantize(qkv[1], role="k", recipe=recipe, layout="NHD")
    fields = made.to_dict()
    assert fields["recipe"] == recipe and fields["role"] == "k" and fields["layout"] == "NHD"
    again = octavo.Quantized.from_dict(fields)
    assert np.array_equal(again.dequantize(), made.dequantize())
    assert again.recipe == made.recipe and again.rotated == made.rotated and again.shape == made.shape
    mean = 0 if made.mean is None else made.mean.nbytes
    assert again.nbytes == made.nbytes == made.codes.nbytes + made.scales.nbytes + mean


@pytest.mark.parametrize("key", "codes scales mean role recipe layout rotated head_dim cu_seqlens".split())
def test_a_dict_without_a_key_is_not_completed(qkv, key):
    """No key has a default: int4 codes in HND without their recipe or layout would be a different tensor."""
    made = octavo.quantize(qkv[1], role="k", recipe="int4", layout="HND")
    fields = made.to_dict()
    assert sorted(fields) == sorted(octavo.Quantized.from_dict(fields).to_dict())
    if key in ("role", "recipe", "layout", "rotated", "head_dim"):
        with pytest.raises(ValueError, match=f"from_dict: {key} missing"):
            octavo.Quantized.from_dict({**fields, key: None})
    del fields[key]
    with pytest.raises(ValueError, match=f"from_dict: {key} missing; required are codes, scales.*cu_seqlens"):
        octavo.Quantized.from_dict(fields)


def test_what_is_no_dict_of_a_tensor(qkv):
    fields = octavo.quantize(qkv[1], role="k").to_dict()
    for key in ("colour", 3):
        with pytest.raises(ValueError, match=f"from_dict: {key!r} unknown; allowed are codes, scales"):
            octavo.Quantized.from_dict({**fields, key: 1})
    for value in (3, None, "codes", [1], list(fields.items())):
        with pytest.raises(TypeError, match=f"from_dict: a {type(value).__name__} is not a mapping"):
            octavo.Quantized.from_dict(value)


def test_codes_of_any_strides(qkv):
    made = octavo.quantize(qkv[1], role="k", recipe="int_flash")
    codes = np.ascontiguousarray(made.codes.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    scales = np.asfortranarray(made.scales)
    again = octavo.Quantized(codes, scales, role="k", recipe="int_flash")
    assert np.array_equal(again.dequantize(), made.dequantize())


def test_fields_do_not_change(qkv):
    made = octavo.quantize(qkv[0], role="q")
    for field in ("codes", "scales", "mean", "role", "recipe", "layout", "rotated"):
        with pytest.raises(AttributeError):
            setattr(made, field, None)


def test_refusals(qkv):
    q, k, v = quantize_all(qkv, "int_flash")
    codes, scales = q.codes, q.scales
    with pytest.raises(ValueError, match="role"):
        octavo.Quantized(codes, scales, role="o", recipe="int_flash")
    with pytest.raises(ValueError, match="layout"):
        octavo.Quantized(codes, scales, role="q", recipe="int_flash", layout="BSHD")
    with pytest.raises(ValueError, match="codes.*int16|codes.*s16"):
        octavo.Quantized(codes.astype(np.int16), scales, role="q", recipe="int_flash")
    with pytest.raises(ValueError, match="scales.*f64"):
        octavo.Quantized(codes, scales.astype(np.float64), role="q", recipe="int_flash")
    with pytest.raises(ValueError, match="scales: None"):
        octavo.Quantized(codes, None, role="q", recipe="int_flash")
    with pytest.raises(TypeError, match="scales.*list"):
        octavo.Quantized(codes, scales.tolist(), role="q", recipe="int_flash")
    with pytest.raises(ValueError, match="exact.*floats"):
        octavo.Quantized(codes, scales, role="q", recipe="exact")
    with pytest.raises(NotImplementedError, match="floats"):
        octavo.quantize(qkv[2], role="v", recipe="int_flash_half")
    with pytest.raises(TypeError, match="colour"):
        octavo.Quantized(codes, scales, role="q", colour=1)
    # What the codes were made for is what they are used for.
    with pytest.raises(ValueError, match="hadamard|rotated|made with"):
        octavo.attention(q, k, v, recipe="int8_fast")
    with pytest.raises(ValueError, match="codes of"):
        octavo.attention(k, q, v, recipe="int_flash")
    short = octavo.Quantized(codes, scales[..., :-1], role="q", recipe="int_flash")
    with pytest.raises(ValueError, match="scales"):
        octavo.attention(short, k, v, recipe="int_flash")
    with pytest.raises(ValueError, match="scales"):
        short.dequantize()
    with pytest.raises(ValueError, match="dtype"):
        q.dequantize("float64")


@pytest.mark.parametrize("recipe", ["int8_fast", "int4", "sage2_8b", "fa3_fp8"])
def test_packed_sequences_as_codes(rng, recipe):
    """With varlen codes each sequence has the bits of a call on its own codes; they survive to_dict."""
    q_borders, k_borders = np.array([0, 20, 20, 150]), np.array([0, 64, 70, 250], np.int32)
    q = rng.standard_normal((150, 4, 32), dtype=np.float32)
    k, v = (rng.standard_normal((250, 2, 32), dtype=np.float32) for _ in range(2))
    borders = {"q": q_borders, "k": k_borders, "v": k_borders}
    packed = []
    for role, x in zip("qkv", (q, k, v)):
        made = octavo.quantize(x, role=role, recipe=recipe, cu_seqlens=borders[role])
        assert made.shape == x.shape and made.cu_seqlens is borders[role]
        assert np.linalg.norm(made.dequantize() - x) < 0.2 * np.linalg.norm(x)
        packed.append(octavo.Quantized.from_dict(made.to_dict()))
    lengths = {"cu_seqlens_q": q_borders, "cu_seqlens_k": k_borders}
    o, lse = octavo.attention(*packed, recipe=recipe, causal=True, return_lse=True, **lengths)
    for b in range(3):
        rows, keys = slice(*q_borders[b : b + 2]), slice(*k_borders[b : b + 2])
        one = [
            octavo.quantize(x[None, part], role=role, recipe=recipe)
            for role, x, part in (("q", q, rows), ("k", k, keys), ("v", v, keys))
        ]
        alone, its_lse = octavo.attention(*one, recipe=recipe, causal=True, return_lse=True)
        assert np.array_equal(o[rows], alone[0]) and np.array_equal(lse[:, rows], its_lse[0])

    with pytest.raises(ValueError, match="quantized_k.cu_seqlens has 64 at entry 1"):
        others = np.array([0, 65, 70, 250])
        octavo.attention(q, packed[1], v, recipe=recipe, cu_seqlens_q=q_borders, cu_seqlens_k=others)
    with pytest.raises(ValueError, match="cu_seqlens is given and the call's is not"):
        octavo.attention(q[None], packed[1], v[None], recipe=recipe)
    with pytest.raises(ValueError, match="cu_seqlens ends with 150; x has 250 rows"):
        octavo.quantize(k, role="k", recipe=recipe, cu_seqlens=q_borders)
    with pytest.raises(ValueError, match="cu_seqlens: dtype f64"):
        octavo.Quantized(packed[1].codes, packed[1].scales, role="k", recipe=recipe, cu_seqlens=np.zeros(3))


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize(
    "recipe", ["int8_fast,smooth_q=off", "int8_fast,smooth_q=off,robust=off", "int8_block", "sage2_8b"]
)
def test_keys_that_do_not_exist_reach_nothing(implementation, rng, recipe, layout):
    exists = rng.random((2, 150)) < 0.7
    lens = [150, 90]
    hidden = ~exists | (np.arange(150) >= np.array(lens)[:, None])
    shapes = ((2, 20, 4, 32), (2, 150, 2, 32), (2, 150, 2, 32))
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    options = {"kv_lens": lens, "key_mask": exists}
    made = []
    for junk in (0.5, 1e4, np.nan):
        k[hidden], v[hidden] = junk, -junk
        operands = (q, k, v) if layout == "NHD" else tuple(x.swapaxes(1, 2) for x in (q, k, v))
        kq, vq = (
            octavo.quantize(x, role=role, recipe=recipe, layout=layout, **options)
            for role, x in zip("kv", operands[1:])
        )
        floats = octavo.attention(*operands, recipe=recipe, layout=layout, **options)
        codes = kq.codes if layout == "NHD" else kq.codes.swapaxes(1, 2)
        assert not codes[hidden].any() and codes[~hidden].any(axis=-1).all() and np.isfinite(kq.scales).all()
        from_codes = octavo.attention(operands[0], kq, vq, recipe=recipe, layout=layout, **options)
        assert np.array_equal(from_codes, floats)
        made.append((kq.codes.tobytes(), kq.scales.tobytes(), vq.codes.tobytes(), floats.tobytes()))
    assert made[0] == made[1] == made[2]


def test_refusals_of_keys_that_do_not_exist(qkv):
    exists = np.ones((2, 9), bool)
    with pytest.raises(ValueError, match="kv_lens is given for role q"):
        octavo.quantize(qkv[0], role="q", kv_lens=[1, 2])
    with pytest.raises(ValueError, match=r"kv_lens\[1\] is 10; allowed are 0 to 9 \(rows of x\)"):
        octavo.quantize(qkv[1], role="k", kv_lens=[9, 10])
    with pytest.raises(ValueError, match=r"key_mask has shape \[2, 8\]; it must be \[2, 9\] \(batch, rows of x\)"):
        octavo.quantize(qkv[1], role="k", key_mask=exists[:, :8])
    with pytest.raises(ValueError, match="key_mask is u8; it must be bool"):
        octavo.quantize(qkv[2], role="v", key_mask=exists.astype(np.uint8))
    with pytest.raises(ValueError, match="kv_lens and cu_seqlens are both given"):
        octavo.quantize(qkv[1][0], role="k", cu_seqlens=[0, 9], kv_lens=[9])

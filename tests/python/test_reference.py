"""octavo.reference: intermediate values, and their consistency with the result."""

import inspect

import numpy as np
import pytest
from oracle import relative_error, softmax_attention

import octavo


@pytest.fixture
def steps_of(rng):
    q = rng.standard_normal((2, 20, 4, 32)).astype(np.float32)
    k, v = (rng.standard_normal((2, 300, 2, 32)).astype(np.float32) for _ in range(2))

    def run(recipe, **given):
        return (q, k, v), octavo.reference.trace(q, k, v, recipe=recipe, **given)

    return run


def blocks_of(steps, keys):
    return np.arange(keys) // steps.recipe.key_block


def test_signature():
    assert inspect.signature(octavo.reference.attention) == inspect.signature(octavo.attention)
    keywords = list(inspect.signature(octavo.reference.trace).parameters)
    ours = list(inspect.signature(octavo.attention).parameters)
    assert keywords == [name for name in ours if name in keywords]
    for function in (octavo.reference.trace, octavo.reference.attention):
        assert all(word in inspect.getdoc(function) for word in ("Parameters", "Returns", "Raises"))


@pytest.mark.parametrize("recipe", list(octavo.recipes()))
def test_result_is_that_of_attention(steps_of, recipe):
    operands, steps = steps_of(recipe, causal=True)
    o, lse = octavo.reference.attention(*operands, recipe=recipe, causal=True, return_lse=True)
    assert np.array_equal(steps.output, o) and np.array_equal(steps.lse, lse)
    assert steps.recipe == octavo.recipe(recipe)


def test_scores_are_the_textbooks(steps_of, rng):
    mask = rng.standard_normal((20, 300)).astype(np.float32)
    given = {"softcap": 2.0, "mask": mask, "window": (100, 5), "scale": 0.3, "alibi_slopes": np.full(4, 0.1)}
    (q, k, v), steps = steps_of("exact", **given)
    assert steps.scores.shape == steps.folded.shape == steps.codes.shape == (2, 4, 20, 300)
    s = 0.3 * np.einsum("bmhd,bnhd->bhmn", q.astype(float), k.repeat(2, axis=2).astype(float))
    distance = np.arange(300) - np.arange(20)[:, None] - 280
    wanted = 2 * np.tanh(s / 2) + mask + 0.1 * distance
    visible = (distance >= -100) & (distance <= 5)
    assert np.array_equal(steps.scores > -np.inf, np.broadcast_to(visible, wanted.shape))
    np.testing.assert_allclose(steps.scores[..., visible], wanted[..., visible], rtol=1e-6, atol=1e-6)
    o, lse = softmax_attention(q, k, v, **given)
    np.testing.assert_allclose(steps.log_sums[..., -1], lse, atol=1e-6)
    weights = np.exp(steps.scores - steps.lse[..., None].astype(float))
    assert relative_error(np.einsum("bhmn,bnhd->bmhd", weights, v.repeat(2, axis=2)), o) < 1e-5


@pytest.mark.parametrize("recipe", ["int8_fast", "int_flash", "int8_p16", "sage2_8b"])
def test_codes_follow_from_the_scores(steps_of, recipe):
    _, steps = steps_of(recipe, causal=True)
    r, block = steps.recipe.p_range, blocks_of(steps, 300)
    p = r * np.exp2(steps.folded - steps.references[..., block])
    unseen = steps.scores == -np.inf
    assert np.all(steps.codes[unseen] == 0)
    # An E4M3 code has four significant bits; integers are rounded to the nearest.
    room = np.maximum(p / 16, 2.0**-9) if recipe == "sage2_8b" else 0.5 + 1e-9
    assert np.all(np.abs(steps.codes - np.where(unseen, 0, p)) <= room)
    largest = np.where(unseen, -np.inf, steps.folded)
    for b in range(steps.maxima.shape[-1]):
        seen = largest[..., block <= b].max(-1)
        np.testing.assert_allclose(steps.maxima[..., b], seen, atol=1e-9)
        own = largest[..., block == b].max(-1)
        if steps.recipe.p_reference == "running":
            np.testing.assert_allclose(steps.references[..., b], np.where(own > -np.inf, seen, -np.inf), atol=1e-9)
        else:
            np.testing.assert_allclose(steps.references[..., b], own, atol=1e-9)


@pytest.mark.parametrize("recipe", ["int8_fast", "int_flash"])
def test_row_sums_and_lse_of_each_block(steps_of, recipe):
    _, steps = steps_of(recipe, causal=True)
    block = blocks_of(steps, 300)
    for b in range(steps.row_sums.shape[-1]):
        if recipe == "int8_fast":  # unrounded weights
            wanted = np.where(block <= b, np.exp(steps.scores), 0).sum(-1)
        else:  # codes, each block's relative to the maximum at its time
            p = steps.codes / 127 * np.exp2(steps.references[..., block])
            wanted = np.where(block <= b, np.where(steps.codes > 0, p, 0), 0).sum(-1)
        np.testing.assert_allclose(steps.row_sums[..., b] * np.exp2(steps.maxima[..., b]), wanted, rtol=1e-9)
        np.testing.assert_allclose(steps.log_sums[..., b], np.log(wanted), atol=1e-9)
    np.testing.assert_allclose(steps.log_sums[..., -1], steps.lse, atol=1e-6)


def test_the_fold(steps_of):
    """T is S plus the logarithm of V's token scale, relative to the largest."""
    (_, _, v), steps = steps_of("int8_fast")
    scales = octavo.quantize(v, role="v", recipe="int8_fast").scales.astype(float).repeat(2, axis=1)
    fold = np.log2(scales / scales.max(-1, keepdims=True))
    wanted = steps.scores * np.log2(np.e) + fold[:, :, None, :]
    np.testing.assert_allclose(steps.folded, wanted, atol=1e-5)
    _, plain = steps_of("int_flash")
    np.testing.assert_allclose(plain.folded, plain.scores * np.log2(np.e), atol=1e-9)


def test_sink_is_in_the_lse_only(steps_of):
    _, plain = steps_of("int8_fast")
    _, steps = steps_of("int8_fast", sinks=np.full(4, 5.0))
    assert np.array_equal(steps.codes, plain.codes) and np.array_equal(steps.log_sums, plain.log_sums)
    np.testing.assert_allclose(steps.lse, np.logaddexp(plain.lse, 5.0), atol=1e-5)


def test_rows_without_keys_and_rows_of_nan(rng):
    q, k, v = (rng.standard_normal((1, 5, 1, 8)).astype(np.float32) for _ in range(3))
    q[0, 3] = np.nan
    mask = np.ones((5, 5), bool)
    mask[2] = False
    steps = octavo.reference.trace(q, k, v, recipe="int_flash", mask=mask)
    assert np.all(steps.scores[0, 0, 2] == -np.inf) and np.all(steps.codes[0, 0, 2] == 0)
    assert np.all(steps.row_sums[0, 0, 2] == 0) and np.all(steps.log_sums[0, 0, 2] == -np.inf)
    assert np.all(np.isnan(steps.codes[0, 0, 3])) and np.all(np.isnan(steps.log_sums[0, 0, 3]))
    assert np.all(np.isfinite(steps.scores[0, 0, [0, 1, 4]]))


def test_packed_and_lengths(rng):
    q, k, v = (rng.standard_normal((n, 2, 8)).astype(np.float32) for n in (7, 11, 11))
    starts_q, starts_k = np.array([0, 5, 5, 7]), np.array([0, 3, 4, 11])
    steps = octavo.reference.trace(q, k, v, recipe="exact", causal=True, cu_seqlens_q=starts_q, cu_seqlens_k=starts_k)
    assert steps.scores.shape == (3, 2, 5, 7) and steps.output.shape == (7, 2, 8)
    for b in range(3):
        rows, keys = slice(*starts_q[b : b + 2]), slice(*starts_k[b : b + 2])
        alone = octavo.reference.trace(q[None, rows], k[None, keys], v[None, keys], recipe="exact", causal=True)
        m, n = alone.scores.shape[2:]
        assert np.array_equal(steps.scores[b, :, :m, :n], alone.scores[0])
        assert np.all(steps.scores[b, :, m:] == -np.inf) and np.all(steps.scores[b, :, :, n:] == -np.inf)
    lens = octavo.reference.trace(q[None], k[None], v[None], recipe="int8_fast", kv_lens=np.array([4]))
    assert lens.scores.shape == (1, 2, 7, 11)
    assert np.all(lens.scores[..., 4:] == -np.inf) and np.all(np.isfinite(lens.scores[..., :4]))


@pytest.mark.parametrize("shape", [(0, 5, 9), (2, 0, 9), (2, 5, 0)])
def test_empty(shape):
    batch, rows, keys = shape
    q, k = np.ones((batch, rows, 2, 8), np.float32), np.ones((batch, keys, 2, 8), np.float32)
    steps = octavo.reference.trace(q, k, k)
    assert steps.scores.shape == (batch, 2, rows, keys) and steps.output.shape == (batch, rows, 2, 8)
    assert steps.row_sums.shape == (batch, 2, rows, min(keys, 1))


def test_errors():
    x = np.ones((1, 3, 1, 8), np.float32)
    with pytest.raises(ValueError, match="mask"):
        octavo.reference.trace(x, x, x, mask=np.ones((4, 4), bool))
    with pytest.raises(TypeError, match="out"):
        octavo.reference.trace(x, x, x, out=x)
    with pytest.raises(NotImplementedError, match="f16 and bf16 inputs"):
        octavo.reference.trace(x, x, x, recipe="exact,accumulator=sm90")
    with pytest.raises(NotImplementedError, match="reference only"):
        with octavo.implementation("scalar"):
            octavo.attention(x, x, x, recipe="sage2_8b,accumulator=sm90")
    long = np.broadcast_to(np.float32(1), (1, 2**20, 1, 8))
    bytes_needed = 8 * 2**20 * (3 * 2**20 + 4 * 2**20 // 128)
    with pytest.raises(MemoryError, match=f"1048576 keys takes {bytes_needed} bytes; allowed are"):
        octavo.reference.trace(long, long, long)


def test_torch(torch, steps_of):
    (q, k, v), steps = steps_of("int8_fast")
    same = octavo.reference.trace(*(torch.from_numpy(x) for x in (q, k, v)), recipe="int8_fast")
    assert type(same.output) is torch.Tensor and np.array_equal(same.output.numpy(), steps.output)
    assert type(same.scores) is np.ndarray and np.array_equal(same.codes, steps.codes)

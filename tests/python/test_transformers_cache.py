"""octavo.transformers.OctavoCache on small random models: the same text as transformers' own attention and cache."""

import types

import pytest
from oracle import relative_error
from test_transformers import DECODERS, make, no_gradients, transformers  # noqa: F401 (fixtures)

from octavo import KVCache

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_torch_thread")]

FORMATS = {"f32": 2e-5, "f16": 2e-3, "bf16": 2e-2, "s8": 5e-2}  # relative L2 bounds of logits


@pytest.fixture
def model(transformers):  # noqa: F811
    return made(transformers)


def made(transformers, name="Llama"):  # noqa: F811
    model = make(transformers, name, DECODERS[name])
    model.set_attn_implementation("octavo_exact")
    return model


def cache_of(model, format="f32", capacity=64, **options):
    from octavo.transformers import OctavoCache

    return OctavoCache(model.config, capacity=capacity, format=format, **options)


def generated(model, ids, cache=None, implementation="octavo_exact", **options):
    model.set_attn_implementation(implementation)
    return model.generate(ids, cache=cache, max_new_tokens=20, min_new_tokens=20, do_sample=False, **options)


def padded_batch(torch):
    ids = torch.randint(3, 128, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    ids[0, :4] = 0
    return ids, mask


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Qwen3", "Mistral", "Gemma2", "Gemma3", "GptOss"])
@pytest.mark.parametrize("page_size", [None, 16])
def test_generate(torch, transformers, name, page_size):  # noqa: F811
    """A batch, grouped heads, prefill and decode."""
    model = made(transformers, name)
    ids = torch.randint(3, 128, (3, 9))
    cache = cache_of(model, page_size=page_size)
    tokens = generated(model, ids, cache)
    assert torch.equal(tokens, generated(model, ids, implementation="eager"))
    assert cache.lengths == [28] * 3 and cache.get_seq_length() == 28
    assert cache.nbytes == sum(layer.cache.nbytes for layer in cache.layers) > 0
    cache.reset()
    assert cache.lengths == [0] * 3 and torch.equal(generated(model, ids, cache), tokens)


@pytest.mark.parametrize("format", FORMATS)
def test_logits(torch, model, format):
    ids = torch.randint(3, 128, (2, 40))
    model.set_attn_implementation("sdpa")
    expected = model(ids).logits
    model.set_attn_implementation("octavo_exact")
    cache, logits = cache_of(model, format), []
    for first, rows in ((0, 20), (20, 7), *((27 + i, 1) for i in range(13))):  # prefill, a chunk, decode
        logits.append(model(ids[:, first : first + rows], cache=cache).logits)
    error = relative_error(torch.cat(logits, 1), expected)
    assert (format == "f32" or 1e-5 < error) and error < FORMATS[format]
    assert relative_error(logits[0], expected[:, :20]) < 2e-5  # the first call does not read the cache
    elements = {layer.cache.format for layer in cache.layers}
    assert elements == {format}


def test_half_precision_model(torch, model):
    ids = torch.randint(3, 128, (2, 12))
    model = model.to(torch.bfloat16)
    cache = cache_of(model, "bf16")
    out = [model(ids[:, :8], cache=cache).logits, model(ids[:, 8:], cache=cache).logits]
    assert out[1].dtype == torch.bfloat16
    model.set_attn_implementation("sdpa")
    assert relative_error(torch.cat(out, 1).float(), model(ids).logits.float()) < 0.05


def test_left_padding(torch, model):
    """Padding is not stored, and a sequence's text is that of the sequence alone."""
    ids, mask = padded_batch(torch)
    cache = cache_of(model)
    tokens = generated(model, ids, cache, attention_mask=mask)
    assert torch.equal(tokens, generated(model, ids, attention_mask=mask, implementation="sdpa"))
    assert torch.equal(tokens[:1, 4:], generated(model, ids[:1, 4:], cache_of(model)))
    assert cache.lengths == [24, 28] and cache.get_seq_length() == 28


@pytest.mark.parametrize("name", ["Mistral", "Gemma3"])
def test_sliding_windows(torch, transformers, name):  # noqa: F811
    """Left padding, a chunk of several tokens, a crop: as over transformers' own cache."""
    model = made(transformers, name)
    ids, mask = padded_batch(torch)
    tokens = generated(model, ids, cache_of(model), attention_mask=mask)
    assert torch.equal(tokens, generated(model, ids, attention_mask=mask, implementation="sdpa"))
    model.set_attn_implementation("sdpa")
    more = torch.randint(3, 128, (2, 7))
    mask = torch.cat([mask, torch.ones_like(more)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    expected = model(torch.cat([ids, more], 1), attention_mask=mask, position_ids=positions).logits[:, 9:]
    model.set_attn_implementation("octavo_exact")
    cache = cache_of(model)
    model(ids, attention_mask=mask[:, :9], position_ids=positions[:, :9], cache=cache)
    for _ in range(2):
        logits = model(more, attention_mask=mask, position_ids=positions[:, 9:], cache=cache).logits
        assert relative_error(logits, expected) < 2e-5
        cache.crop(-7)
    cache = cache_of(model)
    with pytest.raises(NotImplementedError, match="pad on the left"):
        model(ids.flip(1), attention_mask=mask[:, :9].flip(1), cache=cache)


def test_right_padding(torch, model):
    ids, mask = padded_batch(torch)
    ids, mask = ids.flip(1), mask.flip(1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = cache_of(model)
    model(ids, attention_mask=mask, position_ids=positions, cache=cache)
    assert cache.lengths == [5, 9]
    new = torch.tensor([[5], [7]])
    mask = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], 1)
    logits = model(new, attention_mask=mask, position_ids=torch.tensor([[5], [9]]), cache=cache).logits
    alone = model(torch.cat([ids[:1, :5], new[:1]], 1)).logits[:, -1]
    assert relative_error(logits[:1, -1], alone) < 2e-5


def test_beams_and_assisted_generation(torch, model):
    ids = torch.randint(3, 128, (1, 9))
    for options in ({"num_beams": 3}, {"prompt_lookup_num_tokens": 3}):
        expected = generated(model, ids, implementation="sdpa", **options)
        assert torch.equal(generated(model, ids, cache_of(model), **options), expected), options
    ids, mask = padded_batch(torch)
    expected = generated(model, ids, implementation="sdpa", attention_mask=mask, num_beams=2)
    assert torch.equal(generated(model, ids, cache_of(model), attention_mask=mask, num_beams=2), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_crop(torch, model, format):
    ids, mask = padded_batch(torch)
    cache = cache_of(model, format)
    model(ids, attention_mask=mask, cache=cache)
    more = lambda extra: torch.cat([mask, torch.ones(2, extra, dtype=mask.dtype)], 1)  # noqa: E731
    first = model(ids[:, :1], attention_mask=more(1), cache=cache).logits
    cache.crop(-1)
    model(ids[:, 3:8], attention_mask=more(5), cache=cache)
    cache.crop(-5)
    assert cache.lengths == [5, 9] and cache.get_seq_length() == 9
    assert torch.equal(model(ids[:, :1], attention_mask=more(1), cache=cache).logits, first)
    cache.crop(-4)
    assert cache.lengths == [2, 6]
    with pytest.raises(ValueError, match="tokens_to_remove: 3; -6 to 0 are allowed"):
        cache.layers[0].crop(3)


def test_the_cache_is_read(torch, model, monkeypatch):
    """Decoding calls KVCache.attend in every layer; keys are not handed around as tensors."""
    calls, attend = [], KVCache.attend
    monkeypatch.setattr(KVCache, "attend", lambda self, q, **options: calls.append(1) or attend(self, q, **options))
    generated(model, torch.randint(3, 128, (1, 9)), cache_of(model, "s8"))
    assert len(calls) == 19 * 2  # the first of 20 tokens comes from the prefill


def test_another_attention_is_noticed(torch, model):
    ids = torch.randint(3, 128, (1, 9))
    for implementation in ("sdpa", "eager"):
        cache = cache_of(model)
        with pytest.raises(RuntimeError, match=r"not taken.*set_attn_implementation\('octavo'\)"):
            generated(model, ids, cache, implementation)


def test_refusals(torch, transformers, model):  # noqa: F811
    llama4 = transformers.Llama4TextConfig(num_hidden_layers=2, attention_chunk_size=8)
    with pytest.raises(NotImplementedError, match="has layers of chunked_attention; full_attention and sliding_att"):
        cache_of(types.SimpleNamespace(config=llama4))
    with pytest.raises(ValueError, match="format: 'int8'; 's8'"):
        cache_of(model, "int8")
    with pytest.raises(ValueError, match="capacity is 0"):
        cache_of(model, capacity=0)
    ids, mask = padded_batch(torch)
    with pytest.raises(ValueError, match="sequence 0 has 0 tokens; 9 more exceed its capacity of 8"):
        model(ids, cache=cache_of(model, capacity=8))

    def second_call(message, error, new, second_mask, first_mask=mask):
        cache = cache_of(model)
        model(ids, attention_mask=first_mask, cache=cache)
        with pytest.raises(error, match=message):
            model(new, attention_mask=second_mask, cache=cache)

    ones = torch.ones(2, 12, dtype=mask.dtype)
    second_call("hides nothing, and earlier ones", ValueError, ids[:, :1], ones[:, :10])
    other = ones[:, :10].clone()
    other[1, 0] = 0
    second_call("hides other positions", ValueError, ids[:, :1], other)
    second_call("hides other positions", ValueError, ids[:, :1], other, None)
    holes = torch.cat([mask, ones[:, :3]], 1)
    holes[0, 10] = 0
    second_call("padding among 3 tokens after the first call", NotImplementedError, ids[:, :3], holes)
    square = torch.ones(2, 1, 9, 9, dtype=torch.bool).tril()
    with pytest.raises(NotImplementedError, match="no masks of 4 axes"):
        model(ids, attention_mask=square, cache=cache_of(model))
    with pytest.raises(NotImplementedError, match="the batch size of a cache is fixed"):
        cache_of(model).batch_repeat_interleave(2)
    with pytest.raises(NotImplementedError, match=r"update\(..., kwargs=kwargs\)"):
        cache_of(model).update(torch.zeros(1, 2, 1, 16), torch.zeros(1, 2, 1, 16), 0)

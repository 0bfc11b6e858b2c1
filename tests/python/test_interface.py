"""Names, signatures and defaults that users rely on."""

import inspect
import json
import math
import pathlib
import re

import pytest

import octavo
from octavo import _arguments, _core, _keywords

EXPECTED = {
    "recipe": "int8",
    "causal": False,
    "scale": None,
    "window": (-1, -1),
    "softcap": 0.0,
    "mask": None,
    "key_mask": None,
    "sinks": None,
    "layout": "NHD",
    "alibi_slopes": None,
    "alibi": "causal",
    "kv_lens": None,
    "cu_seqlens_q": None,
    "cu_seqlens_k": None,
    "return_lse": False,
    "out": None,
    "out_dtype": None,
    "stream": None,
}


def test_attention_signature():
    parameters = inspect.signature(octavo.attention).parameters
    positional = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert positional == ["q", "k", "v"]
    assert keywords == {**EXPECTED, "workspace": None}
    assert list(keywords)[: len(EXPECTED)] == list(EXPECTED)


def test_workspace_size_takes_the_same_keywords():
    attention = inspect.signature(octavo.attention).parameters
    size = inspect.signature(octavo.workspace_size).parameters
    assert size["v"].default is inspect.Parameter.empty  # no cache in place of k and v
    assert {name: p.default for name, p in size.items() if name != "v"} == {
        name: p.default for name, p in attention.items() if name not in ("v", "workspace")
    }


def test_quantize_signatures():
    made = inspect.signature(octavo.quantize).parameters
    assert list(made) == ["x", "role", "recipe", "layout", "cu_seqlens", "kv_lens", "key_mask"]
    assert made["recipe"].default == "int8"
    assert made["role"].kind is inspect.Parameter.KEYWORD_ONLY and made["role"].default is inspect.Parameter.empty
    wrapped = inspect.signature(octavo.Quantized).parameters
    defaults = {"recipe": "int8", "layout": "NHD", "mean": None, "rotated": None}
    assert list(wrapped)[:2] == ["codes", "scales"] and {name: wrapped[name].default for name in defaults} == defaults


def test_every_public_name_is_documented():
    for name in octavo.__all__:
        assert hasattr(octavo, name), name
        if name != "__version__":
            assert (inspect.getdoc(getattr(octavo, name)) or "").strip(), name
    for name in EXPECTED:
        assert re.search(rf"^([a-z_]+, )*{name}(, [a-z_]+)* : ", inspect.getdoc(octavo.attention), re.M), name


def test_unknown_keywords():
    for call in (octavo.attention, octavo.reference.attention, octavo.workspace_size, octavo.reference.trace):
        with pytest.raises(TypeError, match=r"\(\) got an unexpected keyword argument 'is_causal'; octavo: causal"):
            call(1, 2, 3, is_causal=True)
        with pytest.raises(TypeError, match="'key_masks'; did you mean 'key_mask'"):
            call(1, 2, 3, key_masks=None)
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'zzz'$"):
            call(1, 2, 3, zzz=None)
    with pytest.raises(TypeError):
        octavo.quantize([1], role="q", axis=0)


@pytest.mark.parametrize("keyword, name", [
    ("is_causal", "causal"), ("attn_mask", "mask"), ("attention_mask", "mask"), ("key_padding_mask", "key_mask"),
    ("softmax_scale", "scale"), ("sm_scale", "scale"), ("window_size", "window"), ("sliding_window", "window"),
    ("logits_soft_cap", "softcap"), ("dropout_p", "not supported"), ("enable_gqa", "not needed"), ("s_aux", "sinks"),
    ("cache_seqlens", "kv_lens"), ("max_seqlen_q", "not needed"), ("tensor_layout", "layout"),
    ("return_softmax_lse", "return_lse"), ("q_scale", "octavo.Quantized"), ("dtype", "out_dtype"),
])  # fmt: skip
def test_keywords_of_other_libraries(keyword, name):
    with pytest.raises(TypeError, match=f"'{keyword}'; octavo: {name}"):
        octavo.attention(1, 2, 3, **{keyword: None})


def test_every_hint_is_of_a_keyword_that_octavo_lacks_and_names_one_that_it_has():
    known = set(EXPECTED) | {"workspace"}
    for keyword, hint in _keywords.HINTS.items():
        assert keyword not in known
        named = re.match(r"not (needed|supported)|octavo\.|q, k and v|(\w+)", hint)
        assert named and (named.group(2) is None or named.group(2) in known), (keyword, hint)


def test_version():
    importlib_metadata = pytest.importorskip("importlib.metadata")
    assert re.fullmatch(r"\d+\.\d+\.\d+", octavo.__version__)
    try:
        installed = importlib_metadata.version("octavo")
    except importlib_metadata.PackageNotFoundError:
        return  # run from a build folder
    assert installed == octavo.__version__


def test_typing():
    package = pathlib.Path(octavo.__file__).parent
    assert (package / "py.typed").exists() and (package / "_core.pyi").exists()
    for function in (octavo.attention, octavo.quantize, octavo.merge_state, octavo.workspace_size, octavo.threads):
        signature = inspect.signature(function)
        assert all(p.annotation is not p.empty for p in signature.parameters.values()), function
        assert signature.return_annotation is not signature.empty, function


def test_info_is_plain():
    info = octavo.info()
    assert json.loads(json.dumps(info)) == info
    assert info["version"] == octavo.__version__ and info["num_threads"] >= 1
    names = [entry["name"] for entry in info["implementations"]]
    assert names[-1] == "reference" and info["active_implementation"] in names
    for entry in info["implementations"]:
        assert entry["device"] == ("cuda" if entry["name"].startswith("sm") else "cpu")
        assert entry["description"] and bool(entry["reason"]) != entry["supported"]
    assert set(info["environment"]) == {
        "OCTAVO_FORCE_IMPLEMENTATION",
        "OCTAVO_NUM_THREADS",
        "OCTAVO_LOG",
        "OCTAVO_INTERLEAVE_SOFTMAX",
        "OCTAVO_CUDA_PING_PONG",
    }
    assert info["recipes"] == octavo.recipes()


def test_defaults_are_those_of_the_core():
    """`attention` does not pass options that have their default."""
    x = _core.TensorView(0, _core.DType.f32, (1, 1, 1, 1), (1, 1, 1, 1))
    call = _core.Call(x, x, x, x, _core.Layout.NHD)
    defaults = {name: p.default for name, p in inspect.signature(octavo.attention).parameters.items()}
    assert _core.recipe_text(call.recipe) == defaults["recipe"]
    assert call.window == defaults["window"] and call.softcap == defaults["softcap"]
    assert call.causal == _arguments.causal(defaults["causal"])
    assert call.alibi == _arguments.alibi(defaults["alibi"])
    assert math.isnan(call.scale) and defaults["scale"] is None
    assert call.implementation == "" and call.stream == 0

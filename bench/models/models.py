#!/usr/bin/env python3
"""Whole models with PyTorch's attention and octavo's: time, and error of the final output.

    models.py [MODEL ...] [--tokens N] [--rounds R] [--threads T] [--out FOLDER]

Each round runs every variant once, one after the other; times are medians over the rounds, *gain* is the median of the
ratios of a round. The error is the relative L2 error of the last hidden state (decode: of all steps' logits) against
PyTorch's in f32. Results are added to FOLDER/models.json; scripts/model_figures.py makes docs/models.md's table and
chart of it. `make bench-models` does both.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import zoo
from torch import nn

import octavo
import octavo.transformers

# Name -> attention implementation of transformers, dtype of the model.
VARIANTS = {
    "PyTorch f32": ("sdpa", torch.float32),
    "PyTorch bf16": ("sdpa", torch.bfloat16),
    "octavo exact": ("octavo_exact", torch.float32),
    "octavo int8": ("octavo", torch.float32),
    "octavo int8_fast": ("octavo_int8_fast", torch.float32),
}
BASE = "PyTorch f32"
DECODE_STEPS, PROMPT = 128, 2048

Timed = Callable[[nn.Module], "tuple[float, torch.Tensor]"]


def forward(inputs: tuple[Any, ...], **options: Any) -> Timed:
    def run(model: nn.Module) -> tuple[float, torch.Tensor]:
        dtype = next(model.parameters()).dtype
        given = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
        begin = time.perf_counter()
        output = model(*given, **options)
        seconds = time.perf_counter() - begin
        return seconds, output if isinstance(output, torch.Tensor) else output.last_hidden_state

    return run


def decode(tokens: torch.Tensor, prompt: int, steps: int) -> Timed:
    """Time of `steps` tokens after a prompt, which is not timed; all variants see the same tokens."""

    def run(model: nn.Module) -> tuple[float, torch.Tensor]:
        cache = model(tokens[:, :prompt], use_cache=True, logits_to_keep=1).past_key_values
        logits = []
        begin = time.perf_counter()
        for step in range(prompt, prompt + steps):
            output = model(tokens[:, step : step + 1], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logits.append(output.logits[0, -1])
        return time.perf_counter() - begin, torch.stack(logits)

    return run


def make(name: str, tokens: int | None) -> tuple[nn.Module, Timed, str, int]:
    """The model, what is timed, its description and its number of tokens."""
    torch.manual_seed(0)
    if name.startswith("smollm2"):
        model, text = zoo.smollm2()
        if name == "smollm2-decode":
            prompt = tokens or PROMPT
            description = f"SmolLM2-135M, {DECODE_STEPS} steps after the prompt"
            return model, decode(text, prompt, DECODE_STEPS), description, prompt
        tokens = tokens or 2048
        assert text.shape[1] >= tokens, f"the text has {text.shape[1]} tokens"
        return model.model, forward((text[:, :tokens],), use_cache=False), "SmolLM2-135M, prefill", tokens
    maker, default = {"vit": (zoo.vit, 4096), "modernbert": (zoo.modernbert, 8192), "whisper": (zoo.whisper, 1500),
                      "dit": (zoo.dit, 4096)}[name]  # fmt: skip
    tokens = tokens or default
    model, inputs, description = maker(tokens)
    return model, forward(inputs), description, tokens


MODELS = ("smollm2-prefill", "smollm2-decode", "vit", "modernbert", "whisper", "dit")


def measure(name: str, tokens: int | None, rounds: int, variants: list[str]) -> dict[str, Any]:
    model, run, description, tokens = make(name, tokens)
    models = {torch.float32: model}
    if any(VARIANTS[variant][1] == torch.bfloat16 for variant in variants):
        models[torch.bfloat16] = copy.deepcopy(model).to(torch.bfloat16)
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    errors: dict[str, float] = {}
    exact: torch.Tensor | None = None
    for _ in range(rounds):
        for variant in variants:
            implementation, dtype = VARIANTS[variant]
            models[dtype].set_attn_implementation(implementation)  # type: ignore[operator]
            with torch.inference_mode():
                seconds, output = run(models[dtype])
            times[variant].append(seconds)
            output = output.double()
            if exact is None:
                exact = output
            errors[variant] = float((output - exact).norm() / exact.norm())
            print(f"{name} {variant}: {seconds:.2f} s, {errors[variant]:.2e}", flush=True)
    base = times[BASE]
    return {
        "model": name, "description": description, "tokens": tokens, "threads": torch.get_num_threads(),
        "rounds": rounds, "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        "processor": octavo.info()["processor"], "implementation": octavo.info()["active_implementation"],
        "torch": torch.__version__, "octavo": octavo.__version__,
        "variants": {
            variant: {"seconds": statistics.median(times[variant]), "all_seconds": times[variant],
                      "gain": statistics.median(b / t for b, t in zip(base, times[variant])), "error": errors[variant]}
            for variant in variants
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--tokens", type=int, help="instead of the model's default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without", action="append", default=[], choices=[v for v in VARIANTS if v != BASE])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    arguments = parser.parse_args()
    for name in arguments.models:
        if name not in MODELS:
            parser.error(f"model {name!r} is unknown; allowed: {', '.join(MODELS)}")
    torch.set_num_threads(arguments.threads)
    octavo.transformers.register()
    variants = [variant for variant in VARIANTS if variant not in arguments.without]
    path = arguments.out / "models.json"
    for name in arguments.models or MODELS:
        entry = measure(name, arguments.tokens, arguments.rounds, variants)
        results = json.loads(path.read_text()) if path.exists() else []
        same = [e for e in results if (e["model"], e["tokens"]) == (name, entry["tokens"])]
        results = [e for e in results if e not in same] + [entry]
        results.sort(key=lambda e: (MODELS.index(e["model"]), e["tokens"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

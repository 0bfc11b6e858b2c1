#!/usr/bin/env python3
"""Whole models with PyTorch's attention and octavo's: time, and error of the final output.

    models.py [MODEL ...] [--tokens N] [--rounds R] [--threads T] [--clock wall|processor] [--without VARIANT]
              [--out FOLDER] [--quick]

Each round runs every variant once, one after the other; times are medians over the rounds, *gain* is the median of the
ratios of a round. The error is the relative L2 error of the last hidden state (decode: of all steps' logits) against
PyTorch's in f32. Compiled variants run once before the rounds, so that no round compiles. Results are added to
FOLDER/models.json; scripts/model_figures.py makes docs/models.md's table and chart of it. `make bench-models` does
both. --clock processor takes the process's processor time instead, with one thread: for a machine that others use too.
--quick checks that everything runs: few tokens, one round, results in build/bench_models.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Variant:
    """What computes attention: an implementation of transformers, and, for decoding, the format of octavo's cache."""

    implementation: str
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    cache: str | None = None  # None: transformers' DynamicCache


BASE = "PyTorch f32"
FORWARD = {
    BASE: Variant("sdpa"),
    "PyTorch f32 compiled": Variant("sdpa", compiled=True),
    "PyTorch bf16": Variant("sdpa", torch.bfloat16),
    "octavo exact": Variant("octavo_exact"),
    "octavo int8": Variant("octavo"),
    "octavo int8 compiled": Variant("octavo", compiled=True),
    "octavo int8_fast": Variant("octavo_int8_fast"),
}
DECODE = {
    BASE: Variant("sdpa"),
    "PyTorch bf16": Variant("sdpa", torch.bfloat16),
    "octavo exact, f32 cache": Variant("octavo_exact", cache="f32"),
    "octavo int8, s8 cache": Variant("octavo", cache="s8"),
    "octavo int8, s4 cache": Variant("octavo", cache="s4"),
}
STEPS, PROMPT = 128, 2048  # of decoding
QUICK_STEPS, QUICK_TOKENS = 4, 256  # int8 computes sequences of up to 128 tokens exactly
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

Timed = Callable[[nn.Module, Variant], "tuple[float, torch.Tensor]"]


@dataclasses.dataclass
class Workload:
    model: nn.Module
    run: Timed
    description: str
    tokens: int
    variants: dict[str, Variant]


def forward(inputs: tuple[Any, ...], settings: argparse.Namespace, **options: Any) -> Timed:
    clock = CLOCKS[settings.clock]

    def run(model: nn.Module, variant: Variant) -> tuple[float, torch.Tensor]:
        given = [x.to(variant.dtype) if x.is_floating_point() else x for x in inputs]
        call = torch.compile(model, backend=settings.backend) if variant.compiled else model
        begin = clock()
        output = call(*given, **options)
        seconds = clock() - begin
        return seconds, output if isinstance(output, torch.Tensor) else output.last_hidden_state

    return run


def decode(tokens: torch.Tensor, prompt: int, steps: int, settings: argparse.Namespace) -> Timed:
    """Time of `steps` tokens after a prompt, which is not timed; all variants see the same tokens."""
    assert tokens.shape[1] >= prompt + steps, f"the text has {tokens.shape[1]} tokens"
    clock = CLOCKS[settings.clock]

    def run(model: nn.Module, variant: Variant) -> tuple[float, torch.Tensor]:
        if variant.cache is None:
            cached: dict[str, Any] = {"past_key_values": None, "use_cache": True}
        else:
            capacity = prompt + steps
            cached = {"cache": octavo.transformers.OctavoCache(model.config, capacity=capacity, format=variant.cache)}
        output = model(tokens[:, :prompt], logits_to_keep=1, **cached)
        logits = []
        begin = clock()
        for step in range(prompt, prompt + steps):
            if variant.cache is None:
                cached["past_key_values"] = output.past_key_values
            output = model(tokens[:, step : step + 1], **cached)
            logits.append(output.logits[0, -1])
        return clock() - begin, torch.stack(logits)

    return run


def make(name: str, settings: argparse.Namespace) -> Workload:
    torch.manual_seed(0)
    tokens = settings.tokens or (QUICK_TOKENS if settings.quick else None)
    if name.startswith("smollm2"):
        model, text = zoo.smollm2()
        if name == "smollm2-decode":
            prompt, steps = tokens or PROMPT, QUICK_STEPS if settings.quick else STEPS
            description = f"SmolLM2-135M, {steps} steps after the prompt"
            return Workload(model, decode(text, prompt, steps, settings), description, prompt, DECODE)
        tokens = tokens or 2048
        assert text.shape[1] >= tokens, f"the text has {text.shape[1]} tokens"
        run = forward((text[:, :tokens],), settings, use_cache=False)
        return Workload(model.model, run, "SmolLM2-135M, prefill", tokens, FORWARD)
    maker, default = {"vit": (zoo.vit, 4096), "modernbert": (zoo.modernbert, 8192), "whisper": (zoo.whisper, 1500),
                      "dit": (zoo.dit, 4096)}[name]  # fmt: skip
    tokens = tokens or default
    model, inputs, description = maker(tokens)
    return Workload(model, forward(inputs, settings), description, tokens, FORWARD)


MODELS = ("smollm2-prefill", "smollm2-decode", "vit", "modernbert", "whisper", "dit")


def measure(workload: Workload, settings: argparse.Namespace) -> dict[str, Any]:
    """The entry of models.json, without the model's name."""
    rounds = settings.rounds or (1 if settings.quick else 3)
    variants = {name: variant for name, variant in workload.variants.items() if name not in settings.without}
    models = {torch.float32: workload.model}
    if any(variant.dtype == torch.bfloat16 for variant in variants.values()):
        models[torch.bfloat16] = copy.deepcopy(workload.model).to(torch.bfloat16)

    def run(variant: Variant) -> tuple[float, torch.Tensor]:
        model: Any = models[variant.dtype]
        model.set_attn_implementation(variant.implementation)
        with torch.inference_mode():
            seconds, output = workload.run(model, variant)
        return seconds, output.double()

    for name, variant in variants.items():
        if variant.compiled:
            print(f"{workload.description}, {name}: first run {run(variant)[0]:.1f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in variants}
    errors: dict[str, float] = {}
    exact: torch.Tensor | None = None
    for _ in range(rounds):
        for name, variant in variants.items():
            seconds, output = run(variant)
            times[name].append(seconds)
            exact = output if exact is None else exact
            errors[name] = float((output - exact).norm() / exact.norm())
            print(f"{workload.description}, {name}: {seconds:.2f} s, {errors[name]:.2e}", flush=True)
    base = times[BASE]
    return {
        "description": workload.description, "tokens": workload.tokens, "threads": torch.get_num_threads(),
        "clock": settings.clock,
        "rounds": rounds, "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        "processor": octavo.info()["processor"], "implementation": octavo.info()["active_implementation"],
        "torch": torch.__version__, "octavo": octavo.__version__,
        "variants": {
            name: {"seconds": statistics.median(times[name]), "all_seconds": times[name],
                   "gain": statistics.median(b / t for b, t in zip(base, times[name])), "error": errors[name]}
            for name in variants
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--tokens", type=int, help="instead of the model's default")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, help="default: those of PyTorch")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    names = list(dict.fromkeys([*FORWARD, *DECODE]))
    parser.add_argument("--without", action="append", default=[], choices=names[1:], metavar="VARIANT",
                        help="; ".join(names[1:]))  # fmt: skip
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    for name in arguments.models:
        if name not in MODELS:
            parser.error(f"model {name!r} is unknown; allowed: {', '.join(MODELS)}")
    if arguments.clock == "processor":
        if arguments.threads not in (None, 1):
            parser.error(f"--threads {arguments.threads}: --clock processor takes one thread")
        arguments.threads = 1
    out = arguments.out or pathlib.Path("build/bench_models" if arguments.quick else "bench/results")
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    octavo.transformers.register()
    path = out / "models.json"
    for name in arguments.models or MODELS:
        entry = {"model": name, **measure(make(name, arguments), arguments)}
        results = json.loads(path.read_text()) if path.exists() else []
        same = [e for e in results if (e["model"], e["tokens"]) == (name, entry["tokens"])]
        results = [e for e in results if e not in same] + [entry]
        results.sort(key=lambda e: (MODELS.index(e["model"]), e["tokens"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
        torch.compiler.reset()


if __name__ == "__main__":
    main()

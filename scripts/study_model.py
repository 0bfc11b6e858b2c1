#!/usr/bin/env python3
"""The study `model`: the recipes in every layer of a language model, and in the training of a small one.

    study_model.py [--out FOLDER] [--quick] [--recipe TEXT ...] [--text NAME] [--only PART ...] [--threads T]

The model is SmolLM2-135M-Instruct (scripts/model_quality.py), the text Debian's GPL-3. Parts:

    quality    perplexity, KL divergence from exact attention, top-1 agreement at 2048 tokens, error of the residual
               stream after each layer
    heads      relative L2 error of every layer's heads on the exact Q, K and V
    long       quality at 8192 tokens, for few recipes; of another text (prose), since the GPL-3 is shorter
    copy       a passage that occurs twice, 1k to 4k tokens apart: the loss of its second occurrence
    training   a character model trained with quantized attention (scripts/study_training.py)

Writes the files that `octavo study` writes. `make study-model` sets up the packages and runs it. Exits with 1 if a bar
does not hold, with 3 if a package is missing. Half an hour on two cores; --quick a minute.
"""

import argparse
import pathlib
import platform
import sys
import time

import numpy as np
import study_report
from model_quality import BF16, Model, missing_packages, read_text
from study_report import Table, bar

QUESTION = "What do the recipes change in a language model's predictions?"
RECIPES = ("exact", BF16, "int8", "int8_fast", "int8_p16", "int8_block", "int4", "int_flash", "int_flash_half", "sage1",
           "sage1_int8", "sage2_8b", "sage2_4b", "sage2pp", "fa3_fp8", "fp8_e4m3", "fp8_e5m2")
LONG_TEXT = "prose"
LONG_RECIPES = ("int8", "int_flash", "sage2_8b", "int8_fast", "int4")  # long: the first three
TRAINING_RECIPES = (None, "int8_fast", "int_flash", "int4", "fp8_e5m2")
PARTS = ("quality", "heads", "long", "copy", "training")


class Studied(Model):
    """The model with hidden states, and with a record of each head's error."""

    def hidden_states(self, tokens, recipe):
        """The residual streams after the embedding and each layer (the last one normed), f32 [N, 576] each."""
        self.model.set_attn_implementation("sdpa" if recipe is None else "octavo_recipe")
        self.recipe, self.calls = recipe, 0
        with self.torch.inference_mode():
            states = self.model.model(tokens[None], use_cache=False, output_hidden_states=True).hidden_states
        return [state[0] for state in states]

    def log_softmax(self, hidden):
        with self.torch.inference_mode():
            for block in hidden.split(256):
                yield self.model.lm_head(block).double().log_softmax(-1)


def compare(model, tokens, recipes, progress):
    """recipe -> {"kl", "nll", "same": per token; "residual": per layer}; None: exact attention by PyTorch."""
    torch, exact, result = model.torch, None, {}
    following = tokens.roll(-1)
    for recipe in (None, *recipes):
        progress(f"{recipe or 'PyTorch f32'}, {len(tokens)} tokens")
        states = model.hidden_states(tokens, recipe)
        if recipe is None:
            exact = states
        kl, nll, same = [], [], []
        blocks = zip(model.log_softmax(exact[-1]), model.log_softmax(states[-1]), following.split(256))
        for log_p, log_q, token in blocks:
            kl.append((log_p.exp() * (log_p - log_q)).sum(-1))
            nll.append(-log_q.gather(-1, token[:, None])[:, 0])
            same.append((log_p.argmax(-1) == log_q.argmax(-1)).double())
        residual = [((a - b).norm(dim=-1) / b.norm(dim=-1))[1:].median().item() for a, b in zip(states[1:], exact[1:])]
        result[recipe] = {"kl": torch.cat(kl).numpy(), "nll": torch.cat(nll)[:-1].numpy(),
                          "same": torch.cat(same).numpy(), "residual": residual}
    return result


def quality_table(name, caption, measured):
    exact = measured[None]["nll"]
    perplexity = float(np.exp(exact.mean()))
    rows = []
    for recipe, found in measured.items():
        difference = found["nll"] - exact
        rows.append({"attention": recipe or "PyTorch f32", "kl": float(found["kl"].mean()),
                     "kl_p99": float(np.percentile(found["kl"], 99)), "top1": 100 * float(found["same"].mean()),
                     "perplexity": float(np.exp(found["nll"].mean())),
                     "change": 100 * float(np.exp(found["nll"].mean()) / perplexity - 1),
                     "error": 100 * float(difference.std(ddof=1) / np.sqrt(len(difference))),
                     "residual": 100 * found["residual"][-2]})
    columns = {"attention": "attention", "kl": "KL, mean", "kl_p99": "KL, p99", "top1": "top-1 %",
               "perplexity": "perplexity", "change": "change %", "error": "+- (1 se) %",
               "residual": "residual error, last layer %"}
    return Table(name, caption, columns, rows, {"top1": "{:.2f}", "perplexity": "{:.4f}", "change": "{:+.4f}",
                                                "error": "{:.4f}", "kl": "{:.1e}", "kl_p99": "{:.1e}"})


def head_errors(model, tokens, recipes, progress):
    """Every head's relative L2 error on the Q, K and V of exact attention, one forward pass for all recipes."""
    import octavo

    rows = []

    def attend(module, query, key, value, attention_mask, **options):
        progress(f"errors of heads, layer {module.layer_idx}")
        exact = octavo.attention(query, key, value, layout="HND", recipe="exact", causal=True)
        for recipe in recipes:
            if recipe in ("exact", BF16):
                continue
            out = octavo.attention(query, key, value, layout="HND", recipe=recipe, causal=True)
            errors = (out - exact)[0].flatten(1).norm(dim=-1) / exact[0].flatten(1).norm(dim=-1)
            rows.extend({"attention": recipe, "layer": module.layer_idx, "head": head, "relative_l2": 100 * e.item()}
                        for head, e in enumerate(errors))
        return exact.transpose(1, 2).contiguous(), None

    from transformers import AttentionInterface

    AttentionInterface.register("octavo_errors", attend)
    model.model.set_attn_implementation("octavo_errors")
    with model.torch.inference_mode():
        model.model.model(tokens[None], use_cache=False)
    heads = Table("heads", "", {"attention": None, "layer": None, "head": None, "relative_l2": None}, rows)
    summary = []
    for recipe in dict.fromkeys(row["attention"] for row in rows):
        own = sorted((row for row in rows if row["attention"] == recipe), key=lambda row: row["relative_l2"])
        errors = [row["relative_l2"] for row in own]
        summary.append({"attention": recipe, "median": float(np.median(errors)),
                        "p90": float(np.percentile(errors, 90)), "worst": errors[-1],
                        "where": f"L{own[-1]['layer']}.h{own[-1]['head']}"})
    return heads, Table("head_summary", f"Relative L2 error of a head's output on exact Q, K and V, %, {len(tokens)} "
                        "tokens, all heads of all layers.",
                        {"attention": "recipe", "median": "median", "p90": "p90", "worst": "worst", "where": "in"},
                        summary)


def copy_table(model, text, recipes, contexts, progress):
    """A passage of 192 tokens, other text, the passage again: the second one's loss and how often its next token is the
    most probable one."""
    passage, rows = 192, []
    for context in contexts:
        tokens = text[: context - passage]
        tokens = model.torch.cat([tokens, tokens[32 : 32 + passage]])
        for recipe in (None, *recipes):
            progress(f"copy, {context} tokens, {recipe or 'PyTorch f32'}")
            hidden = model.hidden_states(tokens, recipe)[-1][-passage + 16 : -1]
            log_p = model.torch.cat(list(model.log_softmax(hidden)))
            expected = tokens[-passage + 17 :]
            rows.append({"attention": recipe or "PyTorch f32", "context": context,
                         "loss": -log_p.gather(-1, expected[:, None]).mean().item(),
                         "copied": 100 * (log_p.argmax(-1) == expected).double().mean().item()})
    return Table("copy", "A passage of 192 tokens at the beginning and again at the end: loss of its last 175 tokens, "
                 "nats, and share of them that is the most probable next token.",
                 {"attention": "attention", "context": "tokens", "loss": "loss", "copied": "copied %"}, rows,
                 {"loss": "{:.4f}", "copied": "{:.1f}"})


def training_table(steps, seeds, progress):
    from study_training import train

    rows, curves = [], {}
    for recipe in TRAINING_RECIPES:
        last, tested = [], []
        for seed in range(1, seeds + 1):
            progress(f"training, {recipe or 'exact'}, seed {seed}")
            losses, held_out = train(recipe, steps, seed)
            last.append(np.mean(losses[-20:]))
            tested.append(held_out)
            curve = curves.setdefault(recipe or "exact", np.zeros(steps))
            curve += np.array(losses) / seeds
        rows.append({"attention": recipe or "exact", "last": float(np.mean(last)), "spread": float(np.std(last)),
                     "held_out": float(np.mean(tested)), "held_out_spread": float(np.std(tested))})
    table = Table("training", f"A character model trained for {steps} steps with the recipe in the forward pass, mean "
                  f"and standard deviation of {seeds} seeds: loss of the last 20 steps, and of held-out text with "
                  "exact attention, nats.",
                  {"attention": "attention", "last": "loss", "spread": "+-", "held_out": "held out",
                   "held_out_spread": "+-"}, rows, {"last": "{:.4f}", "held_out": "{:.4f}"})
    smooth = {name: [(i // 10 + 1, float(np.mean(curve[i : i + 10]))) for i in range(0, steps, 10)]
              for name, curve in curves.items()}
    return table, study_report.lines_svg("Training loss with quantized attention", "steps / 10", "nats", smooth)


def figures(table, key):
    return {row["attention"]: row[key] for row in table.rows}


def quality_part(model, text, recipes, context, name, quick, progress):
    measured = compare(model, text[:context], recipes, progress)
    table = quality_table("quality", f"{context} tokens of {name}. *KL*: KL(exact || recipe) of the next token's "
                          "distribution, nats. *residual error*: median over tokens after the last layer.", measured)
    rows = [{"attention": recipe, "layer": layer + 1, "residual": 100 * error} for recipe in recipes
            for layer, error in enumerate(measured[recipe]["residual"][:-1])]
    residual = Table("residual", "", dict.fromkeys(("attention", "layer", "residual")), rows)
    plot = study_report.lines_svg("Error of the residual stream, SmolLM2-135M", "layer", "median over tokens, %",
                                  {recipe: [(r["layer"], r["residual"]) for r in rows if r["attention"] == recipe]
                                   for recipe in recipes if recipe != "exact"})
    kl, change, bars, answer = figures(table, "kl"), figures(table, "change"), [], ""
    if not quick and "int8" in kl:
        bars += [bar("`int8`: perplexity off by, %", abs(change["int8"]), 0.1),
                 bar("`int8`: mean KL", kl["int8"], 4e-4)]
    if not quick and {"int4", "sage2_4b"} <= set(kl):
        bars.append(bar("`int4`: mean KL over `sage2_4b`'s", kl["int4"] / kl["sage2_4b"], 0.5))
    some = ("int8", "int8_fast", BF16, "sage2_8b", "int_flash", "int4", "sage2_4b")
    shown = ", ".join(f"`{recipe}` {kl[recipe]:.1e}" for recipe in some if recipe in kl)
    answer = f"KL divergence of SmolLM2-135M's predictions from exact attention at {context} tokens: {shown}."
    if "int8" in kl:
        answer += f" `int8` changes the perplexity by {change['int8']:+.3f} %."
    return {"tables": [table, residual], "bars": bars, "plots": {"residual": plot}, "answer": answer}


def training_part(quick, progress):
    table, plot = training_table(10 if quick else 150, 1 if quick else 2, progress)
    held_out = figures(table, "held_out")
    return {"tables": [table], "plots": {"training": plot},
            "answer": f"A small model trained with `int8_fast` in its forward pass ends at a loss of "
                      f"{held_out['int8_fast']:.3f} (exact: {held_out['exact']:.3f})."}


def run_parts(arguments, progress):
    """Part -> its tables, bars, plots and sentence of the answer."""
    import octavo

    quick, found = arguments.quick, {}
    recipes = arguments.recipe or (("int8", "int8_fast", "int4", "sage2_4b") if quick else RECIPES)
    recipes = [recipe if recipe == BF16 else str(octavo.recipe(recipe)) for recipe in recipes]
    octavo.set_num_threads(arguments.threads)
    if set(arguments.only) != {"training"}:
        model = Studied(arguments.threads)
        text = model.torch.tensor(model.tokenizer(read_text(arguments.text)).input_ids)
    context = 256 if quick else 2048
    some = [recipe for recipe in LONG_RECIPES if recipe in recipes]
    for part in arguments.only:
        if part == "quality":
            found[part] = quality_part(model, text, recipes, context, arguments.text, quick, progress)
        elif part == "heads":
            found[part] = {"tables": head_errors(model, text[:context], recipes, progress)}
        elif part == "long":
            tokens = model.torch.tensor(model.tokenizer(read_text(LONG_TEXT)).input_ids)[: 512 if quick else 8192]
            measured = compare(model, tokens, some[:3], progress)
            found[part] = {"tables": [quality_table("long", f"{len(tokens)} tokens of {LONG_TEXT}.", measured)]}
        elif part == "copy":
            contexts = (256,) if quick else (1024, 2048, 4096)
            found[part] = {"tables": [copy_table(model, text, some, contexts, progress)]}
        else:
            found[part] = training_part(quick, progress)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/study"))
    parser.add_argument("--quick", action="store_true", help="256 tokens, four recipes, ten steps of training")
    parser.add_argument("--recipe", action="append", metavar="TEXT", help="instead of the default; may be repeated")
    parser.add_argument("--text", default="gpl", help="gpl, code, prose, or a file (scripts/model_quality.py)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS,
                        help="other parts are taken from the files in --out, if there are any")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if missing := missing_packages():
        print("skipped: " + "; ".join(missing), file=sys.stderr)
        return 3

    import octavo

    start, terminal = time.monotonic(), sys.stderr.isatty()

    def progress(line):
        print(f"\r\033[Kmodel: {line}" if terminal else f"model: {line}", end="" if terminal else "\n", file=sys.stderr,
              flush=True)

    method = (f"SmolLM2-135M-Instruct (4-bit weights dequantized to f32), {arguments.text}, octavo's kernels in all 30 "
              "layers, everything else f32 by PyTorch. Perplexity's standard error is that of the paired difference.")
    holds = study_report.write_parts(arguments.out, "model", QUESTION, method, PARTS, run_parts(arguments, progress),
                                     quick=arguments.quick, captures=None, seconds=time.monotonic() - start,
                                     machine={"processor": platform.processor() or platform.machine(),
                                              "octavo": octavo.__version__})
    if terminal:
        print("\r\033[K", end="", file=sys.stderr)
    print((arguments.out / "model.md").read_text())
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())

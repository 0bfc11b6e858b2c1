"""octavo's entries by gpu_attention_bench, a C++ program: for machines where the Python package cannot be built. It
runs right after the baselines of the same shape."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable

LIMIT = 120.0  # seconds for all recipes of a shape


def arguments(shape: dict) -> list[str]:
    words = []
    for option in ("batch", "heads", "kv_heads", "rows", "head_dim"):
        words += [f"--{option.replace('_', '-')}", str(shape[option])]
    return words + (["--causal"] if shape["causal"] else [])


def parsed(text: str, judged: Callable[[str, float], dict]) -> dict:
    """Name -> result, as gpu_compare's own entries have it."""
    results = {}
    for line in text.splitlines():
        try:
            members = json.loads(line)
        except ValueError:
            continue  # half of a line: the program crashed
        name = members.pop("name")
        results[name] = members | ({"failed": members["refused"]} if "refused" in members
                                   else judged(name, members["relative_l2"]))
    return results


def measure(program: pathlib.Path, shape: dict, judged: Callable[[str, float], dict]) -> dict:
    try:
        done = subprocess.run([program, *arguments(shape), "--seconds", "0.7"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT)
        text, problem = done.stdout, done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired as error:
        text, problem = (error.stdout or b"").decode(), [f"no end within {LIMIT:.0f} s"]
    except OSError as error:
        text, problem = "", [f"cannot be started: {error.strerror}"]
    results = parsed(text, judged)
    if problem and not any("failed" in result for result in results.values()):
        reason = f"gpu_attention_bench: {problem[0]}"
        results["octavo"] = {"refused": reason, "failed": reason}
    return results

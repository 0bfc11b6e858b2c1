"""What this machine is: GPU, driver, compilers, packages. Every fact can be missing."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform

from gpu_check import tools
from gpu_check.process import text_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "triton", "jax", "sageattention", "flash-attn", "flash_attn_3", "nanobind", "numpy")


def packages() -> dict[str, str]:
    """Versions by the packages' metadata; nothing is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def gpu() -> dict:
    """What nvidia-smi says of the first GPU."""
    smi = tools.find("nvidia-smi")
    text = text_of([smi, "--query-gpu=name,compute_cap,driver_version,memory.total", "--format=csv,noheader",
                    "--id=0"]) if smi else None
    fields = [field.strip() for field in text.splitlines()[0].split(",")] if text else []
    return dict(zip(("name", "compute_capability", "driver", "memory"), fields)) if len(fields) == 4 else {}


def architecture(compute_capability: str) -> str:
    """The name that nvcc compiles for: Hopper's own instructions need the letter."""
    digits = compute_capability.replace(".", "")
    return "90a" if digits == "90" else digits


def first_line(text: str | None) -> str | None:
    return text.splitlines()[0] if text else None


def facts() -> dict:
    nvcc = tools.find("nvcc")
    release = text_of([nvcc, "--version"]) if nvcc else None
    compiler = tools.find(os.environ.get("CXX", "c++"))
    git = tools.find("git")
    return {
        "gpu": gpu(),
        "nvcc": next((line for line in (release or "").splitlines() if "release" in line), None),
        "compiler": first_line(text_of([compiler, "--version"])) if compiler else None,
        "cmake": first_line(text_of([tools.find("cmake"), "--version"])) if tools.find("cmake") else None,
        "python": platform.python_version(),
        "packages": packages(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "processors": len(os.sched_getaffinity(0)),
        "commit": text_of([git, "-C", ROOT, "rev-parse", "HEAD"]) if git else None,
        "measured": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }

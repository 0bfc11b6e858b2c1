"""Libraries of GPU kernels that readers will miss here: whether they import, and why they do not compute on a CPU."""

from __future__ import annotations

import importlib


class Importable:
    def __init__(self, module: str, threads: int):
        importlib.import_module(module)
        raise NotImplementedError(f"{module} has no kernels for a CPU")

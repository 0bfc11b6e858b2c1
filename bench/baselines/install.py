"""Installs the baselines into the environment of the running Python, each separately. A failure is recorded in
NOT_INSTALLED.json (module -> pip's last line of output) and does not stop the others.

    .venv-bench/bin/python install.py NOT_INSTALLED.json
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

# What octavo's own module and the scripts need; without it nothing runs.
NEEDED = ["numpy==2.4.6", "ml_dtypes", "nanobind", "scikit-build-core"]
# Module -> packages. torch by its exact version: an unpinned one may bring gigabytes of another build.
BASELINES = {
    "torch": ["torch==2.13.0"],
    "openvino": ["openvino==2026.4.1"],
    "onnxruntime": ["onnxruntime==1.31.1"],
    "onnx": ["onnx==1.23.2"],
    "onednn-devel": ["onednn-devel==2026.1.0"],
}


def prefix_of(module: str) -> pathlib.Path | None:
    """oneDNN brings two gigabytes of run-time libraries, which stay apart from Python's."""
    return pathlib.Path(sys.prefix) / "onednn" if module == "onednn-devel" else None


def pip(packages: list[str], prefix: pathlib.Path | None = None) -> str | None:
    """None, or why it failed: pip's last error."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    if prefix is not None:
        command += ["--prefix", str(prefix)]
    done = subprocess.run([*command, *packages], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
    return " ".join((complaints or [f"pip ended with code {done.returncode}"])[-1].removeprefix("ERROR:").split())[:300]


def main() -> int:
    if reason := pip(NEEDED):
        print(f"error: {' '.join(NEEDED)} could not be installed: {reason}", file=sys.stderr)
        return 1
    refused = {}
    for module, packages in BASELINES.items():
        prefix = prefix_of(module)
        if prefix is not None and (prefix / "include").is_dir():
            continue
        if reason := pip(packages, prefix):
            refused[module] = reason
            print(f"{module} could not be installed: {reason}", file=sys.stderr)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(refused, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

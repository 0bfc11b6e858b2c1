"""If torch or onnx is required (OCTAVO_REQUIRE_TORCH=1, OCTAVO_REQUIRE_ONNX=1), its absence fails the tests; otherwise
they are skipped."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
TESTS = {
    "torch": ("test_torch.py::test_out", "1 skipped"),
    "onnx": ("test_onnx_attention.py", "skipped"),
}


@pytest.mark.parametrize("package", TESTS)
@pytest.mark.parametrize("required, code", [("1", 1), ("0", 0)])
def test_missing(package, required, code):
    test, skipped = TESTS[package]
    words = "cannot be imported" if required == "1" else skipped
    arguments = ["-q", "-rs", str(HERE / test)]
    script = f"import sys, pytest; sys.modules[{package!r}] = None; sys.exit(pytest.main({arguments}))"
    environment = {**os.environ, f"OCTAVO_REQUIRE_{package.upper()}": required}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, cwd=HERE
    )
    assert result.returncode == code and words in result.stdout, result.stdout

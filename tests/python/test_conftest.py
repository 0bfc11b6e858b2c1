"""A CI that promises torch (OCTAVO_REQUIRE_TORCH=1) fails without it; elsewhere its tests are skipped."""

import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("required, code, words", [("1", 1, "cannot be imported"), ("0", 0, "1 skipped")])
def test_missing_torch(required, code, words):
    here = pathlib.Path(__file__).parent
    test = f"{here / 'test_torch.py'}::test_out"
    script = f"import sys, pytest; sys.modules['torch'] = None; sys.exit(pytest.main(['-q', '-rs', {test!r}]))"
    environment = {**os.environ, "OCTAVO_REQUIRE_TORCH": required}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, cwd=here
    )
    assert result.returncode == code and words in result.stdout, result.stdout

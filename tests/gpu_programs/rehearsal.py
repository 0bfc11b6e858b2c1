"""make gpu-check from its first line to its last on a machine that is made up: a stub in place of nvidia-smi, of
compute-sanitizer and of cuda_first_measurements, the emulation in place of the GPU.

    rehearsal.py FOLDER      of the emulated programs
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUBS = {
    "bin/nvidia-smi": "echo 'Emulated GPU, 8.0, 1.0, 1 MiB'",
    # The program under the sanitizer is behind its options.
    "bin/compute-sanitizer": 'shift 4; "$@"; status=$?; echo "========= ERROR SUMMARY: 0 errors" >&2; exit $status',
    "programs/cuda_first_measurements": """case $1 in
--list) echo "mma_s8 Tops"; echo "rate_ex2 /clk/SM" ;;
*) echo "{\\"measurements\\": [{\\"name\\": \\"${2}_x\\", \\"unit\\": \\"Tops\\", \\"value\\": 1.5}]}" ;;
esac""",
}
TESTS = ["CudaQuantizeTest.NoRows", "CudaMergeTest.*", "*/CudaAttentionTest.*_int_flash_half",
         "*/CudaAttentionTest.*_sage1"]
# Row (without the number of a test among its like) -> its result.
EXPECTED = {
    "primitives": "passed", "primitives: emulation": "passed", "conformance: CudaQuantizeTest.NoRows": "passed",
    "conformance: CudaMergeTest.IsTheCpus": "passed",
    "conformance: Recipes/CudaAttentionTest.IsTheOracles/int_flash_half": "passed",
    "conformance: Recipes/CudaAttentionTest.IsTheOracles/sage1": "passed",
    "measurements: mma": "passed", "measurements: rate": "passed", "speed: D 128, 16384 keys": "passed",
    "speed: D 128, 16384 keys, without ping-pong": "passed", "speed: D 128, 16384 keys, causal": "passed",
    "speed: D 64, 16384 keys": "passed",
    "speed: D 128, 1024 keys, causal": "passed", "python: configure": "skipped", "python: build": "skipped",
    "sanitizer: memcheck": "passed", "sanitizer: racecheck": "passed", "sanitizer: synccheck": "passed",
}


def write_stubs(folder: pathlib.Path, programs: pathlib.Path) -> None:
    for name, text in STUBS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    for program in programs.iterdir():
        shutil.copy2(program, folder / "programs")
    for tool in ("sh", "bash", "echo"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_stubs(folder, pathlib.Path(sys.argv[1]))
        environment = {"PATH": str(folder / "bin"), "PYTHON": sys.executable, "CUDACXX": "", "HOME": name}

        def check(*arguments):
            command = [ROOT / "scripts" / "gpu_check.sh", "--out", folder / "out", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            print(done.stdout, done.stderr, sep="\n")
            return done, json.loads((folder / "out" / "summary.json").read_text())

        arguments = ["--prebuilt", folder / "programs", "--quick", "--conformance", *TESTS, "--skip", "python"]
        # The time is short: what is left is done by the second call, and nothing twice.
        done, summary = check("--time-limit", "12", *arguments)
        first = {row["name"]: row for row in summary["rows"]}
        assert any(row["status"] in ("not run", "cut short") for row in first.values()), first
        done, summary = check("--time-limit", "600", "--resume", *arguments)
        rows = {row["name"]: row for row in summary["rows"]}
        for row in first.values():
            assert row["status"] != "passed" or rows[row["name"]] == row, row
        results = {re.sub(r"/\d+_", "/", step): row["status"] for step, row in rows.items()}
        expected = EXPECTED | {"baselines": results["baselines"]}  # depends on this Python's torch
        assert results == expected, results
        assert results["baselines"] in ("absent", "no GPU"), results
        assert done.returncode == 0, done.returncode
        speeds = [entry for step, row in rows.items() if step.startswith("speed") for entry in row["data"]]
        errors = [entry["relative_l2"] for entry in speeds]
        assert len(errors) == 10 and all(0 < error < 0.02 for error in errors), errors
        page = (folder / "out" / "report.md").read_text()
        for words in ("# Emulated GPU, ", "4 of 4 conformance tests pass", "primitives are the emulation's.",
                      "| D 128, 16384 keys | octavo int8 |", "| rate_x | 1.5 | Tops |"):
            assert words in page, (words, page)
        # On another machine: the report of summary.json alone.
        (folder / "elsewhere").mkdir()
        shutil.copy(folder / "out" / "summary.json", folder / "elsewhere")
        subprocess.run([ROOT / "scripts" / "gpu_check.sh", "--report", folder / "elsewhere"], check=True,
                       env=os.environ | {"PYTHON": sys.executable})
        assert (folder / "elsewhere" / "report.md").read_text() == page
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A freshly installed wheel: its files, what `import octavo` takes and does, and the command. Needs NumPy only.

    smoke.py WHEEL README_EXAMPLE      run by scripts/check_wheel.sh with the Python that the wheel is installed in
"""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
import zipfile

BYTES = 10_000_000
IMPORT_MS = 75  # beyond NumPy, whose own import takes 80 to 150 ms
RUNS = 7
# AMD64's kernels, all in one wheel whatever machine built it.
KERNELS = {"scalar", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_vnni_bf16", "amx_int8"}

# CPU time: a busy machine may let the process wait.
IMPORT_TIME = """
import time
start = time.process_time()
import numpy
between = time.process_time()
import octavo
print(1e3 * (between - start), 1e3 * (time.process_time() - between))
"""

# Everything a program could notice; NumPy's own effects come before.
SIDE_EFFECTS = """
import numpy, os, signal, sys, threading, warnings

def state():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": (threading.active_count(), len(os.listdir("/proc/self/task"))),
        "signals": [signal.getsignal(n) for n in range(1, signal.NSIG)],
        "files": len(os.listdir("/proc/self/fd")),
        "hooks": (sys.excepthook, sys.displayhook, list(sys.meta_path), list(sys.path_hooks), list(sys.path)),
        "warnings": list(warnings.filters),
        "affinity": os.sched_getaffinity(0),
        "errors": numpy.geterr(),
    }

before, modules = state(), set(sys.modules)
import octavo
after = state()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
foreign = {name.partition(".")[0] for name in set(sys.modules) - modules} - set(sys.stdlib_module_names)
assert foreign <= {"octavo", "numpy"}, foreign
"""


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(code):
    return run(sys.executable, "-c", code)


def check_files(wheel):
    size = wheel.stat().st_size
    assert size < BYTES, f"{wheel.name}: {size} bytes; fewer than {BYTES} are allowed"
    assert re.search(r"-cp(\d+)-cp\1-manylinux_2_\d+_x86_64\.whl$", wheel.name), wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("octavo/py.typed", "octavo/_core.pyi", "octavo/torch/__init__.py"):
        assert name in names, f"the wheel lacks {name}"
    sources = [name for name in names if name.endswith((".cpp", ".hpp", ".h"))]
    assert not sources, f"sources in the wheel: {sources}"
    print(f"{wheel.name}: {size} bytes, {len(names)} files")


def check_import():
    assert python(SIDE_EFFECTS) == "", "import octavo prints"
    times = [tuple(map(float, python(IMPORT_TIME).split())) for _ in range(RUNS)]
    numpy, own = (min(column) for column in zip(*times))
    assert own < IMPORT_MS, f"import octavo takes {own:.0f} ms after NumPy; less than {IMPORT_MS} are allowed"
    print(f"import octavo: {own:.0f} ms after NumPy, which takes {numpy:.0f} ms")


def check_command():
    command = str(pathlib.Path(sys.executable).with_name("octavo"))
    info = json.loads(run(command, "info", "--json", "-"))
    found = {entry["name"] for entry in info["implementations"]}
    assert KERNELS <= found, f"the wheel lacks the kernels {KERNELS - found}"
    assert info["version"] == importlib.metadata.version("octavo")
    table = run(command, "demo", "--markdown")
    assert "| int8 " in table and "smollm2" in table, table
    print(f"octavo info, octavo demo: {len(found)} implementations")


def main():
    wheel, example = (pathlib.Path(argument) for argument in sys.argv[1:])
    package = pathlib.Path(python("import octavo; print(octavo.__file__)").strip()).parent
    assert package.is_relative_to(sys.prefix), f"{package} is not the installed package"
    check_files(wheel)
    check_import()
    check_command()
    print(f"the README's example: {float(run(sys.executable, str(example))):.5f}")


if __name__ == "__main__":
    main()

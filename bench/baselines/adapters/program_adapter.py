"""Libraries called from C++: small programs in bench/baselines/programs, compiled here and driven line by line.

The program gets `THREADS B HQ HKV M N D CAUSAL FORMAT FILE`: FILE holds q, k, v as f32 [B, H, rows, D]. It prepares,
writes o over FILE, says `ready`, and then answers each number of calls with the seconds of one. An error is
reported as a line that begins with `refused`.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

PROGRAMS = pathlib.Path(__file__).resolve().parents[1] / "programs"


class Program:
    def __init__(self, source: str, flags: list[str], form: str, threads: int, environment: dict | None = None):
        self.form, self.threads = form, threads
        self.environment = os.environ | (environment or {})
        self.binary = compiled(PROGRAMS / source, flags)
        self.process = None

    def prepare(self, q, k, v, causal):
        self.close()
        b, heads, m, d = self.shape = q.shape
        self.file = tempfile.NamedTemporaryFile(prefix="octavo_bench_")
        for x in (q, k, v):
            np.ascontiguousarray(x).tofile(self.file)
        self.file.flush()
        words = [self.threads, b, heads, k.shape[1], m, k.shape[2], d, int(causal), self.form, self.file.name]
        self.process = subprocess.Popen([self.binary, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=self.environment)
        self.answer("ready")

    def answer(self, expected: str) -> str:
        for line in self.process.stdout:  # libraries may print of their own
            if line.startswith("refused"):
                raise RuntimeError(line.removeprefix("refused").strip())
            if line.startswith(expected):
                return line.removeprefix(expected).strip()
        raise RuntimeError(f"{self.binary.name} ended with code {self.process.wait()}")

    def run(self):
        self.seconds(1)

    def seconds(self, calls: int) -> float:
        """Of one call; the program's own clock, so that the pipe is not timed."""
        print(calls, file=self.process.stdin, flush=True)
        return float(self.answer("seconds"))

    def output(self):
        return np.fromfile(self.file.name, np.float32, count=int(np.prod(self.shape))).reshape(self.shape)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.file.close()


def compiled(source: pathlib.Path, flags: list[str]) -> pathlib.Path:
    """Compiled once for each text and flags, into a folder of this user."""
    command = ["g++", "-std=c++20", "-O2", "-I", str(source.parent), str(source), *flags]
    text = source.read_bytes() + (source.parent / "program.hpp").read_bytes() + " ".join(command).encode()
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "octavo-bench"
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / f"{source.stem}-{hashlib.sha256(text).hexdigest()[:16]}"
    if not binary.exists():
        unfinished = binary.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True)
        if done.returncode != 0:
            complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise RuntimeError(f"{source.name} could not be compiled: {complaint}")
        unfinished.rename(binary)
    return binary


class OneDnn(Program):
    """oneDNN's graph interface: PyPI's onednn-devel in .venv-bench/onednn, or the build that OCTAVO_ONEDNN names."""

    def __init__(self, form: str, threads: int):
        prefix = pathlib.Path(os.environ.get("OCTAVO_ONEDNN") or pathlib.Path(sys.prefix) / "onednn")
        if not (prefix / "include/oneapi/dnnl/dnnl_graph.hpp").is_file():
            raise ModuleNotFoundError(f"no oneDNN in {prefix}: PyPI's onednn-devel, or a prefix named by OCTAVO_ONEDNN",
                                      name="onednn-devel")
        lib = prefix / "lib"
        flags = [f"-I{prefix}/include", f"-L{lib}", "-ldnnl", f"-Wl,-rpath,{lib}", "-Wl,--disable-new-dtags",
                 "-Wl,--allow-shlib-undefined"]
        environment = {"LD_LIBRARY_PATH": str(lib)}
        # PyPI's build reaches the processor through OpenCL.
        if opencl := next(iter(sorted(lib.glob("libintelocl.so.*[0-9]"))), None):
            environment |= {"OCL_ICD_FILENAMES": str(opencl), "ONEAPI_DEVICE_SELECTOR": "opencl:cpu"}
        super().__init__("onednn_graph.cpp", flags, form, threads, environment)


class IkLlama(Program):
    """ik_llama.cpp's flash attention: OCTAVO_IK_LLAMA names a folder with include/ and lib/, or its source tree."""

    def __init__(self, form: str, threads: int):
        folder = os.environ.get("OCTAVO_IK_LLAMA")
        if not folder:
            raise ModuleNotFoundError("OCTAVO_IK_LLAMA names no build of it", name="ik_llama.cpp")
        header = next(pathlib.Path(folder).rglob("include/ggml.h"), None)
        library = next(pathlib.Path(folder).rglob("libggml.so"), None)
        if header is None or library is None:
            raise ModuleNotFoundError(f"OCTAVO_IK_LLAMA={folder} holds no include/ggml.h and libggml.so",
                                      name="ik_llama.cpp")
        super().__init__("ik_llama.cpp", [f"-I{header.parent}", str(library), f"-Wl,-rpath,{library.parent}"], form,
                         threads)

"""Where this machine keeps the programs that are needed: CUDA's are often in no folder of the PATH."""

from __future__ import annotations

import glob
import os
import pathlib
import shutil
import sys

# Folders of CUDA's programs, for machines that do not list them on the PATH.
CUDA_FOLDERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/usr/local/nvidia/bin")


def folders() -> list[str]:
    """CUDA's folders and those beside this interpreter: CMake, ninja and nanobind can be Python packages."""
    home = [os.path.join(os.environ[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    others = sorted(glob.glob("/usr/local/cuda-*/bin"), reverse=True)
    return [*home, *CUDA_FOLDERS, *others, str(pathlib.Path(sys.executable).parent)]


def find(name: str) -> str | None:
    if name == "nvcc" and os.path.isfile(os.environ.get("CUDACXX", "")):
        return os.environ["CUDACXX"]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders()))


def environment() -> dict[str, str]:
    """For commands: the PATH with those folders at its end, compilers through ccache where it is installed."""
    found = dict(os.environ)
    found["PATH"] = os.pathsep.join([found.get("PATH", os.defpath), *folders()])
    if nvcc := find("nvcc"):
        found["CUDACXX"] = nvcc  # for CMake, which looks on the PATH alone
    if shutil.which("ccache"):
        found.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
        # Nested builds may run in another locale, which the objects do not depend on.
        found.setdefault("CCACHE_SLOPPINESS", "locale")
    return found


def jobs() -> int:
    """As many as there are processors, and 1.5 GiB of memory for each."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/proc/meminfo") as lines:
            available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        count = min(count, available // 1572864)
    except (OSError, StopIteration, ValueError):
        pass
    return max(1, count)

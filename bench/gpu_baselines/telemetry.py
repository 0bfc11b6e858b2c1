"""A GPU's clock and power while something is measured: nvidia-smi, asked ten times a second in its own process."""

from __future__ import annotations

import datetime
import shutil
import statistics
import subprocess
import threading

QUERY = ["nvidia-smi", "--id=0", "--query-gpu=timestamp,clocks.sm,power.draw,temperature.gpu",
         "--format=csv,noheader,nounits", "-lms", "100"]


def parse(line: str) -> tuple[float, float, float, float] | None:
    """Seconds since 1970, MHz, W, degrees; None where the driver has no number ("[N/A]")."""
    fields = [field.strip() for field in line.split(",")]
    try:
        moment = datetime.datetime.strptime(fields[0], "%Y/%m/%d %H:%M:%S.%f").timestamp()
        return moment, float(fields[1]), float(fields[2]), float(fields[3])
    except (ValueError, IndexError):
        return None


class Telemetry:
    """A context; `between` tells the medians of a stretch of time, {} where nothing is known of it."""

    def __init__(self, command: list[str] | None = None):
        self.samples: list[tuple[float, float, float, float]] = []
        self._command = command or QUERY
        self._process = None

    def __enter__(self):
        if shutil.which(self._command[0]):
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                             text=True)
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
        return self

    def _read(self):
        for line in self._process.stdout:
            if sample := parse(line):
                self.samples.append(sample)

    def __exit__(self, *_):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._thread.join()

    def between(self, began: float, ended: float) -> dict:
        during = [s for s in list(self.samples) if began <= s[0] <= ended]
        if not during:
            return {}
        return {name: statistics.median(s[i] for s in during)
                for i, name in ((1, "clock_mhz"), (2, "watts"), (3, "degrees"))}

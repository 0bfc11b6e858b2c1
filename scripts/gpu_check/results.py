"""The folder of results. A row stands for one step and is written when the step ends, so that the folder is useful
whenever the run is cut off; summary.json repeats all of it in one file.

    steps/NAME.json      the row: status, seconds, note, the step's data
    steps/NAME.out       the step's standard output
    logs/NAME.log        its standard error
    summary.json         {"schema_version", "machine", "rows": [...]}
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import threading

SCHEMA = 1
# Statuses of a step that was done; any other status is left for --resume.
DONE = ("passed", "failed", "crashed", "timed out", "refused")
# Statuses that make the run a failed one.
BAD = ("failed", "crashed", "timed out", "not built", "interrupted")


def file_name(step: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", step)


def write_json(path: pathlib.Path, value) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


class Folder:
    def __init__(self, path: pathlib.Path):
        self.path = path
        self.rows: dict[str, dict] = {}
        self.machine: dict = {}
        self._lock = threading.Lock()

    def open(self, resume: bool) -> None:
        """Reads what an earlier run left, or removes it: an earlier result is not taken for this run's."""
        if resume:
            summary = load(self.path) if (self.path / "summary.json").is_file() else {"rows": []}
            # Any other row is made anew, possibly under other names: tests of a program that was not built before.
            self.rows = {row["name"]: row for row in summary["rows"] if row["status"] in DONE}
        else:
            for name in ("steps", "logs"):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in ("summary.json", "report.json", "report.md", "primitives.json", "baselines.json"):
                (self.path / name).unlink(missing_ok=True)
        for name in ("steps", "logs"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def out(self, step: str) -> pathlib.Path:
        return self.path / "steps" / f"{file_name(step)}.out"

    def log(self, step: str) -> pathlib.Path:
        return self.path / "logs" / f"{file_name(step)}.log"

    def is_done(self, step: str) -> bool:
        return self.rows.get(step, {}).get("status") in DONE

    def add(self, row: dict) -> None:
        with self._lock:
            self.rows[row["name"]] = row
            write_json(self.path / "steps" / f"{file_name(row['name'])}.json", row)
            write_json(self.path / "summary.json",
                       {"schema_version": SCHEMA, "machine": self.machine, "rows": list(self.rows.values())})


def load(path: pathlib.Path) -> dict:
    """The summary of a folder, or the file itself."""
    return json.loads((path / "summary.json" if path.is_dir() else path).read_text())

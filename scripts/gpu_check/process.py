"""Runs one command under a limit: whatever it does, crash and hang included, comes back as an outcome."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time

KILL_WAIT = 5.0  # seconds until a killed process is given up: a driver can keep it alive


_stopping = threading.Event()
_running: set[subprocess.Popen] = set()


@dataclasses.dataclass
class Outcome:
    """`status`: "passed" (exit code 0), "failed", "crashed" (a signal), "timed out", "absent" (it cannot be started),
    "interrupted" (by stop())."""
    status: str
    code: int | None
    seconds: float
    note: str = ""


def kill_group(process: subprocess.Popen) -> bool:
    """Ends a process and what it started; False where it does not end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(KILL_WAIT)
            if number == signal.SIGTERM:
                continue  # its children may have stayed
            return True
        except subprocess.TimeoutExpired:
            continue
    return process.poll() is not None


def stop() -> None:
    """Ends what runs, in whichever thread; nothing is started any more."""
    _stopping.set()
    for process in list(_running):
        kill_group(process)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run(command: list, limit: float, out: pathlib.Path, log: pathlib.Path, **options) -> Outcome:
    """Standard output goes to the file `out`, standard error to `log`; the command has no standard input."""
    began = time.monotonic()
    if _stopping.is_set():
        return Outcome("interrupted", None, 0.0)
    with open(out, "wb") as stdout, open(log, "wb") as stderr:
        try:
            # Its own session: what it starts is killed with it.
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stdout,
                                       stderr=stderr, start_new_session=True, **options)
        except OSError as error:
            return Outcome("absent", None, 0.0, f"{command[0]} cannot be started: {error.strerror}")
        _running.add(process)
        if _stopping.is_set():  # stop() did not see it
            kill_group(process)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            ended = kill_group(process)
            note = f"no end within {limit:.0f} s" + ("" if ended else "; it could not be killed")
            return Outcome("timed out", None, time.monotonic() - began, note)
        finally:
            _running.discard(process)
    seconds = time.monotonic() - began
    if _stopping.is_set():
        return Outcome("interrupted", code, seconds)
    if code < 0:
        return Outcome("crashed", code, seconds, signal_name(-code))
    return Outcome("passed" if code == 0 else "failed", code, seconds, "" if code == 0 else f"exit code {code}")


def text_of(command: list, limit: float = 20) -> str | None:
    """Standard output of a short command; None where it fails."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=limit, start_new_session=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def tail(path: pathlib.Path, most: int = 4000) -> str:
    """The last characters of a log."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return text[-most:]

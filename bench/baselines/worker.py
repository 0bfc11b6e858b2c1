"""Runs one library in its own process, which is idle while others are timed, so that thread pools do not compete.

Reads one JSON object a line: {"prepare": shape} or {"run": calls}; answers with one a line.
"""

from __future__ import annotations

import json
import sys
import time

from operands import operands, sampled_error


def reason_of(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, (NotImplementedError, ModuleNotFoundError)) else f"{type(error).__name__}: {text}"


def seconds_of_a_call(library, calls: int) -> float:
    """The first call of a turn wakes the threads and fills the caches, and is not timed."""
    library.run()
    if hasattr(library, "seconds"):
        return library.seconds(calls)
    start = time.perf_counter()
    for _ in range(calls):
        library.run()
    return (time.perf_counter() - start) / calls


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is not an answer
    library = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                from adapters import ADAPTERS

                library = library or ADAPTERS[sys.argv[1]].make(int(sys.argv[2]))
                q, k, v = operands(request["prepare"])
                library.prepare(q, k, v, request["prepare"]["causal"])
                library.run()
                answer = {"error": sampled_error(library.output(), q, k, v, request["prepare"]["causal"])}
            else:
                answer = {"seconds": seconds_of_a_call(library, request["run"])}
        except Exception as error:  # a library that cannot take part is listed with its reason
            answer = {"refused": reason_of(error)}
            if isinstance(error, ModuleNotFoundError):
                answer["module"] = error.name
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

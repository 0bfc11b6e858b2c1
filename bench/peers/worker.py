"""One contender in a process of its own: idle while others are timed, so that no pool spins beside another.

Reads one JSON object a line: {"prepare": {shape, causal, seed}} or {"run": calls}; answers with one a line.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from contenders import CONTENDERS


def problem(shape: dict, seed: int = 0) -> list[np.ndarray]:
    """N(0, 1) operands [B, H, N, D], the same for every contender."""
    rng = np.random.default_rng(seed)
    dims = [(shape["batch"], shape["heads"], shape[rows], shape["head_dim"])
            for rows in ("seqlen_q", "seqlen_k", "seqlen_k")]
    return [rng.standard_normal(d, dtype=np.float32) for d in dims]


def sampled_error(out: np.ndarray, q, k, v, causal: bool) -> float:
    """Relative L2 against float64 on the first and last 32 query rows of the first and last head."""
    m, n, d = q.shape[2], k.shape[2], q.shape[3]
    rows = sorted(set(range(min(32, m))) | set(range(max(0, m - 32), m)))
    wrong = right = 0.0
    for head in {0, q.shape[1] - 1}:
        s = q[0, head, rows].astype(np.float64) @ k[0, head].astype(np.float64).T / np.sqrt(d)
        if causal:
            s[np.arange(n)[None, :] > np.array(rows)[:, None] + n - m] = -np.inf
        p = np.exp(s - s.max(axis=1, keepdims=True))
        o = p / p.sum(axis=1, keepdims=True) @ v[0, head].astype(np.float64)
        wrong += np.square(out[0, head, rows] - o).sum()
        right += np.square(o).sum()
    return float(np.sqrt(wrong / right))


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is not an answer
    contender = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                contender = contender or CONTENDERS[sys.argv[1]](int(sys.argv[2]))
                shape = request["prepare"]
                q, k, v = problem(shape)
                contender.prepare(q, k, v, shape["causal"])
                contender.run()
                answer = {"error": sampled_error(contender.output(), q, k, v, shape["causal"])}
            else:
                start = time.perf_counter()
                for _ in range(request["run"]):
                    contender.run()
                answer = {"seconds": (time.perf_counter() - start) / request["run"]}
        except Exception as reason:  # a contender that cannot take part is listed with its reason
            answer = {"refused": f"{type(reason).__name__}: {reason}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Attention over keys in several parts: each part gives its output and log-sum-exp, and the results are merged."""

import numpy as np

import octavo


def main():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, rows, 4, 64), dtype=np.float32) for rows in (128, 1024, 1024))

    o, lse = octavo.attention(q, k[:, :256], v[:, :256], return_lse=True)
    for start in range(256, 1024, 256):
        part = slice(start, start + 256)
        o, lse = octavo.merge_state(o, lse, *octavo.attention(q, k[:, part], v[:, part], return_lse=True))

    whole = octavo.attention(q, k, v, recipe="exact")
    error = np.linalg.norm(o - whole) / np.linalg.norm(whole)
    print(f"four parts against exact attention over all keys: {100 * error:.2f} %")
    assert error < 0.03


if __name__ == "__main__":
    main()

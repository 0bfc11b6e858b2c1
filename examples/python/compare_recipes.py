"""Runs every recipe on your tensors; prints its error against exact attention and the implementation used.

    python examples/python/compare_recipes.py [Q.npy K.npy V.npy]     arrays [batch, seqlen, heads, head_dim]
"""

import sys

import numpy as np

import octavo


def tensors():
    if len(sys.argv) == 4:
        return [np.load(path) for path in sys.argv[1:]]
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, 512, heads, 64), dtype=np.float32) for heads in (6, 2, 2)]


def main():
    q, k, v = tensors()
    exact = octavo.attention(q, k, v, recipe="exact", causal=True, out_dtype=np.float32)
    for name in octavo.recipes():
        try:
            o = octavo.attention(q, k, v, recipe=name, causal=True, out_dtype=np.float32)
        except NotImplementedError:
            print(f"{name:18} has no kernel in this build; use octavo.reference.attention")
            continue
        error = np.linalg.norm(o - exact) / np.linalg.norm(exact)
        print(f"{name:18} {100 * error:8.3f} %   {octavo.info()['last_implementation']}")


if __name__ == "__main__":
    main()

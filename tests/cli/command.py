"""Shared by the command-line tests: running the tool, tensor files, and attention from its definition."""

import array
import ast
import json
import math
import os
import random
import struct
import subprocess
import tempfile
import unittest

TOOL = os.environ["OCTAVO_TOOL"]
# Seconds a command may take; a sanitizer makes it ten times slower (scripts/sanitize.sh says so).
TIME_LIMIT = 120 * float(os.environ.get("OCTAVO_TEST_PATIENCE", "1"))


def run(*arguments, env=None, **options):
    """The finished process; stdout and stderr as text."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OCTAVO_")}
    environment.update(env or {})
    return subprocess.run([TOOL, *map(str, arguments)], capture_output="stdout" not in options, text=True,
                          env=environment, timeout=TIME_LIMIT, **options)


class CommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "--json", "-", **options))

    def fails(self, code, words, *arguments, **options):
        """The command exits with `code`, with a message on stderr and nothing on stdout."""
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, done.stderr)


SHAPE = M, N, HQ, HKV, D, DV = (5, 9, 4, 2, 8, 6)


class AttentionTest(CommandTest):
    """Q [1, M, HQ, D], K and V [1, N, HKV, D or DV] of N(0, 1), as lists and as files; self.files names these."""

    def setUp(self):
        super().setUp()
        self.q, self.k, self.v = normal(M * HQ * D, 1), normal(N * HKV * D, 2), normal(N * HKV * DV, 3)
        for name, shape, values in (("q", (1, M, HQ, D), self.q), ("k", (1, N, HKV, D), self.k),
                                    ("v", (1, N, HKV, DV), self.v)):
            write_npy(self.path(name + ".npy"), shape, values)
        self.files = [x for n in "qkv" for x in ("--" + n, self.path(n + ".npy"))]


def write_npy(path, shape, values):
    header = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(shape)})
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.write(array.array("f", values).tobytes())


def read_npy(path):
    """(shape, values) of an f32 file."""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:10 + length].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    return header["shape"], array.array("f", data[10 + length:]).tolist()


def write_safetensors(path, tensors, metadata=None):
    """tensors: {name: (dtype, shape, bytes)}"""
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def read_safetensors(path):
    """({name: (dtype, shape, bytes)}, metadata)"""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    body = data[8 + length:]
    return {name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items()}, metadata


def normal(count, seed):
    source = random.Random(seed)
    return array.array("f", [source.gauss(0, 1) for _ in range(count)]).tolist()


def attention(q, k, v, shape, causal=False, score=lambda h, i, j, s: s, sinks=None):
    """NHD lists, shape (M, N, Hq, Hkv, D, Dv) -> (O [M, Hq, Dv], LSE [Hq, M]), bottom-right diagonal.

    score(h, i, j, s) is the score of row i and key j after s = q.k / sqrt(D); None: the row does not see the key.
    """
    rows, keys, q_heads, kv_heads, dim, value_dim = shape
    out, lse = [0.0] * (rows * q_heads * value_dim), [-math.inf] * (q_heads * rows)
    for h in range(q_heads):
        g = h // (q_heads // kv_heads)
        for i in range(rows):
            visible = min(keys, i + keys - rows + 1) if causal else keys
            scores = [score(h, i, j, sum(q[(i * q_heads + h) * dim + d] * k[(j * kv_heads + g) * dim + d]
                                         for d in range(dim)) / math.sqrt(dim)) for j in range(visible)]
            weights = {j: math.exp(s) for j, s in enumerate(scores) if s is not None}
            total = sum(weights.values()) + (math.exp(sinks[h]) if sinks else 0)
            if total == 0:
                continue
            lse[h * rows + i] = math.log(total)
            for d in range(value_dim):
                out[(i * q_heads + h) * value_dim + d] = sum(
                    w * v[(j * kv_heads + g) * value_dim + d] for j, w in weights.items()) / total
    return out, lse


def swapped(values, a, b, dim):
    """[a, b, dim] -> [b, a, dim]"""
    return [values[(i * b + j) * dim + d] for j in range(b) for i in range(a) for d in range(dim)]


def relative_l2(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / sum(y * y for y in b))

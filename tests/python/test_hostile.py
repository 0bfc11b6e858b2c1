"""Adversarial inputs: NaN, infinities, huge and tiny numbers, absurd shapes, calls in a forked child.

Nothing crashes or hangs, and no finite number that comes out is wrong.
"""

import functools
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import CPUS
from oracle import softmax_attention
from test_semantics import KERNELS, RECIPES

import octavo

ROWS, KEYS, HEADS, DIM = 40, 150, 2, 16
POISONS = [np.nan, np.inf, -np.inf]
PER_TOKEN = [name for name in RECIPES if octavo.recipe(name).k_scale == "token" or name == "exact"]


def make_operands():
    rng = np.random.default_rng(7)
    q = rng.standard_normal((1, ROWS, HEADS, DIM)).astype(np.float32)
    return q, *(rng.standard_normal((1, KEYS, 1, DIM)).astype(np.float32) for _ in range(2))


@pytest.fixture
def operands():
    return make_operands()


def rows_of(o):
    """[1, M, H, D] -> which rows are all finite, which are all NaN; [1, H, M]."""
    o = o.astype(np.float32).swapaxes(1, 2)
    return np.isfinite(o).all(-1), np.isnan(o).all(-1)


class Clean:
    """Causal attention on clean inputs, and the row errors of the recipe on the reference."""

    def __init__(self, recipe):
        operands = make_operands()
        self.expected, _ = softmax_attention(*operands, causal=True)
        self.room = 3 * self.errors(octavo.reference.attention(*operands, recipe=recipe, causal=True)).max()

    def errors(self, o):
        """Relative L2 of each row; [1, H, M]."""
        distance = np.linalg.norm(o - self.expected, axis=-1) / np.linalg.norm(self.expected, axis=-1)
        return distance.swapaxes(1, 2)

    def right(self, o):
        """Rows whose error is about that of the recipe; [1, H, M]."""
        return self.errors(o) <= max(self.room, 1e-5)


clean_of = functools.cache(Clean)


@pytest.mark.parametrize("recipe", PER_TOKEN)
def test_poison_in_a_query_stays_in_its_row(implementation, operands, recipe):
    q, k, v = operands
    poisoned = np.zeros((1, HEADS, ROWS), bool)
    poisoned[0, 1, 7] = True
    for poison in POISONS:
        q[0, 7, 1, 3] = poison
        o, lse = octavo.attention(q, k, v, recipe=recipe, causal=True, return_lse=True)
        finite, nan = rows_of(o)
        assert np.array_equal(nan, poisoned) and np.array_equal(finite, ~poisoned), poison
        assert np.array_equal(np.isnan(lse), poisoned), poison
        assert np.all(clean_of(recipe).right(o)[~poisoned]), poison


@pytest.mark.parametrize("recipe", PER_TOKEN)
def test_poison_in_a_key_reaches_the_rows_that_see_it(implementation, operands, recipe):
    q, k, v = operands
    key = KEYS - ROWS + 20  # seen by rows 20 and later
    mask = np.ones((ROWS, KEYS), bool)
    mask[30, key] = False  # and not by this one
    sees = np.arange(ROWS) >= 20
    sees[30] = False
    for poison in POISONS:
        k[0, key, 0, 3] = poison
        o, lse = octavo.attention(q, k, v, recipe=recipe, causal=True, mask=mask, return_lse=True)
        finite, nan = rows_of(o)
        assert np.array_equal(nan, np.broadcast_to(sees, nan.shape)) and np.array_equal(finite, ~nan), poison
        assert np.array_equal(np.isnan(lse), nan), poison
        assert np.all(clean_of(recipe).right(o)[..., :20]), poison


@pytest.mark.parametrize("recipe", RECIPES)
def test_poison_in_a_key_is_never_finite_and_wrong(implementation, operands, recipe):
    """With scales that keys share, more rows than see the key may be NaN; those that see it always are."""
    q, k, v = operands
    for poison in POISONS:
        k[0, KEYS - ROWS + 20, 0, 3] = poison
        o = octavo.attention(q, k, v, recipe=recipe, causal=True)
        finite, _ = rows_of(o)
        assert not np.any(finite[..., 20:]), poison
        assert np.all(clean_of(recipe).right(o)[finite]), poison


@pytest.mark.parametrize("recipe", RECIPES)
def test_poison_in_a_value_is_never_finite_and_wrong(implementation, operands, recipe):
    q, k, v = operands
    for poison in POISONS:
        v[0, KEYS - ROWS + 20, 0, 3] = poison
        o = octavo.attention(q, k, v, recipe=recipe, causal=True)
        finite, _ = rows_of(o)
        assert not np.any(finite[..., 20:]), poison
        assert np.all(clean_of(recipe).right(o)[finite]), poison


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_everything_poisoned(implementation, operands, recipe, name):
    x = operands["qkv".index(name)]
    for poison in POISONS:
        x[...] = poison
        o = octavo.attention(*operands, recipe=recipe, window=(3, 3), return_lse=True)[0]
        assert not np.any(np.isfinite(o)), poison


def huge(q, k, v):
    """Name -> operands whose scores and outputs an f32 holds."""
    big, tiny = np.float32(1e30), np.float32(1e-40)
    return {
        "huge q": (q * big, k, v),
        "huge k": (q, k * big, v),
        "huge v": (q, k, v * big),
        "huge q, tiny k": (q * big, k * np.float32(1e-30), v),
        "one huge key": (q, np.concatenate([k[:, :1] * big, k[:, 1:]], 1), v),
        "one huge value": (q, k, np.concatenate([v[:, :1] * big, v[:, 1:]], 1)),
        "denormal q": (q * tiny, k, v),
        "denormal k": (q, k * tiny, v),
        "denormal everything": (q * tiny, k * tiny, v * tiny),
        "zeros": (q * 0, k * 0, v * 0),
    }


@pytest.mark.parametrize("name", list(huge(*(np.zeros((1, 2, 1, 1)),) * 3)))
@pytest.mark.parametrize("recipe", RECIPES)
def test_huge_and_tiny(operands, recipe, name):
    """Finite in, finite out, and close to the reference."""
    given = huge(*operands)[name]
    wanted, wanted_lse = octavo.reference.attention(*given, recipe=recipe, return_lse=True)
    assert np.all(np.isfinite(wanted)) and np.all(np.isfinite(wanted_lse))
    largest = max(np.abs(wanted).max(), 1e-30)
    for kernel in KERNELS:
        with octavo.implementation(kernel):
            o, lse = octavo.attention(*given, recipe=recipe, return_lse=True)
        assert np.all(np.isfinite(o)) and np.all(np.isfinite(lse)), kernel
        assert np.abs(o / largest - wanted / largest).max() < 0.02, kernel
        # Scores of 1e30 that cancel leave what f32 rounds off them.
        room = 0.05 + 1e-6 * np.abs(wanted_lse).max()
        np.testing.assert_allclose(lse, wanted_lse, rtol=1e-3, atol=room, err_msg=kernel)


@pytest.mark.parametrize("recipe", RECIPES)
def test_scores_beyond_f32(implementation, operands, recipe):
    """q.k of 1e60: it overflows f32. The result is NaN or the value of the one remaining key."""
    q, k, v = operands
    o, _ = octavo.attention(q * np.float32(1e30), k * np.float32(1e30), v, recipe=recipe, return_lse=True)
    expected, _ = softmax_attention(q.astype(np.float64) * 1e30, k.astype(np.float64) * 1e30, v)
    finite, nan = rows_of(o)
    assert np.all(finite | nan)
    if recipe == "exact":  # a coarser one may find another key of nearly the same score
        np.testing.assert_allclose(o.swapaxes(1, 2)[finite], expected.swapaxes(1, 2)[finite], rtol=1e-5)


def test_mask_poison(implementation, operands):
    mask = np.zeros((ROWS, KEYS), np.float32)
    mask[3, 5], mask[4, 5], mask[5, 5] = np.nan, np.inf, -np.inf
    for recipe in ("exact", "int8"):
        _, nan = rows_of(octavo.attention(*operands, recipe=recipe, mask=mask))
        assert np.array_equal(np.flatnonzero(nan[0, 0]), [3, 4])


# Lengths that no memory holds, as views of one number. In a child, with a limit, for the sake of the machine.
ABSURD = """
import resource
import numpy as np
import octavo

resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
one = np.float32(1)

def call(q, k, v=None, f=octavo.attention, **keywords):
    arrays = (np.broadcast_to(one, shape) for shape in (q, k, v or k))
    try:
        result = f(*arrays, **keywords)
        return type(result).__name__
    except Exception as error:
        return type(error).__name__

size = octavo.workspace_size
big = 2**40
for recipe in ("exact", "int8"):
    print(
        call((1, 3, 1, 577), (1, 3, 1, 577), recipe=recipe),
        call((1, 3, 1, 10**6), (1, 3, 1, 10**6), recipe=recipe),
        call((1, 3, 1, 8), (1, 3, 1, 8), (1, 3, 1, 577), recipe=recipe),
        call((1, big, 1, 8), (1, 4, 1, 8), recipe=recipe),
        call((1, 4, 1, 8), (1, big, 1, 8), recipe=recipe),
        call((1, 4, 1, 8), (1, big, 1, 8), recipe=recipe, f=size),
        call((1, 4, 1, 1), (1, 2**60, 1, 1), recipe=recipe),
        call((big, 0, 1, 8), (big, 4, 1, 8), recipe=recipe),
        call((1, 0, 2**30, 8), (1, 4, 2**30, 8), recipe=recipe),
        call((1, 4, 1, 8), (1, big, 1, 8), recipe=recipe, kv_lens=np.array([100])),
        call((1, 4, 1, 8), (1, 5, 1, 8), recipe=recipe, window=(2**63 - 1, 2**200), causal=True),
        call((1, 4, 1, 8), (1, 5, 1, 8), recipe=recipe, kv_lens=np.array([2**62])),
        call((4, 1, 8), (5, 1, 8), recipe=recipe, cu_seqlens_q=np.array([0, 2**62]), cu_seqlens_k=np.array([0, 5])),
        call((4, 1, 8), (5, 1, 8), recipe=recipe, cu_seqlens_q=np.array([0, 4]), cu_seqlens_k=np.array([-5, 5])),
    )
"""


def test_absurd_shapes():
    done = subprocess.run([sys.executable, "-c", ABSURD], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expected = ("NotImplementedError NotImplementedError NotImplementedError MemoryError MemoryError int ValueError "
                "ndarray ndarray ndarray ndarray ValueError ValueError ValueError")  # fmt: skip
    assert done.stdout.splitlines() == [expected, expected]


FORKED = """
import os, signal, threading
import numpy as np
import octavo

rng = np.random.default_rng(0)
q = rng.standard_normal((1, 200, 4, 32)).astype(np.float32)
k, v = (rng.standard_normal((1, 300, 2, 32)).astype(np.float32) for _ in range(2))
octavo.set_num_threads(3)
expected = octavo.attention(q, k, v, causal=True)
stop = threading.Event()

def work():
    while not stop.is_set():
        octavo.attention(q, k, v, causal=True)

busy = threading.Thread(target=work)  # the pool is at work at the very moment of the fork
busy.start()
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = all(np.array_equal(octavo.attention(q, k, v, causal=True), expected) for _ in range(3))
        os._exit(0 if same else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
stop.set()
busy.join()
print(codes, np.array_equal(octavo.attention(q, k, v, causal=True), expected))
"""


def test_fork_during_and_after_use():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{[0] * 8} True"


def test_concurrent_calls_of_every_kind(rng):
    """Options, errors, implementations, quantizing and thread counts concurrently: each call has its own result."""
    q = rng.standard_normal((1, 50, 4, 32)).astype(np.float32)
    k, v = (rng.standard_normal((1, 90, 2, 32)).astype(np.float32) for _ in range(2))
    mask = rng.random((50, 90)) < 0.7

    def on(name, **given):
        with octavo.implementation(name):
            return octavo.attention(q, k, v, **given)

    def refused():
        with pytest.raises(ValueError, match="mask has shape"):
            octavo.attention(q, k, v, mask=mask[:-1])
        return np.zeros(1)

    jobs = [lambda name=name, r=r: on(name, recipe=r, mask=mask) for name in CPUS for r in ("exact", "int8")]
    jobs += [lambda: on("", causal=True), lambda: octavo.quantize(k, role="k").codes, refused]
    expected = [job() for job in jobs]
    wrong = []

    def work(n):
        for turn in range(12):
            if n == 0:
                octavo.set_num_threads(1 + turn % 4)
            i = (n * 5 + turn) % len(jobs)
            if not np.array_equal(jobs[i](), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert not wrong and not any(worker.is_alive() for worker in workers)
    finally:
        octavo.set_num_threads(0)

"""Shared by all Python tests: seeded data, every implementation, and torch, which CI requires."""

import importlib
import os

import numpy as np
import pytest

import octavo

# CUDA's refuse the NumPy arrays of these tests.
CPUS = [entry["name"] for entry in octavo.info()["implementations"] if entry["supported"] and entry["device"] == "cpu"]


@pytest.fixture(params=CPUS)
def implementation(request):
    """Calls of the test run on each CPU implementation that this machine has, the reference included."""
    with octavo.implementation(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def qkv(rng):
    """A small NHD problem with GQA and M != N: q [2, 5, 4, 16], k [2, 9, 2, 16], v [2, 9, 2, 24]."""
    shapes = ((2, 5, 4, 16), (2, 9, 2, 16), (2, 9, 2, 24))
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def required(name):
    """The module, which CI requires; elsewhere its absence skips the test."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("OCTAVO_REQUIRE_TORCH") == "1":
            pytest.fail(f"OCTAVO_REQUIRE_TORCH=1, and {name} cannot be imported: {error}")
        pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def torch():
    return required("torch")


@pytest.fixture(scope="module")
def one_torch_thread(torch):
    """For small models: on a busy machine, waiting for a second thread takes longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

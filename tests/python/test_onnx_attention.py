"""ONNX's own node tests of the operator Attention, with the expected outputs of ONNX."""

import os
import warnings

import numpy as np
import pytest
from conftest import CPUS
from onnx_operator import call_of, inputs_of, output_of
from oracle import relative_error

import octavo

COUNT = 93  # of onnx 1.23
# What Y's values do not show, by output: octavo hands out neither scores nor weights, and joining a past to new keys is
# the caller's (or, later, a cache's) business. Y itself is checked in all of them.
NOT_EXPRESSED = {"qk_matmul_output": 18, "present_key": 21, "present_value": 21}

# Relative L2 against outputs that ONNX's reference rounds to the operands' dtype at every step.
EXACT = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.5e-2}
COSINE = 0.99


def collect():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx makes the cases of all operators, overflows included
            from onnx.backend.test.case.node import collect_testcases

            cases = collect_testcases("Attention")
    except ImportError as error:
        return {}, error
    # Each comes twice: the node, and the function that it stands for.
    return {c.name: c for c in cases if [n.op_type for n in c.model.graph.node] == ["Attention"]}, None


CASES, MISSING = collect()


def test_onnx_is_there():
    if MISSING is not None:
        if os.environ.get("OCTAVO_REQUIRE_ONNX") == "1":
            pytest.fail(f"OCTAVO_REQUIRE_ONNX=1, and onnx cannot be imported: {MISSING}")
        pytest.skip("onnx is not installed")
    import onnx

    assert len(CASES) == COUNT, f"onnx {onnx.__version__} has {len(CASES)} cases of Attention; known are 1.23's {COUNT}"
    assert {str(c.data_sets[0][0][0].dtype) for c in CASES.values()} == set(EXACT)


@pytest.mark.skipif(MISSING is not None, reason="onnx is not installed")
def test_what_is_not_expressed():
    counts = {}
    for case in CASES.values():
        for name in filter(None, case.model.graph.node[0].output):
            counts[name] = counts.get(name, 0) + 1
    assert counts.pop("Y") == COUNT
    assert counts == NOT_EXPRESSED


@pytest.mark.parametrize("name", CASES)
def test_exact(name):
    check(name, "exact", lambda y, expected: relative_error(y, expected) <= EXACT[str(expected.dtype)])


@pytest.mark.parametrize("name", CASES)
def test_int8(name):
    def close(y, expected):
        y, expected = (x.astype(np.float64).ravel() for x in (y, expected))
        return y @ expected >= COSINE * np.linalg.norm(y) * np.linalg.norm(expected)

    check(name, "int8", close)


def check(name, recipe, close):
    """Y of a case on every implementation; rows without visible keys are exactly 0."""
    case = CASES[name]
    node = case.model.graph.node[0]
    for arrays, outputs in case.data_sets:
        operands, keywords = call_of(node, arrays)
        expected = outputs[0]
        for implementation in CPUS:
            with octavo.implementation(implementation):
                y = output_of(octavo.attention(*operands, recipe=recipe, **keywords), expected)
            assert y.dtype == expected.dtype and y.shape == expected.shape
            assert np.all(np.isfinite(y.astype(np.float32))), implementation
            assert close(y, expected), implementation
            dark = np.all(expected == 0, axis=-1)
            assert np.all(y[dark] == 0), implementation


@pytest.mark.parametrize("name", [name for name in CASES if "past" in name])
def test_past_and_present(name):
    """The keys of the call are ONNX's present_key and present_value, bit for bit."""
    case = CASES[name]
    node = case.model.graph.node[0]
    names = [output for output in node.output if output]
    for arrays, outputs in case.data_sets:
        assert "past_key" in inputs_of(node, arrays)
        (_, k, v), _ = call_of(node, arrays)
        assert np.array_equal(k, outputs[names.index("present_key")])
        assert np.array_equal(v, outputs[names.index("present_value")])

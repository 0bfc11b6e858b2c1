"""Array types: views of every type give the bits of their dense copies, and inputs are not modified."""

import ctypes
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import octavo


def transposed(x):
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


def fortran(x):
    return np.asfortranarray(x)


def gaps(x):
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def offset(x):
    padded = np.full((x.shape[0], x.shape[1] + 3, *x.shape[2:]), np.nan, x.dtype)
    padded[:, 2:-1] = x
    return padded[:, 2:-1]


def negative(x):
    return np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def field(x):
    """A field of unaligned records: strides that are not multiples of the element size."""
    records = np.zeros(x.shape, dtype=[("flag", "u1"), ("value", x.dtype)])
    records["value"] = x
    return records["value"]


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def buffer(x):
    return memoryview(np.ascontiguousarray(x))


def ctypes_buffer(x):
    """The buffer protocol without NumPy."""
    kind = ctypes.c_float
    for extent in reversed(x.shape):
        kind = kind * extent
    return kind.from_buffer_copy(np.ascontiguousarray(x).tobytes())


class Dlpack:
    """Only DLPack."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **keywords):
        return self.x.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


VIEWS = [transposed, fortran, gaps, offset, negative, read_only, field, unaligned, buffer, ctypes_buffer, Dlpack]


@pytest.mark.parametrize("recipe", ["exact", "int8"])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_views_give_the_bits_of_dense_arrays(implementation, qkv, view, recipe):
    expected = octavo.attention(*qkv, recipe=recipe, causal=True)
    o = octavo.attention(*(view(x) for x in qkv), recipe=recipe, causal=True)
    assert type(o) is np.ndarray and np.array_equal(o, expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("view", [transposed, gaps, negative, read_only, unaligned], ids=lambda view: view.__name__)
def test_views_of_16_bit_types(implementation, qkv, view, dtype):
    dense = [x.astype(dtype) for x in qkv]
    o = octavo.attention(*(view(x) for x in dense), recipe="exact")
    assert o.dtype == dense[0].dtype and np.array_equal(o, octavo.attention(*dense, recipe="exact"))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_views_of_the_options(implementation, qkv, rng, view):
    options = {
        "mask": rng.standard_normal((2, 4, 5, 9)).astype(np.float32),
        "alibi_slopes": rng.random((2, 4)).astype(np.float32),
        "sinks": rng.standard_normal(4).astype(np.float32),
    }
    if view in (transposed, negative, offset):  # views of four axes
        views = {"mask": view(options["mask"])}
    elif view is gaps:
        views = {name: gaps(x) for name, x in options.items()} | {"kv_lens": np.array([4, -1, 9, -1])[::2]}
    else:
        views = {name: view(x) for name, x in options.items()}
    dense = {name: x for name, x in options.items() if name in views}
    if "kv_lens" in views:
        dense["kv_lens"] = np.array([4, 9])
    expected = octavo.attention(*qkv, **dense, return_lse=True)
    actual = octavo.attention(*qkv, **views, return_lse=True)
    assert all(np.array_equal(a, b) for a, b in zip(actual, expected))


@pytest.mark.parametrize("view", [fortran, read_only, field, gaps], ids=lambda view: view.__name__)
def test_views_of_bool_masks(implementation, qkv, rng, view):
    mask = rng.random((5, 9)) < 0.5
    expected = octavo.attention(*qkv, mask=mask)
    if view is gaps:
        wide = np.ones((5, 18), bool)
        wide[:, ::2] = mask
        assert np.array_equal(octavo.attention(*qkv, mask=wide[:, ::2]), expected)
        assert np.array_equal(octavo.attention(*qkv, mask=wide[::-1, ::2][::-1]), expected)
    else:
        assert np.array_equal(octavo.attention(*qkv, mask=view(mask)), expected)


def test_broadcast_masks(implementation, qkv, rng):
    """Strides of 0: a mask of another shape's memory."""
    row = rng.standard_normal((1, 1, 1, 9)).astype(np.float32)
    expected = octavo.attention(*qkv, mask=np.ascontiguousarray(np.broadcast_to(row, (2, 4, 5, 9))))
    for mask in (row, row[0, 0, 0], np.broadcast_to(row, (2, 4, 5, 9)), np.broadcast_to(row, (1, 4, 1, 9))):
        assert np.array_equal(octavo.attention(*qkv, mask=mask), expected)


def test_broadcast_batch(qkv):
    q, k, v = qkv
    shared_k, shared_v = (np.broadcast_to(x[:1], x.shape) for x in (k, v))
    o = octavo.attention(q, shared_k, shared_v)
    assert np.array_equal(o, octavo.attention(q, shared_k.copy(), shared_v.copy()))


@pytest.mark.parametrize("recipe", ["exact", "int8", "int_flash"])
def test_inputs_are_not_modified(implementation, qkv, recipe):
    before = [x.copy() for x in qkv]
    mask = np.ones((5, 9), bool)
    octavo.attention(*qkv, recipe=recipe, mask=mask)
    octavo.quantize(qkv[1], role="k", recipe="int8")
    assert all(np.array_equal(a, b) for a, b in zip(qkv, before)) and mask.all()


def test_read_only_everywhere(implementation, qkv):
    extras = {"mask": np.ones((5, 9), bool), "sinks": np.zeros(4, np.float32), "kv_lens": np.array([9, 9])}
    for x in (*qkv, *extras.values()):
        x.flags.writeable = False
    assert np.all(np.isfinite(octavo.attention(*qkv, **extras)))


def test_jax_like_results(qkv):
    """An array-API producer receives its own array type."""

    class Namespace:
        @staticmethod
        def asarray(x):
            return Producer(x)

    class Producer(Dlpack):
        def __array_namespace__(self):
            return Namespace

    o, lse = octavo.attention(*(Producer(x) for x in qkv), return_lse=True)
    assert type(o) is Producer and type(lse) is Producer
    assert np.array_equal(o.x, octavo.attention(*qkv))
    quantized = octavo.quantize(Producer(qkv[0]), role="q", recipe="int8")
    assert type(quantized.codes) is Producer and type(quantized.scales) is Producer


def test_out_of_arrays_that_say_they_may_be_written(qkv):
    """As CuPy's do; JAX's say the opposite, and others say nothing."""

    class Array(Dlpack):
        read_only = False

        @property
        def __cuda_array_interface__(self):
            return {"data": (self.x.ctypes.data, self.read_only), "version": 3}

    expected = octavo.attention(*qkv)
    out = Array(np.zeros_like(expected))
    assert octavo.attention(*(Array(x) for x in qkv), out=out) is out
    assert np.array_equal(out.x, expected)
    out.read_only = True
    for fixed in (out, Dlpack(np.zeros_like(expected))):
        with pytest.raises(ValueError, match="out: .* cannot be written in place; .*CuPy"):
            octavo.attention(*qkv, out=fixed)


def test_masked_arrays_are_refused(qkv):
    q, k, v = qkv
    with pytest.raises(ValueError, match="masked array"):
        octavo.attention(np.ma.masked_greater(q, 1), k, v)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_no_framework_is_imported():
    result = run(
        "import sys, numpy, octavo\n"
        "x = numpy.ones((1, 3, 1, 8), numpy.float32)\n"
        "octavo.attention(x, x, x); octavo.quantize(x, role='k'); octavo.info()\n"
        "print([name for name in ('torch', 'jax', 'ml_dtypes', 'cupy') if name in sys.modules])"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_without_ml_dtypes():
    result = run(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import numpy, octavo\n"
        "x = numpy.ones((1, 3, 1, 8), numpy.float32)\n"
        "assert octavo.attention(x, x, x).dtype == numpy.float32\n"
        "v = octavo.quantize(x, role='v', recipe='sage2_8b')\n"
        "assert v.codes.dtype == numpy.uint8 and numpy.allclose(v.dequantize(), 1)\n"
        "try: octavo.attention(x, x, x, out_dtype='bfloat16')\n"
        "except ImportError as error: print(error)"
    )
    assert result.returncode == 0, result.stderr
    assert "ml_dtypes" in result.stdout


def test_codes_from_dlpack_only(qkv):
    made = octavo.quantize(qkv[1], role="k")
    wrapped = octavo.Quantized(*(Dlpack(x) for x in (made.codes, made.scales)), role="k", mean=Dlpack(made.mean))
    assert wrapped.shape == made.shape and wrapped.nbytes == made.nbytes
    assert np.array_equal(wrapped.dequantize(), made.dequantize())

"""Values as bytes, and back."""

import numpy as np
import pytest

from rlbook.backends.wire import Outcome, pack, pack_outcome, unpack, unpack_outcome

BASE = np.arange(24, dtype=np.float64).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [
        BASE,
        BASE[::2, 1::2],
        BASE.T,
        np.asfortranarray(BASE),
        np.asfortranarray(BASE)[1:],
        np.zeros((0,)),
        np.zeros((3, 0, 2), np.int8),
        np.array(3.5),
        np.arange(5, dtype=">i4"),
        np.array([True, False]),
        np.array(["α", "beta"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(7, dtype=np.uint8)[::-1],
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_arrays_come_back_equal_and_read_only(array):
    back = unpack(pack(array))
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    assert array.size == 0 or not back.flags.writeable


def test_arrays_of_objects_come_back():
    array = np.empty(2, dtype=object)
    array[:] = [{"a": 1}, None]
    assert unpack(pack(array)).tolist() == array.tolist()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        3.5,
        "",
        "naïve",
        b"",
        b"\0" * 1000,
        (),
        (1, ("two", b"three", None)),
        [1, [2, [3]]],
        {"a": {1, 2}, ("b",): 1j},
        bytearray(b"abc"),
        range(3),
        slice(1, None),
    ],
    ids=repr,
)
def test_plain_values_come_back_equal_with_their_types(value):
    back = unpack(pack(value))
    assert back == value and type(back) is type(value)


def test_tuples_of_a_subclass_keep_it():
    back = unpack(pack((Outcome(1), 2)))
    assert isinstance(back[0], Outcome)


def test_nested_arrays_keep_their_places():
    value = {"a": [BASE, {"b": BASE[0]}], "c": (np.zeros(0), BASE.T, 7)}
    back = unpack(pack(value))
    np.testing.assert_array_equal(back["a"][0], BASE)
    np.testing.assert_array_equal(back["a"][1]["b"], BASE[0])
    assert back["c"][0].shape == (0,) and back["c"][2] == 7
    np.testing.assert_array_equal(back["c"][1], BASE.T)


def test_array_contents_are_aligned_within_the_bytes():
    blob = pack([np.arange(n, dtype=np.uint8) for n in (1, 63, 64, 65)])
    start = np.frombuffer(blob, np.uint8).ctypes.data
    assert [(array.ctypes.data - start) % 64 for array in unpack(blob)] == [0, 0, 0, 0]


def test_unpacked_arrays_are_views_of_the_bytes():
    blob = pack([np.zeros(1000)])
    assert np.shares_memory(unpack(blob)[0], np.frombuffer(blob, np.uint8))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_can_be_unpacked(wrap):
    back = unpack(wrap(pack([BASE])))
    np.testing.assert_array_equal(back[0], BASE)
    assert not back[0].flags.writeable


def test_packing_does_not_touch_the_original():
    array = BASE.copy()
    pack(array)
    assert array.flags.writeable


def test_functions_and_classes_defined_here_and_now_travel():
    amount = 3

    class Adder:
        def __call__(self, x):
            return x + amount

    assert unpack(pack(lambda x: x * amount))(2) == 6
    assert unpack(pack(Adder()))(2) == 5


def test_an_outcome_that_cannot_be_sent_says_so():
    with pytest.raises(TypeError, match="result of type generator cannot be sent"):
        unpack_outcome(pack_outcome(Outcome(x for x in ()))).unwrap()


def test_an_exception_that_cannot_be_sent_says_so():
    error = ValueError(x for x in ())
    with pytest.raises(TypeError, match="exception of type ValueError cannot be sent"):
        unpack_outcome(pack_outcome(Outcome(error=error))).unwrap()

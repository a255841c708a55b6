"""Batches in parts: their sizes, and that their gradients are added up in order."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from rlbook.gradients import Gradients, add_up, split


class Pair(NamedTuple):
    obs: Any
    actions: Any


def batch(size):
    return Pair(np.arange(2 * size).reshape(size, 2), np.arange(size))


def test_parts_are_of_equal_size_or_differ_by_one():
    for size in [*range(1, 70), 512]:
        for parts in (1, 2, 3, 4, 5, 7, 8, 13, 16, 64):
            sizes = [len(part.actions) for part in split(batch(size), parts)]
            assert len(sizes) == parts and sum(sizes) == size
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_parts_one_after_the_other_are_the_batch(parts):
    whole = batch(10)
    found = split(whole, parts)
    assert all(type(part) is Pair for part in found)
    for name in Pair._fields:
        joined = np.concatenate([getattr(part, name) for part in found])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def gradients(*numbers, errors=(0.0,)):
    return Gradients(np.array(numbers, np.float32), np.array(errors, np.float32))


def test_parts_are_added_up_from_the_first_to_the_last():
    """In float32, 1 is lost beside 1e8: so the order can be seen."""
    parts = [gradients(1e8), gradients(1.0), gradients(-1e8)]
    assert add_up(parts).vector.tolist() == [0.0]
    assert add_up([parts[0], parts[2], parts[1]]).vector.tolist() == [1.0]
    assert add_up(iter(parts)).vector.dtype == np.float32


def test_errors_follow_one_another():
    found = add_up([gradients(1, 2, errors=(0.5, -1)), gradients(10, 20, errors=(3,))])
    assert found.vector.tolist() == [11, 22]
    assert found.errors.tolist() == [0.5, -1, 3]


def test_the_parts_stay_what_they_are():
    parts = [gradients(1.0), gradients(2.0)]
    add_up(parts)
    assert [part.vector.tolist() for part in parts] == [[1.0], [2.0]]


def test_tensors_are_added_up_too_and_become_arrays_to_travel():
    parts = [Gradients(torch.ones(2), np.zeros(1, np.float32)), gradients(1, 2)]
    total = add_up([parts[0], parts[0]])
    assert isinstance(total.vector, torch.Tensor)
    assert isinstance(total.as_arrays().vector, np.ndarray)
    assert total.as_arrays().vector.tolist() == [2, 2]
    assert parts[1].as_arrays() is parts[1]

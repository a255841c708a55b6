"""Targets and losses of action values, against definitions, rlax's numbers and torch's autograd."""

import numpy as np
import pytest
import torch

from rlbook.ops.value_learning import (
    double_q_learning_targets,
    huber_gradient,
    huber_loss,
    q_learning_targets,
    take,
)


def random_batch(seed=1):
    """Returns, discounts of which half are 0, and two tables of action values."""
    rng = np.random.default_rng(seed)
    returns, discounts = rng.normal(size=50), 0.9 * (rng.random(50) < 0.5)
    return returns, discounts, *rng.normal(size=(2, 50, 3))


def test_targets_against_the_definition():
    returns, discounts, next_values, _ = random_batch()
    found = q_learning_targets(returns, discounts, next_values)
    expected = [
        g if d == 0 else g + 0.9 * max(values)
        for g, d, values in zip(returns, discounts, next_values, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_double_targets_against_the_definition():
    """One network chooses the action, and the other one says what it is worth."""
    returns, discounts, judge, picker = random_batch()
    found = double_q_learning_targets(returns, discounts, judge, picker)
    expected = [
        g + d * values[list(choices).index(max(choices))]
        for g, d, values, choices in zip(returns, discounts, judge, picker, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found < q_learning_targets(returns, discounts, judge)).any()
    np.testing.assert_array_equal(
        double_q_learning_targets(returns, discounts, judge, judge),
        q_learning_targets(returns, discounts, judge),
    )


def test_the_numbers_of_rlaxs_q_learning():
    """rlax, `value_learning_test.py`, `QLearningTest`: the TD errors are 0 and 1."""
    targets = q_learning_targets(
        np.array([1.0, 1.0]), np.array([0.0, 1.0]), np.array([[0.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    )
    values = take(np.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]]), np.array([0, 1]))
    assert (targets - values).tolist() == [0.0, 1.0]


def test_the_numbers_of_rlaxs_double_q_learning():
    """rlax, `value_learning_test.py`, `DoubleQLearningTest`: the TD errors are 0 and 1."""
    judge = np.array([[99.0, 1.0, 98.0], [91.0, 2.0, 66.0]])
    picker = np.array([[2.0, 10.0, 1.0], [11.0, 20.0, 1.0]])
    values = take(judge, picker.argmax(axis=1))
    assert values.tolist() == [1.0, 2.0]
    targets = double_q_learning_targets(np.array([1.0, 1.0]), np.array([0.0, 1.0]), judge, picker)
    assert (targets - [1.0, 2.0]).tolist() == [0.0, 1.0]


def test_targets_keep_the_numbers_of_networks():
    batch = [column.astype(np.float32) for column in random_batch()]
    assert q_learning_targets(*batch[:3]).dtype == np.float32
    assert double_q_learning_targets(*batch).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4)])
def test_one_entry_of_each_row_is_taken(shape):
    values, actions = np.random.default_rng(0).normal(size=shape), np.array([0, 2, 1, 1, 0])
    expected = np.array([values[row, action] for row, action in enumerate(actions)])
    np.testing.assert_array_equal(take(values, actions), expected)
    assert torch.equal(take(torch.from_numpy(values), actions), torch.from_numpy(expected))


ERRORS = np.array([-30, -1.5, -1, -0.5, -1e-4, 0, 1e-4, 0.25, 1, 1.0001, 7], np.float32)


def test_the_loss_is_that_of_huber():
    """Mnih et al. clip the error; this is the loss of which that is the gradient."""
    expected = [e * e / 2 if abs(e) <= 1 else abs(e) - 0.5 for e in ERRORS.tolist()]
    np.testing.assert_allclose(huber_loss(ERRORS), expected, rtol=1e-6)
    tensor = torch.from_numpy(ERRORS)
    theirs = torch.nn.functional.huber_loss(tensor, torch.zeros(len(ERRORS)), reduction="none")
    torch.testing.assert_close(huber_loss(tensor), theirs)


def test_the_gradient_is_what_autograd_makes_of_the_loss():
    ours, theirs = (torch.from_numpy(ERRORS.copy()).requires_grad_() for _ in range(2))
    huber_loss(ours).sum().backward()
    torch.nn.functional.huber_loss(theirs, torch.zeros(len(ERRORS)), reduction="sum").backward()
    found = huber_gradient(ERRORS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.grad.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found, ours.grad.numpy(), rtol=1e-6)

"""Distributions of returns: the projection against its paper's algorithm 1 and published tests."""

import math

import numpy as np
import pytest
import torch

from rlbook.ops import distributional
from rlbook.ops.distributional import (
    action_values,
    cross_entropy_gradient,
    cross_entropy_loss,
    divergence,
    project_distribution,
    softmax,
)


def project(support, returns, discounts, probabilities):
    """`project_distribution` of lists."""
    return project_distribution(
        *(np.asarray(each, np.float32) for each in (support, returns, discounts, probabilities))
    )


def algorithm_1(support, returns, discounts, probabilities):
    """Bellemare, Dabney and Munos (2017), algorithm 1, in float64, line by line.

    Where b is whole, l and u are the same there and p is lost; here, as everywhere, it is kept.
    """
    v_min, v_max, most = float(support[0]), float(support[-1]), len(support) - 1
    spacing = (v_max - v_min) / most
    projected = np.zeros(probabilities.shape)
    for m, r, gamma, p in zip(projected, returns, discounts, probabilities, strict=True):
        for j in range(len(support)):
            moved = min(max(float(r) + float(gamma) * float(support[j]), v_min), v_max)
            b = min((moved - v_min) / spacing, most)  # which rounding may take beyond
            lower, upper = math.floor(b), math.ceil(b)
            if lower == upper:
                m[lower] += float(p[j])
            else:
                m[lower] += float(p[j]) * (upper - b)
                m[upper] += float(p[j]) * (b - lower)
    return projected


def random_case(num_atoms, v_min, v_max, batch=64, seed=0):
    rng = np.random.default_rng(seed)
    support = np.linspace(v_min, v_max, num_atoms, dtype=np.float32)
    returns = rng.normal(scale=(v_max - v_min) / 3, size=batch).astype(np.float32)
    discounts = (rng.choice([0.0, 0.9, 0.99**3, 1.0], batch)).astype(np.float32)
    probabilities = rng.dirichlet(np.full(num_atoms, 0.5), batch).astype(np.float32)
    return support, returns, discounts, probabilities


# The projection


@pytest.mark.parametrize("num_atoms, v_min, v_max", [(2, 0, 1), (51, -10, 10), (101, -3, 200)])
def test_projection_against_algorithm_1(num_atoms, v_min, v_max):
    case = random_case(num_atoms, v_min, v_max)
    found = project_distribution(*case)
    assert found.dtype == np.float32 and found.shape == case[3].shape
    np.testing.assert_allclose(found, algorithm_1(*case), atol=2e-5)
    assert (found >= 0).all()


def test_the_compiled_projection_is_the_python_function():
    """The Python function raises an IndexError if it leaves the array; compiled code does not."""
    support, returns, discounts, probabilities = random_case(11, -1, 1)
    returns[:3], discounts[:3] = (1.0, 100.0, -100.0), (0.0, 1.0, 1.0)
    case = support, returns, discounts, probabilities
    np.testing.assert_allclose(
        project_distribution(*case), distributional._project(*case), atol=1e-6
    )


def test_no_probability_is_lost_and_none_is_made():
    case = random_case(51, -10, 10, batch=200, seed=1)
    np.testing.assert_allclose(project_distribution(*case).sum(axis=1), 1, atol=1e-5)
    *case, probabilities = case
    found = project_distribution(*case, 3 * probabilities)
    np.testing.assert_allclose(found.sum(axis=1), 3, atol=1e-5)


def test_the_mean_is_that_of_the_moved_atoms_where_none_is_clipped():
    support, returns, discounts, probabilities = random_case(51, -10, 10)
    returns, discounts = returns / 50, discounts * 0.9
    found = project_distribution(support, returns, discounts, probabilities) @ support
    np.testing.assert_allclose(found, returns + discounts * (probabilities @ support), atol=1e-4)


def test_atoms_that_land_exactly_on_atoms_keep_all_their_probability():
    """The paper's algorithm, taken literally, loses their probability."""
    p = [0.1, 0.2, 0.4, 0.3]
    support = [0, 1, 2, 3]
    assert project(support, [0], [1], [p]).tolist() == np.float32([p]).tolist()
    np.testing.assert_allclose(project(support, [1], [1], [p]), [[0, 0.1, 0.2, 0.7]])
    np.testing.assert_allclose(project(support, [-1], [1], [p]), [[0.3, 0.4, 0.3, 0]], rtol=1e-6)
    np.testing.assert_allclose(project(support, [1], [0], [p]), [[0, 1, 0, 0]])


@pytest.mark.parametrize("reward, atom", [(100.0, 3), (3.0, 3), (-100.0, 0), (0.0, 0)])
@pytest.mark.parametrize("discount", [0.0, 1e-9])
def test_what_would_lie_beyond_the_outermost_atoms_lies_on_them(reward, atom, discount):
    found = project([0, 1, 2, 3], [reward], [discount], [[0.25] * 4])
    np.testing.assert_allclose(found, [np.eye(4)[atom]], atol=1e-6)


@pytest.mark.parametrize("g, expected", [(0.75, [0.25, 0.75, 0]), (1.5, [0, 0.5, 0.5])])
def test_a_terminated_step_has_the_two_neighbours_of_its_return(g, expected):
    found = project([0, 1, 2], [g, g], [0, 0], [[0.2, 0.3, 0.5], [1, 0, 0]])
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-6)


# Literal numbers of dopamine's tests of its `project_distribution`. Their atoms may lie anywhere;
# those that are a return and a discount away from the target's can be said here too.
DOPAMINE = [
    ([0, 1, 2, 3, 4], 0, 1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.1, 0.2, 0.1, 0.3, 0.3]),
    ([3, 4, 5, 6, 7], -3, 1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.7, 0.3, 0, 0, 0]),
    ([3, 4, 5, 6, 7], 7, -1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.9, 0.1, 0, 0, 0]),
    ([3, 4, 5, 6, 7], -6, 2, [0.1, 0.2, 0.3, 0.2, 0.2], [0.3, 0.3, 0, 0.2, 0.2]),
    ([4, 5, 6, 7, 8], -8, 2, [0.1, 0.6, 0.1, 0.1, 0.1], [0.8, 0, 0.1, 0, 0.1]),
    ([0, 4, 8, 12, 16], 0, 0.5, [0.1, 0.2, 0.2, 0.2, 0.3], [0.2, 0.4, 0.4, 0, 0]),
]


@pytest.mark.parametrize("support, g, discount, probabilities, expected", DOPAMINE)
def test_the_numbers_of_dopamines_tests(support, g, discount, probabilities, expected):
    case = (support, [g], [discount], [probabilities])
    np.testing.assert_allclose(algorithm_1(*map(np.array, case)), [expected], atol=1e-12)
    np.testing.assert_allclose(project(*case), [expected], atol=1e-6)


def test_the_numbers_of_rlaxs_test_of_its_categorical_td_learning():
    """Cross-entropies of distributions over the atoms 0.5, 1 and 1.5."""
    support = np.array([0.5, 1.0, 1.5], np.float32)
    logits = np.array([[0, 9, 0], [9, 0, 9], [0, 9, 0], [9, 9, 0], [9, 0, 9]], np.float32)
    next_logits = np.array([[0, 0, 9], [1, 1, 1], [0, 0, 9], [1, 1, 1], [0, 9, 9]], np.float32)
    returns, discounts = [0.5, 0.0, 0.5, 0.8, -0.1], [0.8, 1.0, 0.8, 0.0, 1.0]
    expected = [8.998915, 3.6932087, 8.998915, 0.69320893, 5.1929307]

    target = project(support, returns, discounts, softmax(next_logits))
    np.testing.assert_allclose(-(target * np.log(softmax(logits))).sum(axis=1), expected, rtol=1e-5)
    entropy = -(target * np.log(np.maximum(target, 1e-30))).sum(axis=1)
    np.testing.assert_allclose(divergence(target, logits) + entropy, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (2,), (2,), (2, 4)),
        ((3,), (2,), (2,), (1, 3)),
        ((3,), (2,), (2,), (3,)),
        ((3,), (2,), (1,), (2, 3)),
        ((3,), (2, 1), (2,), (2, 3)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(shapes):
    """Without this check, compiled code would read and write outside the arrays."""
    support, *others = (np.ones(shape, np.float32) for shape in shapes)
    support = np.arange(len(support), dtype=np.float32)
    with pytest.raises(ValueError, match=r"^shapes must be .*, got ") as said:
        project_distribution(support, *others)
    assert all(str(shape) in str(said.value) for shape in shapes)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["returns", "discounts"])
def test_numbers_that_are_not_finite_are_refused(which, wrong):
    numbers = {"returns": [0.0, 0.0], "discounts": [1.0, 1.0], which: [0.0, wrong]}
    with pytest.raises(ValueError, match="returns and discounts must be finite"):
        project([0, 1, 2], **numbers, probabilities=[[0, 1, 0]] * 2)


# Values, softmax and the gradient of the loss


def test_the_value_of_a_distribution_is_its_mean():
    support = np.array([-1.0, 0.0, 2.0], np.float32)
    out = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.6, 0.3]]], np.float32))
    np.testing.assert_allclose(action_values(out, support), [[0.0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(action_values(out + 7, support), [[0.0, 0.5]], atol=1e-6)
    np.testing.assert_array_equal(action_values(out[0], support[:0]), out[0])


def test_softmax_of_any_size_adds_up_to_one():
    logits = np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(softmax(logits)[0], [1, 0, 0])
    np.testing.assert_allclose(softmax(logits), torch.softmax(torch.from_numpy(logits), 1))


def test_the_loss_its_gradient_and_the_divergence_are_those_of_torch():
    rng = np.random.default_rng(2)
    logits = rng.normal(scale=3, size=(32, 11)).astype(np.float32)
    target = rng.dirichlet(np.ones(11), 32).astype(np.float32)
    ours, theirs = (torch.from_numpy(logits).requires_grad_() for _ in range(2))
    loss = cross_entropy_loss(torch.from_numpy(target), ours)
    expected = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(target), reduction="none")
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    gradient = cross_entropy_gradient(target, logits)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, ours.grad.numpy(), atol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-6)
    expected = torch.nn.functional.kl_div(
        torch.log_softmax(torch.from_numpy(logits), 1), torch.from_numpy(target), reduction="none"
    )
    found = divergence(target, logits)
    np.testing.assert_allclose(found, expected.sum(dim=1).numpy(), rtol=1e-4, atol=1e-6)


def test_the_divergence_is_0_where_nothing_is_left_to_learn():
    """The cross-entropy is not 0 there, so it would keep priorities of random outcomes high."""
    logits = np.array([[0.0, 1.0, 2.0], [5.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(divergence(softmax(logits), logits), 0, atol=1e-6)
    np.testing.assert_array_equal(cross_entropy_gradient(softmax(logits), logits), 0)


def test_probabilities_of_0_give_finite_numbers():
    target = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    logits = np.array([[0.0, -500.0, 500.0], [200.0, 0.0, 0.0]], np.float32)
    gradient, errors = cross_entropy_gradient(target, logits), divergence(target, logits)
    assert np.isfinite(gradient).all() and np.isfinite(errors).all()
    np.testing.assert_array_equal(gradient, [[0, -1, 1], [0, 0, 0]])
    assert errors[0] > 50 and errors[1] == 0


@pytest.mark.parametrize("support", [[1], [0, np.nan, 2], [0, 1, np.inf], [1, 1, 1], [2, 1, 0]])
def test_a_support_that_does_not_rise_is_refused(support):
    with pytest.raises(
        ValueError, match=r"support must be at least two finite, rising atoms, got "
    ):
        project(support, [0], [1], [[1 / len(support)] * len(support)])

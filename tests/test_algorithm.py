"""Algorithms that travel, and the order in which gradients of a batch in parts are averaged."""

import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from probes import same_states

from rlbook import DQN, Rainbow
from rlbook.algorithm import Gradients, RandomStreams, average, split


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


def gradients(*numbers, **others):
    return Gradients(np.array(numbers, np.float32), **others)


def test_parts_are_added_up_from_the_first_to_the_last():
    """In float32, 1 is lost beside 1e8: so the order can be seen."""
    parts = [gradients(4e8), gradients(4.0), gradients(-4e8), gradients(0.0)]
    assert average(parts, [8] * 4).vector.tolist() == [0.0]
    reordered = [parts[0], parts[2], parts[1], parts[3]]
    assert average(reordered, [8] * 4).vector.tolist() == [1.0]
    assert average(iter(parts), [8] * 4).vector.dtype == np.float32


def test_a_part_counts_as_much_as_it_has_rows():
    parts = [gradients(1, 2, metrics={"loss": 4.0}), gradients(5, 10, metrics={"loss": 0.0})]
    found = average(parts, [30, 10])
    assert found.vector.tolist() == [2, 4] and found.metrics == {"loss": 3.0}
    assert found.priorities is None


def test_one_part_is_the_whole():
    whole = gradients(1, 2)
    assert average([whole], [5]) is whole


def test_priorities_follow_one_another():
    def of(rows, errors):
        return np.array(rows), np.array(errors, np.float32)

    found = average(
        [
            gradients(1, priorities=of([7, 3], [0.5, -1])),
            gradients(10, priorities=of([9], [3])),
        ],
        [2, 1],
    )
    rows, errors = found.priorities
    assert found.vector.tolist() == [4] and rows.tolist() == [7, 3, 9]
    assert errors.tolist() == [0.5, -1, 3] and errors.dtype == np.float32


def test_the_parts_stay_what_they_are():
    parts = [gradients(1.0), gradients(2.0)]
    average(parts, [1, 1])
    assert [part.vector.tolist() for part in parts] == [[1.0], [2.0]]


def test_tensors_are_averaged_too_and_become_arrays_to_travel():
    parts = [Gradients(torch.ones(2)), gradients(1, 2)]
    mean = average([parts[0], parts[0]], [1, 1])
    assert isinstance(mean.vector, torch.Tensor)
    assert isinstance(mean.as_arrays().vector, np.ndarray)
    assert mean.as_arrays().vector.tolist() == [1, 1]
    assert parts[1].as_arrays() is parts[1]


# Algorithms that travel


def trained(kind, **options):
    agent = kind("CartPole-v1", hidden=(8,), learning_starts=50, batch_size=16, **options)
    agent.learn(400)
    return agent.algorithm


def act(algorithm, obs, exploration=0.5):
    random = RandomStreams(np.arange(len(obs), dtype=np.uint64), np.arange(len(obs)))
    return algorithm.act(obs, None, random, np.full(len(obs), exploration)).actions


@pytest.mark.parametrize("kind", [DQN, Rainbow])
def test_a_copy_that_has_travelled_acts_as_the_original_and_has_no_replay_buffer(kind):
    algorithm = trained(kind)
    pickled = pickle.dumps(algorithm)
    assert len(pickled) < 4 * len(algorithm.get_weights()) + 4_000
    copy = pickle.loads(pickled)
    obs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.testing.assert_array_equal(act(copy, obs), act(algorithm, obs))
    assert "replay" not in vars(copy)
    weights = np.random.default_rng(1).normal(size=len(copy.get_weights())).astype(np.float32)
    copy.set_weights(weights)
    assert (algorithm.get_weights() != weights).all()


@pytest.mark.parametrize("kind", [DQN, Rainbow])
def test_parameters_are_all_that_gradients_depend_on(kind):
    algorithm = trained(kind, n_step=2)
    copy = pickle.loads(pickle.dumps(algorithm))
    parameters = algorithm.get_parameters()
    assert parameters.keys() == {"weights", "target", "updates"}
    assert (parameters["weights"] != parameters["target"]).any()
    copy.set_parameters(parameters)
    for _ in range(2):
        batch = algorithm.sample()
        mine, others = algorithm.gradients(batch), copy.gradients(batch)
        np.testing.assert_array_equal(mine.vector, others.vector)
        assert mine.metrics == others.metrics


@pytest.mark.parametrize("kind", [DQN, Rainbow])
def test_a_state_is_all_that_going_on_depends_on(kind):
    one = trained(kind, n_step=2)
    other = kind("CartPole-v1", hidden=(8,), learning_starts=50, batch_size=16, n_step=2).algorithm
    other.set_state({name: np.array(values) for name, values in one.get_state().items()})
    for _ in range(5):
        for each in (one, other):
            each.apply(each.gradients(each.sample()))
    mine, others = one.get_state(), other.get_state()
    assert same_states(mine, others) and mine["updates"] > 5


@pytest.mark.parametrize("name", ["weights", "target"])
def test_numbers_that_are_not_finite_are_not_taken(name):
    algorithm = trained(DQN)
    state = {key: np.array(values) for key, values in algorithm.get_state().items()}
    state[name][3] = np.nan
    before = algorithm.get_weights().copy()
    with pytest.raises(ValueError, match=f"^{name} holds numbers that are not finite$"):
        algorithm.set_state(state)
    np.testing.assert_array_equal(algorithm.get_weights(), before)


def test_a_copy_computes_on_the_cpu_unless_its_worker_was_given_a_gpu(monkeypatch):
    """A worker without a GPU acts for a learner that has one."""
    algorithm = trained(DQN)
    algorithm.problem = algorithm.problem._replace(device="cuda")
    copy = pickle.loads(pickle.dumps(algorithm))
    assert copy.problem.device == "cpu"
    obs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.testing.assert_array_equal(act(copy, obs), act(algorithm, obs))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    agent = DQN("CartPole-v1", device="cpu")
    for resources, expected in ((None, "cpu"), ({"threads": 2}, "cpu"), ({"gpus": 0.5}, "cuda")):
        problem = agent._problem("cuda", resources)
        assert (problem.device, problem.worker_device) == ("cuda", expected)

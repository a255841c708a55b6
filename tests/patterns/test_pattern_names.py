"""Patterns: who acts with which weights, and who computes the gradients."""

import numpy as np
import pytest

from rlbook import DQN
from rlbook.backends.local import Local
from rlbook.patterns import data_parallel

SMALL = {"learning_starts": 50, "batch_size": 8, "hidden": (8,), "seed": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_act_with_the_newest_weights(workers):
    """They are replaced after every round; the next one's greedy actions are those of the new."""
    agent = DQN(
        "CartPole-v1",
        epsilon=0.0,
        learning_starts=10**6,
        hidden=(16,),
        num_envs=8,
        rollout_steps=4,
        workers=workers,
        seed=1,
    )
    rng, seen, batches = np.random.default_rng(0), [], agent.algorithm.batches

    def look(rollout):
        expected = [
            agent.algorithm.network(obs).argmax(axis=1) for obs in rollout.obs.swapaxes(0, 1)
        ]
        seen.append((expected == rollout.actions.T).all())
        return batches(rollout)

    def replace(agent):
        weights = agent.get_weights()
        agent.algorithm.network.set_weights(rng.normal(size=weights.shape).astype(np.float32))

    agent.algorithm.batches = look
    agent.learn(32 * 20, callback=replace)
    assert seen == [True] * 20


@pytest.mark.parametrize("every", [1, 7, 10**9])
def test_asynchronous_weights_are_pushed_every_so_many_updates_and_acted_with(every):
    agent = DQN(
        "CartPole-v1",
        backend=Local(schedule=1),
        workers=2,
        num_envs=2,
        rollout_steps=4,
        pattern="asynchronous_actors",
        push_every=every,
        steps_per_update=1,
        **SMALL,
    )
    put, submit, pushed, sent = agent.backend.put, agent.rollout_workers().submit, [], []

    def watched_put(weights):
        pushed.append((agent.algorithm.updates, put(weights)))
        return pushed[-1][1]

    def watched_submit(worker, name, weights, *rest):
        sent.append(weights is pushed[-1][1])
        return submit(worker, name, weights, *rest)

    agent.backend.put, agent.rollout_workers().submit = watched_put, watched_submit
    agent.learn(400)
    assert agent.algorithm.updates == 350 and len(sent) == 100 and all(sent)
    gaps = np.diff([updates for updates, _ in pushed])
    # A rollout of 4 steps brings 4 updates, which are made together.
    assert (gaps >= every).all() and (gaps < every + 4 + 3).all()
    assert (every > 350) == (len(gaps) == 0)


def test_gradients_come_from_the_workers(monkeypatch):
    calls = []
    inner = data_parallel.GradientWorker.gradients

    def counted(self, parameters, parts):
        calls.append(len(parts))
        return inner(self, parameters, parts)

    monkeypatch.setattr(data_parallel.GradientWorker, "gradients", counted)
    agent = DQN("CartPole-v1", gradient_parts=5, pattern="data_parallel", workers=2, **SMALL)
    agent.learn(160)
    assert len(calls) == 2 * agent.algorithm.updates > 0
    assert sorted(set(calls)) == [2, 3]

"""What is stored for chapters to draw: made by the code that there is, and by all of it."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "tools"))  # scripts
import measure_ablation
import measure_snake
import stored


@pytest.mark.slow
@pytest.mark.parametrize("measured", [measure_ablation, measure_snake], ids=lambda m: m.__name__)
def test_agents_still_learn_what_they_learned_when_the_results_were_stored(measured):
    found = stored.load(measured.RESULTS)
    assert found["command"] == measured.COMMAND
    assert stored.agree(measured.fingerprints(), found["fingerprints"]), f"run `{measured.COMMAND}`"


def test_a_fingerprint_tells_agents_apart():
    task = ("CartPole", "DQN", 0)
    right = stored.fingerprint(measure_ablation.make_agent(task), 1_200)
    for wrong in ({"gamma": 0.98}, {"adam_epsilon": 1e-3}, {"target_every": 90}):
        agent = measure_ablation.make_agent(task)
        object.__setattr__(agent.settings, *wrong.popitem())
        changed = type(agent)("rlbook/CartPole-v0", seed=0, **vars(agent.settings))
        assert not stored.agree({"DQN": right}, {"DQN": stored.fingerprint(changed, 1_200)})


def test_the_ablation_is_of_all_variants_worlds_and_seeds():
    found = stored.load(measure_ablation.RESULTS)
    for name, world in measure_ablation.WORLDS.items():
        assert (found["steps"][name], found["best"][name]) == (world.steps, world.best)
        assert found["random"][name] < 0.1 * world.best
        assert list(found["curves"][name]) == list(measure_ablation.VARIANTS)
        for variant, curves in found["curves"][name].items():
            shape = len(measure_ablation.SEEDS), measure_ablation.POINTS
            assert np.shape(curves) == shape, variant
            assert np.max(curves) <= world.best
            assert len(found["seconds"][name][variant]) == len(measure_ablation.SEEDS)


def test_the_networks_that_are_stored_are_the_snakes():
    found = stored.load(measure_snake.RESULTS)
    assert np.shape(found["curves"]) == (len(measure_snake.SEEDS), measure_snake.POINTS)
    agent = measure_snake.make_agent(seed=0)
    agent.algorithm.network.set_weights(np.float32(np.load(measure_snake.NETWORK)["weights"]))
    best = max(curve[-1] for curve in found["curves"])
    assert measure_snake.apples(agent.predict, "kinds") > 0.8 * best  # half the digits are there

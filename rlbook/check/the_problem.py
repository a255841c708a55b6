"""The exercises of chapter 00: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.exercise import Case, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise

if TYPE_CHECKING:
    from rlbook_envs.world import TransitionTable


def discounted_return(rewards: Table, gamma: float) -> float:
    """Check the return of an episode, Sutton and Barto (2018), equation 3.8.

    It is the sum of all `rewards`, float64 (T,), at least one, where the reward that comes k steps
    after the first is multiplied by gamma**k.
    """
    return float(gamma ** np.arange(len(rewards)) @ rewards)


_RETURN_MISTAKES: Mistakes = {
    "discount dropped. You add up the rewards as they are; the one that comes k steps later counts"
    " gamma**k.": ["float(rewards.sum())"],
    "off by one. You are one step off: rewards[0] counts in full, rewards[1] is multiplied by"
    " gamma.": [
        "gamma * discounted_return(rewards, gamma)",
        "discounted_return(rewards[1:], gamma)",
        "gamma * discounted_return(rewards[1:], gamma)",
        "discounted_return(rewards[:-1], gamma)",
    ],
    "wrong way round. You discount the first reward most; it is the last one that counts least.": [
        "discounted_return(rewards[::-1], gamma)"
    ],
    "discounted only once. You multiply everything after the first reward by gamma, however late it"
    " comes; each step of waiting costs another gamma.": [
        "float(rewards[0] + gamma * rewards[1:].sum())"
    ],
    "discount shrinks linearly. You multiply by gamma and by the number of steps; multiply by gamma"
    " at every step.": ["float(rewards[0] + gamma * np.arange(1, len(rewards)) @ rewards[1:])"],
    "sign. What follows a reward is added to it; you subtract it.": [
        "discounted_return(rewards, -gamma)",
        "float(2 * rewards[0] - discounted_return(rewards, gamma))",
    ],
    "mean instead of sum. You divide by the number of rewards; a return is their sum.": [
        "discounted_return(rewards, gamma) / len(rewards)"
    ],
}


def _return_case(rng: Generator) -> Case:
    rewards = rng.integers(-3, 5, size=int(rng.integers(1, 8))).astype(np.float64)
    return rewards, float(rng.choice([0.5, 0.8, 0.9, 1.0]))


def bandit_update(estimates: Table, counts: Whole, action: int, reward: float) -> float:
    """Check the update of a sample mean, Sutton and Barto (2018), equation 2.3.

    It changes `estimates`, float64 (A,), in place, at `estimates[action]` alone, so that this
    becomes the mean of all rewards of the arm. `counts`, int64 (A,), says how many rewards those
    are, this one included. It returns the error: the reward minus the old estimate.
    """
    error = float(reward - estimates[action])
    step_size = 1 / counts[action]
    estimates[action] += step_size * error
    return error


_BANDIT_MISTAKES: Mistakes = {
    "off by one. You add 1 to the count, or take 1 off; counts[action] has this pull in it"
    " already.": [
        {"counts[action]": "(counts[action] + 1)"},
        {"counts[action]": "(counts[action] - 1)"},
        {"counts[action]": "max(counts[action] - 1, 1)"},
    ],
    "step size dropped. You move all the way to the reward, so that the estimate is the last"
    " reward, not the mean; divide the error by counts[action].": [{"step_size * error": "error"}],
    "wrong action's count. You divide by the number of all pulls; divide by those of this arm,"
    " counts[action].": [{"counts[action]": "counts.sum()"}],
    "wrong action's value. You compare the reward with the best estimate; compare it with this"
    " arm's.": [{"reward - estimates[action]": "reward - estimates.max()"}],
    "all arms updated. You move the estimates of all arms; you have learned about one of them.": [
        {"estimates[action] +=": "estimates +="}
    ],
    "sign. The error is the reward minus the estimate, and is added: an estimate moves towards the"
    " reward.": [
        {"reward - estimates[action]": "estimates[action] - reward"},
        {"return error": "return -error"},
        {"+= step_size": "-= step_size"},
    ],
    "reward instead of error. You add the reward; subtract the old estimate from it first.": [
        {"reward - estimates[action]": "reward"}
    ],
    "step size in the result. You return the error divided by the count; return the error"
    " itself.": [{"return error": "return step_size * error"}],
}


def _bandit_case(rng: Generator) -> Case:
    arms = int(rng.integers(2, 6))
    counts = rng.integers(0, 6, size=arms)
    estimates = np.where(counts > 0, rng.normal(size=arms).round(2), 0.0)  # 0 before the first pull
    action = int(rng.integers(arms))
    counts[action] += 1
    return estimates, counts, action, round(float(rng.normal()), 2)


def value_iteration_sweep(table: TransitionTable, values: Table, gamma: float) -> Table:
    """Check one sweep of value iteration, Sutton and Barto (2018), equation 4.10.

    From a `TransitionTable` and values, float64 (S,), it makes new values, float64 (S,). All states
    look at the old values; what follows a terminated outcome is worth 0.
    """
    following = (1 - table.terminated) * values[table.next_state]
    targets = table.reward + gamma * following
    q = (table.probability * targets).sum(axis=2)
    return q.max(axis=1)


def _sweep_in_place(table: TransitionTable, values: Table, gamma: float) -> Table:
    fresh = values.copy()
    for state in range(len(values)):
        fresh[state] = value_iteration_sweep(table, fresh, gamma)[state]
    return fresh


_SWEEP_MISTAKES: Mistakes = {
    "discount dropped. You add the next state's value undiscounted; multiply it by gamma.": [
        {"gamma * following": "following"}
    ],
    "bootstrap through a terminal state. You add the value of next_state even where terminated is"
    " True; nothing follows there, and that outcome is worth its reward alone.": [
        {"(1 - table.terminated) * ": ""}
    ],
    "wrong action's value. You do not take the best action, but the mean of all, or always the same"
    " one; the value of a state is the maximum over its actions.": [
        {"q.max(axis=1)": "q.mean(axis=1)"},
        {"q.max(axis=1)": "q[:, 0]"},
        {"q.max(axis=1)": "q[:, -1]"},
    ],
    "sign. You take the worst action, or subtract what follows: it is the maximum, and a sum.": [
        {"q.max": "q.min"},
        {"+ gamma * following": "- gamma * following"},
    ],
    "off by one. You are one step off: what follows an outcome is the old value of its next_state,"
    " not of the state it began in.": [{"values[table.next_state]": "values[:, None, None]"}],
    "sum over actions. You add up the values of the actions; take the largest.": [
        {"q.max": "q.sum"}
    ],
    "probability dropped. You count all outcomes alike; weight each by its probability.": [
        {"(table.probability * targets).sum": "targets.mean"},
        {"table.probability * targets": "targets"},
    ],
    "maximum over chance. You take the best outcome as well as the best action; chance does not"
    " choose what you like, so take the mean over outcomes, weighted by their probability.": [
        {"(table.probability * targets).sum": "np.where(table.probability > 0, targets, -9e9).max"}
    ],
    "new values in the same sweep. You use values that this sweep has already changed. That"
    " converges too, but here all states look at the old ones.": [
        "_sweep_in_place(table, values, gamma)"
    ],
    "last reward dropped. You make an outcome worth 0 where it terminates; its reward still"
    " counts.": [{"table.reward +": "(1 - table.terminated) * table.reward +"}],
    "reward dropped. You leave out the reward on the way; add it to the discounted value of what"
    " follows.": [{"table.reward + ": ""}],
    "discounted reward. You multiply the reward by gamma as well; only what comes after it is"
    " discounted.": [{"table.reward +": "gamma * table.reward +"}],
}


def greedy_policy(table: TransitionTable, values: Table, gamma: float) -> Whole:
    """Check the policy that is greedy with respect to state values (equation 4.9).

    From a `TransitionTable` and values, float64 (S,), it makes the policy, int64 (S,): the best
    action of each state, the first of equals, as `argmax` does.
    """
    following = (1 - table.terminated) * values[table.next_state]
    targets = table.reward + gamma * following
    q = (table.probability * targets).sum(axis=2)
    return q.argmax(axis=1)


_GREEDY_MISTAKES: Mistakes = {
    "bootstrap through a terminal state. You add the value of next_state even where terminated is"
    " True; nothing follows there.": [{"(1 - table.terminated) * ": ""}],
    "discount dropped. You add the next state's value undiscounted; multiply it by gamma.": [
        {"gamma * following": "following"}
    ],
    "sign. You take the worst action; the greedy one has the highest value.": [
        {"q.argmax": "q.argmin"}
    ],
    "looks at the reward alone. You choose the highest reward of the next step, and forget what"
    " comes after it.": [{" + gamma * following": ""}],
    "reward dropped. You choose by what follows, and forget the reward on the way there.": [
        {"table.reward + ": ""}
    ],
    "off by one. You number the actions from 1; they are numbered from 0.": [
        {"q.argmax(axis=1)": "q.argmax(axis=1) + 1"}
    ],
    "probability dropped. You count all outcomes alike; weight each by its probability.": [
        {"(table.probability * targets).sum": "targets.mean"}
    ],
    "value instead of action. You return what the best action is worth; return which it is: argmax,"
    " not max.": [{"q.argmax": "q.max"}],
    "last of equals. Where several actions are best, take the first of them, as argmax does.": [
        {"q.argmax(axis=1)": "q.shape[1] - 1 - q[:, ::-1].argmax(axis=1)"}
    ],
}


def policy_values(table: TransitionTable, policy: Table, gamma: float) -> Table:
    """Check the values of a policy, Sutton and Barto (2018), equation 3.14.

    From a `TransitionTable` and the policy's probabilities, float64 (S, A), it makes the values,
    float64 (S,): exact ones, or swept until nothing changes.
    """
    outcomes = policy[:, :, None] * table.probability
    rewards = (outcomes * table.reward).sum(axis=(1, 2))
    # Of each pair of states, the probability that the episode goes on from the first to the second.
    going_on = outcomes * (1 - table.terminated)
    onward = (going_on[..., None] * np.eye(len(policy))[table.next_state]).sum(axis=(1, 2))
    return np.linalg.solve(np.eye(len(policy)) - gamma * onward, rewards)


def _swept(table: TransitionTable, policy: Table, gamma: float, sweeps: int) -> Table:
    """The values after so many sweeps from 0."""
    values = np.zeros(len(policy))
    for _ in range(sweeps):
        following = (1 - table.terminated) * values[table.next_state]
        q = (table.probability * (table.reward + gamma * following)).sum(axis=2)
        values = (policy * q).sum(axis=1)
    return values


def _optimal(table: TransitionTable, gamma: float) -> Table:
    """The values of the best policy, by policy iteration."""
    values = np.zeros(len(table.start))
    for _ in range(10):
        best = np.eye(table.probability.shape[1])[greedy_policy(table, values, gamma)]
        values = policy_values(table, best, gamma)
    return values


_VALUES_MISTAKES: Mistakes = {
    "discount dropped. You add what follows undiscounted; multiply it by gamma.": [
        {"gamma * onward": "onward"}
    ],
    "bootstrap through a terminal state. You add the value of next_state even where terminated is"
    " True; nothing follows there.": [{"outcomes * (1 - table.terminated)": "outcomes"}],
    "wrong action's value. You do not value this policy, but another: the best one, one that always"
    " does what this one likes best, or one that likes all actions alike. Weight each action by"
    " policy[s, a].": [
        "_optimal(table, gamma)",
        "policy_values(table, np.eye(policy.shape[1])[policy.argmax(axis=1)], gamma)",
        "policy_values(table, np.full_like(policy, 1 / policy.shape[1]), gamma)",
    ],
    "sign. Your system subtracts what follows: v = r + gamma P v, so (I - gamma P) v = r.": [
        {"- gamma * onward": "+ gamma * onward"},
        {"onward, rewards": "onward, -rewards"},
    ],
    "off by one. You stop too early: one sweep looks one step ahead. Sweep until nothing changes,"
    " or solve the linear system.": [
        f"_swept(table, policy, gamma, {sweeps})" for sweeps in (1, 2, 10)
    ],
    "transposed. Your matrix says how one comes to a state; its rows are where one leaves from:"
    " P[s, s'] is the probability of going from s to s'.": [{"gamma * onward": "gamma * onward.T"}],
    "probability dropped. You count all outcomes alike; weight each by its probability.": [
        {"* table.probability": "/ table.probability.shape[2]"}
    ],
    "discounted reward. You multiply the reward by gamma as well; only what comes after it is"
    " discounted.": [{"onward, rewards": "onward, gamma * rewards"}],
}


def _random_table(rng: Generator) -> TransitionTable:
    """An environment of a few states, in which any step may be the last."""
    from rlbook_envs.world import TransitionTable

    shape = tuple(int(size) for size in (rng.integers(2, 5), rng.integers(2, 4), 2))
    chance = rng.uniform(0.1, 0.9, shape[:2]).round(2)
    return TransitionTable(
        probability=np.stack([chance, 1 - chance], axis=2),
        next_state=rng.integers(shape[0], size=shape),
        reward=rng.integers(-2, 4, size=shape).astype(np.float64),
        terminated=rng.random(shape) < 0.25,
        start=np.eye(shape[0])[0],
    )


def _table_case(rng: Generator) -> Case:
    table = _random_table(rng)
    if rng.random() < 0.3:  # two actions that are the same
        for part in table[:4]:
            part[:, -1] = part[:, 0]
    values = rng.normal(scale=2, size=len(table.start)).round(2)
    return table, values, float(rng.choice([0.5, 0.9]))


def _policy_case(rng: Generator) -> Case:
    table = _random_table(rng)
    table.terminated[:, 0, 0] = True  # and this happens, so that every episode ends
    policy = rng.dirichlet(np.ones(table.probability.shape[1]), len(table.start)).round(1)
    policy[:, 0] = np.maximum(policy[:, 0], 0.1)
    return table, policy / policy.sum(axis=1, keepdims=True), float(rng.choice([0.5, 0.9]))


class MyBandit(gymnasium.Env[Any, Any]):
    """Check an environment of your own: a bandit with three arms.

    One pull is an episode. Action a pays 1 with probability 0.2, 0.5 or 0.8, that is where
    `self.np_random.random()`, drawn once a pull, is below it; otherwise 0. Then it terminates. The
    observation is always 0, and nothing is ever truncated.
    """

    observation_space = Discrete(1)
    action_space = Discrete(3)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> Step:
        probability = (0.2, 0.5, 0.8)[action]
        pays = self.np_random.random() < probability
        return 0, float(pays), True, False, {}


_MY_BANDIT_MISTAKES: Mistakes = {
    "never terminates. In your environment terminated is never True; one pull is a whole"
    " episode.": [{"True, False": "False, False"}],
    SWAPPED_ENDS: [{"True, False": "False, True"}],
    "sign. Your arms pay when they should not: the reward is 1 where the draw is below the arm's"
    " probability, and nobody ever pays to play.": [
        {"< probability": ">= probability"},
        {"float(pays)": "-float(pays)"},
    ],
    "a loss costs. Your arms take 1 where they do not pay; the reward is then 0.": [
        {"float(pays)": "2.0 * pays - 1.0"}
    ],
    "mean instead of a draw. Your arms pay their probability every time; they pay 1 or 0, and only"
    " the mean is that.": [{"float(pays)": "probability"}],
    "off by one. Your arms are one off: action 0 pays with probability 0.2, action 2 with 0.8.": [
        {"[action]": "[action - 1]"},
        {"[action]": "[(action + 1) % 3]"},
    ],
    "wrong way round. Your arms are in the opposite order: action 0 pays with probability 0.2.": [
        {"[action]": "[2 - action]"}
    ],
    "all arms alike. Your arms all pay alike; the action decides.": [
        {"[action]": f"[{arm}]"} for arm in range(3)
    ],
    "a draw for each arm. You draw several numbers a pull; draw one, with"
    " self.np_random.random().": [{"random.random()": "random.random(3)[-1]"}],
}


@dataclass(frozen=True)
class _BanditExercise(WorldExercise):
    """As `WorldExercise`, in whose messages every pull has its number."""

    def _moments(self, case: Case, rows: Table) -> list[str]:
        moments = []
        for number, (arm,) in enumerate(case[1:]):
            reset = f"reset() number {number + 1}" if number else f"reset(seed={case[0]})"
            moments += [reset, f"after {reset}, arm {arm}"]
        return moments


def _my_bandit_case(rng: Generator) -> Case:
    """A seed, and episodes of one pull each."""
    return int(rng.integers(1000)), *rng.integers(3, size=(100, 1)).tolist()


EXERCISES = by_name(
    FunctionExercise(discounted_return, _return_case, _RETURN_MISTAKES, "value"),
    FunctionExercise(bandit_update, _bandit_case, _BANDIT_MISTAKES, "error", "estimates"),
    FunctionExercise(value_iteration_sweep, _table_case, _SWEEP_MISTAKES, "values"),
    FunctionExercise(greedy_policy, _table_case, _GREEDY_MISTAKES, "policy"),
    FunctionExercise(policy_values, _policy_case, _VALUES_MISTAKES, "values"),
    _BanditExercise(
        MyBandit,
        _my_bandit_case,
        _MY_BANDIT_MISTAKES,
        unseeded="two games with the same seed differ. Call super().reset(seed=seed), and draw with"
        " self.np_random.random()",
    ),
)

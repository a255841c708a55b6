"""The exercises of chapter 00: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Outcome,
    Table,
    WorldExercise,
    from_library,
)

if TYPE_CHECKING:
    from rlbook_envs.world import TransitionTable

# The return of an episode, and how it goes wrong.


def _discounted_return(rewards: Table, gamma: float) -> float:
    return float(gamma ** np.arange(len(rewards)) @ rewards)


_RETURN_MISTAKES = (
    Mistake(
        "discount dropped",
        "You add up the rewards as they are; the one that comes k steps later counts gamma**k.",
        (lambda rewards, gamma: float(rewards.sum()),),
    ),
    Mistake(
        "off by one",
        "You are one step off: rewards[0] counts in full, rewards[1] is multiplied by gamma.",
        (
            lambda rewards, gamma: gamma * _discounted_return(rewards, gamma),
            lambda rewards, gamma: _discounted_return(rewards[1:], gamma),
            lambda rewards, gamma: gamma * _discounted_return(rewards[1:], gamma),
            lambda rewards, gamma: _discounted_return(rewards[:-1], gamma),
        ),
    ),
    Mistake(
        "wrong way round",
        "You discount the first reward most; it is the last one that counts least.",
        (lambda rewards, gamma: _discounted_return(rewards[::-1], gamma),),
    ),
    Mistake(
        "discounted only once",
        "You multiply everything after the first reward by gamma, however late it comes; each"
        " step of waiting costs another gamma.",
        (lambda rewards, gamma: float(rewards[0] + gamma * rewards[1:].sum()),),
    ),
    Mistake(
        "discount shrinks linearly",
        "You multiply by gamma and by the number of steps; multiply by gamma at every step.",
        (
            lambda rewards, gamma: (
                float(rewards[0]) + float(gamma * np.arange(1, len(rewards)) @ rewards[1:])
            ),
        ),
    ),
    Mistake(
        "sign",
        "What follows a reward is added to it; you subtract it.",
        (
            lambda rewards, gamma: _discounted_return(rewards, -gamma),
            lambda rewards, gamma: float(2 * rewards[0] - _discounted_return(rewards, gamma)),
        ),
    ),
    Mistake(
        "mean instead of sum",
        "You divide by the number of rewards; a return is their sum.",
        (lambda rewards, gamma: _discounted_return(rewards, gamma) / len(rewards),),
    ),
)


def _return_case(rng: Generator) -> tuple[Any, ...]:
    rewards = rng.integers(-3, 5, size=int(rng.integers(1, 8))).astype(np.float64)
    return rewards, float(rng.choice([0.5, 0.8, 0.9, 1.0]))


# The estimate of an arm's value, and how it goes wrong.


def _faulty_bandit(
    *,
    error: Callable[[Table, int, float], float] = lambda estimates, action, reward: float(
        reward - estimates[action]
    ),
    step_size: Callable[[NDArray[np.int64], int], float] = lambda counts, action: float(
        1 / counts[action]
    ),
    cells: Callable[[int], Any] = lambda action: action,
    result: Callable[[float, float], float] = lambda error, step_size: error,
) -> Function:
    """The update in its parts, any of which may be put wrong."""

    def update(estimates: Table, counts: NDArray[np.int64], action: int, reward: float) -> float:
        surprise, size = error(estimates, action, reward), step_size(counts, action)
        estimates[cells(action)] += size * surprise
        return result(surprise, size)

    return update


_BANDIT_MISTAKES = (
    Mistake(
        "off by one",
        "You add 1 to the count, or take 1 off; counts[action] has this pull in it already.",
        (
            _faulty_bandit(step_size=lambda counts, action: float(1 / (counts[action] + 1))),
            _faulty_bandit(step_size=lambda counts, action: float(1 / (counts[action] - 1))),
            _faulty_bandit(step_size=lambda counts, action: float(1 / max(counts[action] - 1, 1))),
        ),
    ),
    Mistake(
        "step size dropped",
        "You move all the way to the reward, so that the estimate is the last reward, not the"
        " mean; divide the error by counts[action].",
        (_faulty_bandit(step_size=lambda counts, action: 1.0),),
    ),
    Mistake(
        "wrong action's count",
        "You divide by the number of all pulls; divide by those of this arm, counts[action].",
        (_faulty_bandit(step_size=lambda counts, action: float(1 / counts.sum())),),
    ),
    Mistake(
        "wrong action's value",
        "You compare the reward with the best estimate; compare it with this arm's.",
        (_faulty_bandit(error=lambda estimates, action, reward: float(reward - estimates.max())),),
    ),
    Mistake(
        "all arms updated",
        "You move the estimates of all arms; you have learned about one of them.",
        (_faulty_bandit(cells=lambda action: slice(None)),),
    ),
    Mistake(
        "sign",
        "The error is the reward minus the estimate, and is added: an estimate moves towards the"
        " reward.",
        (
            _faulty_bandit(error=lambda estimates, action, reward: estimates[action] - reward),
            _faulty_bandit(result=lambda error, size: -error),
            _faulty_bandit(
                step_size=lambda counts, action: -float(1 / counts[action]),
            ),
        ),
    ),
    Mistake(
        "reward instead of error",
        "You add the reward; subtract the old estimate from it first.",
        (_faulty_bandit(error=lambda estimates, action, reward: reward),),
    ),
    Mistake(
        "step size in the result",
        "You return the error divided by the count; return the error itself.",
        (_faulty_bandit(result=lambda error, size: size * error),),
    ),
)


def _bandit_case(rng: Generator) -> tuple[Any, ...]:
    arms = int(rng.integers(2, 6))
    counts = rng.integers(0, 6, size=arms)
    estimates = np.where(counts > 0, rng.normal(size=arms).round(2), 0.0)  # 0 before the first pull
    action = int(rng.integers(arms))
    counts[action] += 1
    return estimates, counts, action, round(float(rng.normal()), 2)


# Values from a transition table. All three exercises go wrong in the same ways.


@dataclass(frozen=True)
class _TableExercise(FunctionExercise):
    """A function whose first argument is a transition table, which messages show in its parts."""

    def _show(self, case: tuple[Any, ...]) -> str:
        table, *others = case
        parts = "\n".join(
            f"  table.{name} =\n{indent(np.array2string(part, separator=', '), '    ')}"
            for name, part in table._asdict().items()
        )
        rest = zip(self._names[1:], others, strict=True)
        return "\n".join([parts, *(f"  {name} = {value!r}" for name, value in rest)])


def _q(
    table: TransitionTable,
    values: Table,
    gamma: float,
    *,
    ends: bool = True,
    reward: float = 1.0,
    last_reward: bool = True,
    weighted: bool = True,
    stays: bool = False,
) -> Table:
    """Action values (S, A), any part of which may be put wrong."""
    states = np.broadcast_to(np.arange(len(values))[:, None, None], table.next_state.shape)
    following = values[states if stays else table.next_state]
    targets = reward * table.reward + gamma * (1 - ends * table.terminated) * following
    if not last_reward:
        targets = (1 - table.terminated) * targets
    expected = (table.probability * targets).sum(axis=2)
    return np.asarray(expected if weighted else targets.mean(axis=2))


def _sweep(best: Callable[[Table], Table] = lambda q: q.max(axis=1), **parts: Any) -> Function:
    """One sweep of value iteration, any part of which may be put wrong."""
    return lambda table, values, gamma: best(_q(table, values, gamma, **parts))


def _undiscounted_sweep(table: TransitionTable, values: Table, gamma: float) -> Table:
    return np.asarray(_q(table, values, 1.0).max(axis=1))


def _sweep_in_place(table: TransitionTable, values: Table, gamma: float) -> Table:
    fresh = values.copy()
    for state in range(len(values)):
        fresh[state] = _q(table, fresh, gamma)[state].max()
    return fresh


_SWEEP_MISTAKES = (
    Mistake(
        "discount dropped",
        "You add the next state's value undiscounted; multiply it by gamma.",
        (_undiscounted_sweep,),
    ),
    Mistake(
        "bootstrap through a terminal state",
        "You add the value of next_state even where terminated is True; nothing follows there, and"
        " that outcome is worth its reward alone.",
        (_sweep(ends=False),),
    ),
    Mistake(
        "wrong action's value",
        "You do not take the best action, but the mean of all, or always the same one; the value"
        " of a state is the maximum over its actions.",
        (
            _sweep(lambda q: q.mean(axis=1)),
            _sweep(lambda q: q[:, 0].copy()),
            _sweep(lambda q: q[:, -1].copy()),
        ),
    ),
    Mistake(
        "sign",
        "You take the worst action, or subtract what follows: it is the maximum, and a sum.",
        (
            _sweep(lambda q: q.min(axis=1)),
            lambda table, values, gamma: _q(table, -values, gamma).max(axis=1),
        ),
    ),
    Mistake(
        "off by one",
        "You are one step off: what follows an outcome is the old value of its next_state, not of"
        " the state it began in.",
        (_sweep(stays=True),),
    ),
    Mistake(
        "sum over actions",
        "You add up the values of the actions; take the largest.",
        (_sweep(lambda q: q.sum(axis=1)),),
    ),
    Mistake(
        "probability dropped",
        "You count all outcomes alike; weight each by its probability.",
        (
            _sweep(weighted=False),
            lambda table, values, gamma: _q(
                table._replace(probability=np.ones_like(table.probability)), values, gamma
            ).max(axis=1),
        ),
    ),
    Mistake(
        "maximum over chance",
        "You take the best outcome as well as the best action; chance does not choose what you"
        " like, so take the mean over outcomes, weighted by their probability.",
        (
            lambda table, values, gamma: np.where(
                table.probability > 0,
                table.reward + gamma * (1 - table.terminated) * values[table.next_state],
                -np.inf,
            ).max(axis=(1, 2)),
        ),
    ),
    Mistake(
        "new values in the same sweep",
        "You use values that this sweep has already changed. That converges too, but here all"
        " states look at the old ones.",
        (_sweep_in_place,),
    ),
    Mistake(
        "last reward dropped",
        "You make an outcome worth 0 where it terminates; its reward still counts.",
        (_sweep(last_reward=False),),
    ),
    Mistake(
        "reward dropped",
        "You leave out the reward on the way; add it to the discounted value of what follows.",
        (_sweep(reward=0.0),),
    ),
    Mistake(
        "discounted reward",
        "You multiply the reward by gamma as well; only what comes after it is discounted.",
        (lambda table, values, gamma: _q(table, values, gamma, reward=gamma).max(axis=1),),
    ),
)


def _greedy(**parts: Any) -> Function:
    """The greedy policy, any part of which may be put wrong."""
    return lambda table, values, gamma: _q(table, values, gamma, **parts).argmax(axis=1)


_GREEDY_MISTAKES = (
    Mistake(
        "bootstrap through a terminal state",
        "You add the value of next_state even where terminated is True; nothing follows there.",
        (_greedy(ends=False),),
    ),
    Mistake(
        "discount dropped",
        "You add the next state's value undiscounted; multiply it by gamma.",
        (lambda table, values, gamma: _q(table, values, 1.0).argmax(axis=1),),
    ),
    Mistake(
        "sign",
        "You take the worst action; the greedy one has the highest value.",
        (lambda table, values, gamma: _q(table, values, gamma).argmin(axis=1),),
    ),
    Mistake(
        "looks at the reward alone",
        "You choose the highest reward of the next step, and forget what comes after it.",
        (lambda table, values, gamma: _q(table, 0 * values, gamma).argmax(axis=1),),
    ),
    Mistake(
        "reward dropped",
        "You choose by what follows, and forget the reward on the way there.",
        (_greedy(reward=0.0),),
    ),
    Mistake(
        "off by one",
        "You number the actions from 1; they are numbered from 0.",
        (lambda table, values, gamma: _q(table, values, gamma).argmax(axis=1) + 1,),
    ),
    Mistake(
        "probability dropped",
        "You count all outcomes alike; weight each by its probability.",
        (_greedy(weighted=False),),
    ),
    Mistake(
        "value instead of action",
        "You return what the best action is worth; return which it is: argmax, not max.",
        (lambda table, values, gamma: _q(table, values, gamma).max(axis=1),),
    ),
    Mistake(
        "last of equals",
        "Where several actions are best, take the first of them, as argmax does.",
        (
            lambda table, values, gamma: (
                table.probability.shape[1] - 1 - _q(table, values, gamma)[:, ::-1].argmax(axis=1)
            ),
        ),
    ),
)


def _system(
    table: TransitionTable,
    policy: Table,
    gamma: float,
    *,
    ends: bool = True,
    uniform: bool = False,
    weighted: bool = True,
    reward: float = 1.0,
    sign: float = 1.0,
    transposed: bool = False,
) -> Table:
    """The values of a policy from one linear system, any part of which may be put wrong."""
    num_states, num_actions, num_outcomes = table.probability.shape
    actions = np.full_like(policy, 1 / num_actions) if uniform else policy
    chances = actions[:, :, None] * (table.probability if weighted else 1 / num_outcomes)
    rewards = reward * (chances * table.reward).sum(axis=(1, 2))
    onward = np.zeros((num_states, num_states))
    states = np.broadcast_to(np.arange(num_states)[:, None, None], chances.shape)
    np.add.at(onward, (states, table.next_state), chances * (1 - ends * table.terminated))
    onward = onward.T if transposed else onward
    return np.asarray(np.linalg.solve(np.eye(num_states) - sign * gamma * onward, rewards))


def _faulty_system(**parts: Any) -> Function:
    return lambda table, policy, gamma: _system(table, policy, gamma, **parts)


def _sweeps(number: int) -> Function:
    """The values after so many sweeps from 0."""

    def policy_values(table: TransitionTable, policy: Table, gamma: float) -> Table:
        values = np.zeros(len(policy))
        for _ in range(number):
            values = (policy * _q(table, values, gamma)).sum(axis=1)
        return values

    return policy_values


def _optimal(table: TransitionTable, policy: Table, gamma: float) -> Table:
    values = np.zeros(len(policy))
    for _ in range(400):
        values = _q(table, values, gamma).max(axis=1)
    return values


def _greedy_part(table: TransitionTable, policy: Table, gamma: float) -> Table:
    return _system(table, np.eye(policy.shape[1])[policy.argmax(axis=1)], gamma)


_EVALUATION_MISTAKES = (
    Mistake(
        "discount dropped",
        "You add what follows undiscounted; multiply it by gamma.",
        (lambda table, policy, gamma: _system(table, policy, 1.0),),
    ),
    Mistake(
        "bootstrap through a terminal state",
        "You add the value of next_state even where terminated is True; nothing follows there.",
        (_faulty_system(ends=False),),
    ),
    Mistake(
        "wrong action's value",
        "You do not value this policy, but another: the best one, one that always does what this"
        " one likes best, or one that likes all actions alike. Weight each action by policy[s, a].",
        (_optimal, _greedy_part, _faulty_system(uniform=True)),
    ),
    Mistake(
        "sign",
        "Your system subtracts what follows: v = r + gamma P v, so (I - gamma P) v = r.",
        (_faulty_system(sign=-1.0), _faulty_system(reward=-1.0)),
    ),
    Mistake(
        "off by one",
        "You stop too early: one sweep looks one step ahead. Sweep until nothing changes, or solve"
        " the linear system.",
        tuple(_sweeps(number) for number in (1, 2, 10)),
    ),
    Mistake(
        "transposed",
        "Your matrix says how one comes to a state; its rows are where one leaves from:"
        " P[s, s'] is the probability of going from s to s'.",
        (_faulty_system(transposed=True),),
    ),
    Mistake(
        "probability dropped",
        "You count all outcomes alike; weight each by its probability.",
        (_faulty_system(weighted=False),),
    ),
    Mistake(
        "discounted reward",
        "You multiply the reward by gamma as well; only what comes after it is discounted.",
        (lambda table, policy, gamma: gamma * _system(table, policy, gamma),),
    ),
)


def _random_table(rng: Generator) -> TransitionTable:
    """A world of a few states, in which any step may be the last."""
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


def _values_case(rng: Generator) -> tuple[Any, ...]:
    table = _random_table(rng)
    if rng.random() < 0.3:  # two actions that are the same
        for part in table[:4]:
            part[:, -1] = part[:, 0]
    values = rng.normal(scale=2, size=len(table.start)).round(2)
    return table, values, float(rng.choice([0.5, 0.9]))


def _policy_case(rng: Generator) -> tuple[Any, ...]:
    table = _random_table(rng)
    table.terminated[:, 0, 0] = True  # and this happens, so that every episode ends
    policy = rng.dirichlet(np.ones(table.probability.shape[1]), len(table.start)).round(1)
    policy[:, 0] = np.maximum(policy[:, 0], 0.1)
    return table, policy / policy.sum(axis=1, keepdims=True), float(rng.choice([0.5, 0.9]))


# A bandit of one's own, and how it goes wrong.

CHANCES = (0.2, 0.5, 0.8)
PULLS = 100


@dataclass(frozen=True)
class _BanditExercise(WorldExercise):
    """As `WorldExercise`, with chance. A case is a seed, and the arms that are pulled in turn."""

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """One episode for each pull; only the first reset is given the seed."""
        seed, *arms = case
        rows: list[tuple[float, float, float, float]] = []
        try:
            env = function()
            for number, arm in enumerate(arms):
                obs, _ = env.reset(seed=None if number else seed)
                rows.append((float(obs), np.nan, np.nan, np.nan))
                obs, reward, terminated, truncated, _ = env.step(arm)
                rows.append((float(obs), float(reward), bool(terminated), bool(truncated)))
        except Exception as error:
            return Outcome(np.array(rows), error=error)
        return Outcome(np.array(rows))

    def inspect(self, function: Function) -> str | None:
        """Whether the same seed gives the same luck; then Gymnasium's own opinion."""
        case = next(self._cases())
        first, second = (self.run(function, case) for _ in range(2))
        if first.error is None and not np.array_equal(
            first.returned, second.returned, equal_nan=True
        ):
            return (
                "two games with the same seed differ. Call super().reset(seed=seed), and draw with"
                " self.np_random.random()"
            )
        return super().inspect(function)

    def _moments(self, case: tuple[Any, ...]) -> list[str]:
        seed, *arms = case
        moments = []
        for number, arm in enumerate(arms):
            reset = f"reset(seed={seed})" if number == 0 else f"reset() number {number + 1}"
            moments += [reset, f"after {reset}, arm {arm}"]
        return moments


def _bandit(
    pays: Callable[[float, float], float] = lambda luck, chance: float(luck < chance),
    arm: Callable[[int], int] = lambda action: action,
    ends: tuple[bool, bool] = (True, False),
    draws: int = 1,
) -> Function:
    """A function that makes the bandit of `my_bandit`, any part of which may be put wrong."""

    def make_env() -> Any:
        import gymnasium

        class Bandit(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(1)
            action_space = gymnasium.spaces.Discrete(len(CHANCES))

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                return 0, {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                luck = float(self.np_random.random(draws)[-1])
                return 0, pays(luck, CHANCES[arm(action)]), *ends, {}

        return Bandit()

    return make_env


_MY_BANDIT_MISTAKES = (
    Mistake(
        "never terminates",
        "In your world terminated is never True; one pull is a whole episode.",
        (_bandit(ends=(False, False)),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your world says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_bandit(ends=(False, True)),),
    ),
    Mistake(
        "sign",
        "Your arms pay when they should not: the reward is 1 where the draw is below the arm's"
        " probability, and nobody ever pays to play.",
        (
            _bandit(pays=lambda luck, chance: float(luck >= chance)),
            _bandit(pays=lambda luck, chance: -float(luck < chance)),
        ),
    ),
    Mistake(
        "a loss costs",
        "Your arms take 1 where they do not pay; the reward is then 0.",
        (_bandit(pays=lambda luck, chance: 1.0 if luck < chance else -1.0),),
    ),
    Mistake(
        "mean instead of a draw",
        "Your arms pay their probability every time; they pay 1 or 0, and only the mean is that.",
        (_bandit(pays=lambda luck, chance: chance),),
    ),
    Mistake(
        "off by one",
        "Your arms are one off: action 0 pays with probability 0.2, action 2 with 0.8.",
        (_bandit(arm=lambda action: action - 1), _bandit(arm=lambda action: (action + 1) % 3)),
    ),
    Mistake(
        "wrong way round",
        "Your arms are in the opposite order: action 0 pays with probability 0.2.",
        (_bandit(arm=lambda action: 2 - action),),
    ),
    Mistake(
        "all arms alike",
        "Your arms all pay alike; the action decides.",
        tuple(_bandit(arm=lambda action, same=same: same) for same in range(3)),  # type: ignore[misc]
    ),
    Mistake(
        "a draw for each arm",
        "You draw several numbers a pull; draw one, with self.np_random.random().",
        (_bandit(draws=3),),
    ),
)


def _my_bandit_case(rng: Generator) -> tuple[Any, ...]:
    """A seed and the arms."""
    return int(rng.integers(1000)), *rng.integers(len(CHANCES), size=PULLS).tolist()


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "discounted_return",
            "(rewards, gamma) -> value",
            _discounted_return,
            _return_case,
            _RETURN_MISTAKES,
        ),
        FunctionExercise(
            "bandit_update",
            "(estimates, counts, action, reward) -> error",
            _faulty_bandit(),
            _bandit_case,
            _BANDIT_MISTAKES,
            changes="estimates",
        ),
        _TableExercise(
            "value_iteration_sweep",
            "(table, values, gamma) -> values",
            _sweep(),
            _values_case,
            _SWEEP_MISTAKES,
        ),
        _TableExercise(
            "greedy_policy",
            "(table, values, gamma) -> policy",
            _greedy(),
            _values_case,
            _GREEDY_MISTAKES,
        ),
        _TableExercise(
            "policy_values",
            "(table, policy, gamma) -> values",
            from_library("tabular.dynamic_programming", "policy_values"),
            _policy_case,
            _EVALUATION_MISTAKES,
        ),
        _BanditExercise(
            "my_bandit",
            "() -> environment",
            _bandit(),
            _my_bandit_case,
            _MY_BANDIT_MISTAKES,
            num_cases=20,
            num_states=1,
            actions=("0", "1", "2"),
        ),
    )
}

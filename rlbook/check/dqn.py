"""The exercises of chapter 06: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import (
    CORRIDOR_START,
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Table,
    WorldExercise,
)

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Targets of a batch, and how they go wrong.


def _best(online: Table, target: Table) -> Table:
    return np.asarray(target.max(axis=1))


def faulty_targets(
    value: Callable[[Table, Table], Table] = _best,
    *,
    discounts: Callable[[Flags, float], NDArray[Any]] = lambda terminated, gamma: (
        gamma * (1 - terminated)
    ),
    total: Callable[[Table, Table], Table] = lambda rewards, rest: rewards + rest,
) -> Function:
    """Equations (6.2) and (7.1), any part of which may be put wrong; `value` is the next one."""

    def targets(
        rewards: Table, terminated: Flags, online: Table, target: Table, gamma: float
    ) -> NDArray[Any]:
        return total(rewards, discounts(terminated, gamma) * value(online, target))

    return targets


def target_mistakes(value: Callable[[Table, Table], Table]) -> tuple[Mistake, ...]:
    """What goes wrong in targets however the next value is found."""
    return (
        Mistake(
            "discount dropped",
            "You add the next observation's value undiscounted; multiply it by gamma.",
            (faulty_targets(value, discounts=lambda terminated, gamma: 1.0 - terminated),),
        ),
        Mistake(
            "bootstrap through a terminal state",
            "You count the next observation's value even where terminated is True; nothing follows"
            " there, and the target is the reward alone.",
            (
                faulty_targets(
                    value, discounts=lambda terminated, gamma: np.full(len(terminated), gamma)
                ),
            ),
        ),
        Mistake(
            "terminated the wrong way round",
            "You bootstrap only where the step terminated; it is the other steps that something"
            " follows.",
            (faulty_targets(value, discounts=lambda terminated, gamma: gamma * terminated),),
        ),
        Mistake(
            "sign",
            "You subtract what follows; it is added to the reward.",
            (faulty_targets(value, total=lambda rewards, rest: rewards - rest),),
        ),
    )


_TARGETS_MISTAKES = (
    *target_mistakes(_best),
    Mistake(
        "online network instead of the target network",
        "You take the next value from the network that learns, so the target moves with every"
        " update; take it from the target network.",
        (faulty_targets(lambda online, target: online.max(axis=1)),),
    ),
    Mistake(
        "double Q-learning",
        "You let one network choose the action and the other value it, which is chapter 07's; here"
        " it is the maximum of what the target network says.",
        (
            faulty_targets(
                lambda online, target: target[np.arange(len(target)), online.argmax(axis=1)]
            ),
            faulty_targets(
                lambda online, target: online[np.arange(len(target)), target.argmax(axis=1)]
            ),
        ),
    ),
    Mistake(
        "wrong action's value",
        "You do not take the best action's value: the maximum is over the actions of each row,"
        " axis 1.",
        (
            faulty_targets(lambda online, target: target[:, 0]),
            faulty_targets(lambda online, target: target.min(axis=1)),
            faulty_targets(lambda online, target: target.mean(axis=1)),
            faulty_targets(lambda online, target: np.full(len(target), target.max())),
        ),
    ),
    Mistake(
        "last reward dropped",
        "You make the target 0 where terminated is True; it is the reward, which still counts.",
        (
            lambda rewards, terminated, online, target, gamma: (
                (1 - terminated) * (rewards + gamma * target.max(axis=1))
            ),
        ),
    ),
    Mistake(
        "discounted reward",
        "You multiply the reward by gamma as well; only what comes after it is discounted.",
        (
            lambda rewards, terminated, online, target, gamma: (
                gamma * (rewards + (1 - terminated) * target.max(axis=1))
            ),
        ),
    ),
)


def targets_case(rng: Generator) -> tuple[Any, ...]:
    """A random batch: rewards, ends, what both networks say of the next step, and a discount."""
    size, num_actions = int(rng.integers(2, 7)), int(rng.integers(2, 5))
    online, target = rng.normal(size=(2, size, num_actions)).round(3)
    rewards = rng.choice([0.0, 1.0, -1.0, 2.5], size)
    gamma = float(rng.choice([0.9, 0.99, 0.5]))
    return rewards, rng.random(size) < 0.3, online, target, gamma


# Slopes of the Huber loss, and how they go wrong.


def _faulty_slopes(
    *,
    rows: Callable[[Table, Whole], Whole] = lambda q, actions: actions,
    slope: Callable[[Table], Table] = lambda errors: -errors.clip(-1, 1),
    size: Callable[[Table], float] = len,
    spread: bool = False,
) -> Function:
    """Equation (6.3), any part of which may be put wrong."""

    def slopes(q: Table, actions: Whole, targets: Table) -> Table:
        taken = np.arange(len(q)), rows(q, actions)
        found = np.zeros_like(q)
        each = slope(targets - q[taken]) / size(q)
        if spread:
            found += each[:, None]
        else:
            found[taken] = each
        return found

    return slopes


def _every_action_towards_the_target(q: Table, actions: Whole, targets: Table) -> Table:
    return -(targets[:, None] - q).clip(-1, 1) / len(q)


_SLOPES_MISTAKES = (
    Mistake(
        "sign",
        "Your slopes lead uphill: the loss falls as the prediction nears the target, so its slope"
        " is minus the error.",
        (_faulty_slopes(slope=lambda errors: errors.clip(-1, 1)),),
    ),
    Mistake(
        "clip dropped",
        "This is the slope of the squared error; Huber's is clipped to -1 and 1.",
        (
            _faulty_slopes(slope=lambda errors: -errors),
            _faulty_slopes(slope=lambda errors: -2 * errors),
        ),
    ),
    Mistake(
        "only the sign is left",
        "You make every error as large as 1; only those beyond 1 are cut back.",
        (_faulty_slopes(slope=lambda errors: -np.sign(errors)),),
    ),
    Mistake(
        "wrong action's value",
        "You correct the greedy action; it is the action that was taken whose target this is.",
        (_faulty_slopes(rows=lambda q, actions: q.argmax(axis=1)),),
    ),
    Mistake(
        "off by one",
        "You correct the action beside the one that was taken.",
        (
            _faulty_slopes(rows=lambda q, actions: (actions + 1) % q.shape[1]),
            _faulty_slopes(rows=lambda q, actions: (actions - 1) % q.shape[1]),
        ),
    ),
    Mistake(
        "all actions corrected",
        "You move the values of actions that were not taken; nothing is known of those, and their"
        " slopes are 0.",
        (_every_action_towards_the_target, _faulty_slopes(spread=True)),
    ),
    Mistake(
        "sum instead of mean",
        "You do not divide by the number of steps in the batch, B.",
        (_faulty_slopes(size=lambda q: 1.0),),
    ),
    Mistake(
        "divided by too much",
        "You divide by all numbers of q; the mean is over the B steps.",
        (_faulty_slopes(size=lambda q: float(q.size)),),
    ),
    Mistake(
        "clipped after the division",
        "You divide by B first and clip then; it is each step's own error that is clipped.",
        (
            lambda q, actions, targets: _faulty_slopes(slope=lambda errors: -errors)(
                q, actions, targets
            ).clip(-1, 1),
        ),
    ),
)


def _slopes_case(rng: Generator) -> tuple[Any, ...]:
    size, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    q, targets = rng.normal(size=(size, num_actions)).round(3), 4 * rng.normal(size=size).round(3)
    near = rng.integers(size)  # an error below 1, in every case
    actions = rng.integers(num_actions, size=size)
    targets[near] = q[near, actions[near]] + rng.uniform(0.1, 0.9)
    return q, actions, targets


# What may be drawn from a ring, and how that goes wrong.


def _rows(count: int, size: int) -> Whole:
    """The numbers of the rows that a ring holds, the oldest first."""
    return np.arange(max(count - size, 0), count)


def _ready_slots(count: int, after_end: Flags) -> Whole:
    slots = _rows(count, len(after_end))[:-1] % len(after_end)
    return np.asarray(slots[~after_end[slots]])


def _with_slots(slots: Callable[[int, int], Whole]) -> Function:
    """What is ready among these slots, of `(count, size)`."""

    def ready(count: int, after_end: Flags) -> Whole:
        chosen = slots(count, len(after_end))
        return np.asarray(chosen[~after_end[chosen]])

    return ready


_READY_MISTAKES = (
    Mistake(
        "off by one",
        "You count the newest row too; its next observation is still to come, and in the slot"
        " after it lies the oldest row of all.",
        (_with_slots(lambda count, size: _rows(count, size) % size),),
    ),
    Mistake(
        "oldest row dropped",
        "You leave the oldest row out; its next observation is still there.",
        (
            _with_slots(lambda count, size: _rows(count, size)[1:-1] % size),
            _with_slots(lambda count, size: np.arange(max(count - size + 1, 0), count - 1) % size),
        ),
    ),
    Mistake(
        "rows after an end drawn",
        "You count rows after an end; they hold where an episode ended, and begin no transition.",
        (lambda count, after_end: _rows(count, len(after_end))[:-1] % len(after_end),),
    ),
    Mistake(
        "only rows after an end",
        "You keep the rows after an end, and leave the others out; it is the other way about.",
        (
            lambda count, after_end: _with_slots(lambda c, s: _rows(c, s)[:-1] % s)(
                count, ~after_end
            ),
        ),
    ),
    Mistake(
        "slots never written",
        "You count slots that nothing was written to yet; there are only count rows at first.",
        (
            _with_slots(lambda count, size: (count + np.arange(size - 1)) % size),
            _with_slots(lambda count, size: np.delete(np.arange(size), (count - 1) % size)),
        ),
    ),
    Mistake(
        "order",
        "Your slots are the right ones, but not the oldest row first.",
        (
            lambda count, after_end: np.sort(_ready_slots(count, after_end)),
            lambda count, after_end: _ready_slots(count, after_end)[::-1],
        ),
    ),
    Mistake(
        "rows instead of slots",
        "These are the numbers of the rows, counted from the first ever; row t lies in slot t %"
        " len(after_end).",
        (
            lambda count, after_end: _rows(count, len(after_end))[:-1][
                ~after_end[_rows(count, len(after_end))[:-1] % len(after_end)]
            ],
        ),
    ),
)


def _ready_case(rng: Generator) -> tuple[Any, ...]:
    size = int(rng.integers(4, 9))
    count = int(rng.integers(2, size) if rng.random() < 0.4 else rng.integers(size, 4 * size))
    after_end = rng.random(size) < 0.3
    after_end[min(count, size) :] = False  # nothing was written there
    return count, after_end


# Targets over n steps, and how they go wrong.


def _faulty_n_step(
    *,
    steps: Callable[[int], int] = lambda n: n,
    discount: Callable[[float, int, int], float] = lambda gamma, k, n: gamma**k,
    ends: bool = True,
    reward: Callable[[float, int], float] = lambda gamma, k: gamma**k,
    sign: float = 1.0,
    last: int = 0,
) -> Function:
    """Equation (6.4), any part of which may be put wrong.

    Args:
        steps: how many rewards are counted.
        discount: of the value after k of n steps.
        ends: whether nothing follows a step that terminated.
        reward: the factor of the reward after k steps.
        sign: of the value.
        last: added to the place from which the value is taken.
    """

    def targets(rewards: Table, terminated: Flags, values: Table, n: int, gamma: float) -> Table:
        found = np.zeros(len(rewards))
        for t in range(len(rewards)):
            k = 0
            while k < steps(n) and t + k < len(rewards):
                found[t] += reward(gamma, k) * rewards[t + k]
                k += 1
                if ends and terminated[t + k - 1]:
                    break
            else:
                place = min(t + k + last, len(rewards))
                found[t] += sign * discount(gamma, k, n) * values[place]
        return found

    return targets


_n_step_targets = _faulty_n_step()

_N_STEP_MISTAKES = (
    Mistake(
        "off by one",
        "You count one reward too few or too many, or take the value one step away: after n"
        " rewards, values[t + n] stands for the rest.",
        (
            _faulty_n_step(steps=lambda n: n + 1),
            _faulty_n_step(steps=lambda n: max(n - 1, 1)),
            _faulty_n_step(last=-1),
            _faulty_n_step(last=1),
            _faulty_n_step(discount=lambda gamma, k, n: gamma ** (k - 1)),
            _faulty_n_step(discount=lambda gamma, k, n: gamma ** (k + 1)),
        ),
    ),
    Mistake(
        "bootstrap through a terminal state",
        "You go on past a step that terminated; its reward is the last that counts.",
        (_faulty_n_step(ends=False),),
    ),
    Mistake(
        "discount dropped",
        "A reward, or the value, is not discounted by as many steps as it is away.",
        (
            _faulty_n_step(discount=lambda gamma, k, n: 1.0),
            _faulty_n_step(reward=lambda gamma, k: 1.0),
            _faulty_n_step(reward=lambda gamma, k: 1.0, discount=lambda gamma, k, n: 1.0),
        ),
    ),
    Mistake(
        "discounted once",
        "You multiply the value by gamma; k steps away it is gamma**k.",
        (_faulty_n_step(discount=lambda gamma, k, n: gamma),),
    ),
    Mistake(
        "full discount at the end of the stretch",
        "Where the stretch ends after fewer than n steps, the value is fewer steps away: k steps,"
        " gamma**k, and not gamma**n.",
        (_faulty_n_step(discount=lambda gamma, k, n: gamma**n),),
    ),
    Mistake(
        "sign",
        "You subtract the value; it is added.",
        (_faulty_n_step(sign=-1.0),),
    ),
    Mistake(
        "value dropped",
        "You only add up rewards; after n of them, a value stands for the rest.",
        (_faulty_n_step(sign=0.0),),
    ),
    Mistake(
        "discounted reward",
        "You multiply the first reward by gamma; only what comes after it is discounted.",
        (_faulty_n_step(reward=lambda gamma, k: gamma ** (k + 1)),),
    ),
)


def _n_step_case(rng: Generator) -> tuple[Any, ...]:
    length, n = int(rng.integers(4, 9)), int(rng.integers(1, 5))
    rewards, values = rng.normal(size=length).round(2), rng.normal(size=length + 1).round(2)
    terminated = rng.random(length) < 0.2
    return rewards, terminated, values, n, float(rng.choice([0.9, 0.99, 0.5]))


# A corridor with a key, and how it goes wrong.

CELLS = 5


def _key_world(
    *,
    start: int = CORRIDOR_START,
    right: int = 1,
    goal_reward: Callable[[bool], float] = float,
    step_reward: float = 0.0,
    needs_key: bool = True,
    terminates: bool = True,
    swapped: bool = False,
    shows_key: bool = True,
    keeps_key: bool = False,
    key_cell: int = CELLS - 1,
    wraps: bool = False,
) -> Function:
    """A function that makes the corridor, any part of which may be put wrong."""

    def make_env() -> Any:
        import gymnasium

        class KeyWorld(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(2 * CELLS)
            action_space = gymnasium.spaces.Discrete(2)
            cell, key = start, False

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                self.cell, self.key = start, self.key and keeps_key
                return self.observation(), {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                cell = self.cell + (right if action == 1 else -right)
                self.cell = cell % CELLS if wraps else min(max(cell, 0), CELLS - 1)
                self.key = self.key or self.cell == key_cell
                over = self.cell == 0 and (self.key or not needs_key)
                reward, ends = goal_reward(over) + step_reward, over and terminates
                return self.observation(), reward, ends and not swapped, ends and swapped, {}

            def observation(self) -> int:
                return self.cell + CELLS * (self.key and shows_key)

        return KeyWorld()

    return make_env


_KEY_MISTAKES = (
    Mistake(
        "pays without the key",
        "Reaching cell 0 pays and terminates only with the key.",
        (_key_world(needs_key=False),),
    ),
    Mistake(
        "key not seen",
        "Your observation does not tell whether the key was picked up, so that two states look"
        " alike; add 5 with the key.",
        (_key_world(shows_key=False),),
    ),
    Mistake(
        "key kept",
        "Your second episode begins with the key of the first one: put it back in reset().",
        (_key_world(keeps_key=True),),
    ),
    Mistake(
        "off by one",
        "The key lies in cell 4, the last one.",
        (_key_world(key_cell=CELLS - 2),),
    ),
    Mistake(
        "does not terminate",
        "Reaching cell 0 with the key ends the episode.",
        (_key_world(terminates=False),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your world says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_key_world(swapped=True),),
    ),
    Mistake(
        "moves the wrong way",
        "In your world action 0 goes to the right and action 1 to the left; it is the other way"
        " about.",
        (_key_world(right=-1),),
    ),
    Mistake(
        "walls that let through",
        "Whoever walks out on one side of your world comes in on the other; walls stop you.",
        (_key_world(wraps=True),),
    ),
    Mistake(
        "wrong reward",
        "Reaching cell 0 with the key pays 1, and everything else pays 0.",
        (
            _key_world(goal_reward=lambda over: 0.0),
            _key_world(goal_reward=lambda over: -float(over)),
            _key_world(step_reward=-1.0),
            _key_world(step_reward=1.0),
        ),
    ),
    Mistake(
        "starts in the wrong cell",
        f"reset() must begin in cell {CORRIDOR_START}.",
        tuple(_key_world(start=cell) for cell in range(CELLS) if cell != CORRIDOR_START),
    ),
)


def _key_case(rng: Generator) -> tuple[Any, ...]:
    """The actions of three episodes, each played to its end."""
    return tuple(_key_episode(rng) for _ in range(3))


def _key_episode(rng: Generator) -> list[int]:
    cell, key, actions = CORRIDOR_START, False, list[int]()
    while cell or not key:
        actions.append(int(rng.integers(2)))
        cell = min(max(cell + 2 * actions[-1] - 1, 0), CELLS - 1)
        key = key or cell == CELLS - 1
    return actions


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "dqn_targets",
            "(rewards, terminated, online, target, gamma) -> targets",
            faulty_targets(),
            targets_case,
            _TARGETS_MISTAKES,
        ),
        FunctionExercise(
            "huber_slopes",
            "(q, actions, targets) -> slopes",
            _faulty_slopes(),
            _slopes_case,
            _SLOPES_MISTAKES,
        ),
        FunctionExercise(
            "ready_slots",
            "(count, after_end) -> slots",
            _ready_slots,
            _ready_case,
            _READY_MISTAKES,
        ),
        FunctionExercise(
            "n_step_targets",
            "(rewards, terminated, values, n, gamma) -> targets",
            _n_step_targets,
            _n_step_case,
            _N_STEP_MISTAKES,
        ),
        WorldExercise(
            "key_world",
            "() -> environment",
            _key_world(),
            _key_case,
            _KEY_MISTAKES,
            num_cases=20,
            num_states=2 * CELLS,
        ),
    )
}

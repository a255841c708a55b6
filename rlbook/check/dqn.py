"""The exercises of chapter 06: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.exercise import Case, Flags, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise


def dqn_targets(
    rewards: Table, terminated: Flags, online: Table, target: Table, gamma: float
) -> Table:
    """Check DQN's targets (Mnih et al., 2015): chapter 06, equation (6.2).

    From float64 (B,), bool (B,), and the outputs of the network and of the target network for the
    next observations, float64 (B, A) each, it makes float64 (B,). What follows a terminated step is
    worth 0.
    """
    following = target.max(axis=1)
    return rewards + gamma * (1 - terminated) * following


# What goes wrong in targets however the next value is found, in chapter 07 too.
TARGET_MISTAKES: Mistakes = {
    "discount dropped. You add the next observation's value undiscounted; multiply it by gamma.": [
        {"gamma * (1 - terminated)": "(1 - terminated)"}
    ],
    "bootstrap through a terminal state. You count the next observation's value even where"
    " terminated is True; nothing follows there, and the target is the reward alone.": [
        {" * (1 - terminated)": ""}
    ],
    "terminated the wrong way round. You bootstrap only where the step terminated; it is the other"
    " steps that something follows.": [{"(1 - terminated)": "terminated"}],
    "sign. You subtract what follows; it is added to the reward.": [{"rewards +": "rewards -"}],
}
_TARGETS_MISTAKES: Mistakes = {
    **TARGET_MISTAKES,
    "online network instead of the target network. You take the next value from the network that"
    " learns, so the target moves with every update; take it from the target network.": [
        {"target.max": "online.max"}
    ],
    "double Q-learning. You let one network choose the action and the other value it, which is"
    " chapter 07's; here it is the maximum of what the target network says.": [
        {"target.max(axis=1)": "target[np.arange(len(target)), online.argmax(axis=1)]"},
        {"target.max(axis=1)": "online[np.arange(len(target)), target.argmax(axis=1)]"},
    ],
    "wrong action's value. You do not take the best action's value: the maximum is over the actions"
    " of each row, axis 1.": [
        {"target.max(axis=1)": "target[:, 0]"},
        {"target.max": "target.min"},
        {"target.max": "target.mean"},
        {"target.max(axis=1)": "target.max()"},
    ],
    "last reward dropped. You make the target 0 where terminated is True; it is the reward, which"
    " still counts.": [{"rewards +": "(1 - terminated) * rewards +"}],
    "discounted reward. You multiply the reward by gamma as well; only what comes after it is"
    " discounted.": [{"rewards +": "gamma * rewards +"}],
}


def targets_case(rng: Generator) -> Case:
    """Return a random batch: rewards, ends, both networks' outputs, and a discount."""
    size, num_actions = int(rng.integers(2, 7)), int(rng.integers(2, 5))
    online, target = rng.normal(size=(2, size, num_actions)).round(3)
    rewards = rng.choice([0.0, 1.0, -1.0, 2.5], size)
    gamma = float(rng.choice([0.9, 0.99, 0.5]))
    return rewards, rng.random(size) < 0.3, online, target, gamma


def huber_slopes(q: Table, actions: Whole, targets: Table) -> Table:
    """Check the gradient of the mean Huber loss: chapter 06, equation (6.3).

    It is the gradient with respect to all of `q`, float64 (B, A), the outputs of the network, from
    these, the actions taken, int64 (B,), and their targets, float64 (B,).
    """
    taken = np.arange(len(q)), actions
    errors = targets - q[taken]
    gradient = np.zeros_like(q)
    gradient[taken] = -errors.clip(-1, 1) / len(q)
    return gradient


_GRADIENT_MISTAKES: Mistakes = {
    "sign. Your gradient leads uphill: the loss falls as the prediction nears the target, so its"
    " derivative is minus the error.": [{"-errors": "errors"}],
    "clip dropped. This is the derivative of the squared error; Huber's is clipped to -1 and 1.": [
        {"-errors.clip(-1, 1)": "-errors"},
        {"-errors.clip(-1, 1)": "-2 * errors"},
    ],
    "only the sign is left. You make every error as large as 1; only those beyond 1 are cut"
    " back.": [{"-errors.clip(-1, 1)": "-np.sign(errors)"}],
    "wrong action's value. You correct the greedy action; it is the action that was taken whose"
    " target this is.": [{"), actions": "), q.argmax(axis=1)"}],
    "off by one. You correct the action beside the one that was taken.": [
        {"), actions": "), (actions + 1) % q.shape[1]"},
        {"), actions": "), (actions - 1) % q.shape[1]"},
    ],
    "all actions corrected. You move the values of actions that were not taken; nothing is known of"
    " those, and their derivatives are 0.": [
        "-(targets[:, None] - q).clip(-1, 1) / len(q)",
        {"gradient[taken] = -errors": "gradient += -errors[:, None]"},
    ],
    "sum instead of mean. You do not divide by the number of steps in the batch, B.": [
        {" / len(q)": ""}
    ],
    "divided by too much. You divide by all numbers of q; the mean is over the B steps.": [
        {"/ len(q)": "/ q.size"}
    ],
    "clipped after the division. You divide by B first and clip then; it is each step's own error"
    " that is clipped.": [{"errors.clip(-1, 1) / len(q)": "(errors / len(q)).clip(-1, 1)"}],
}


def _gradient_case(rng: Generator) -> Case:
    size, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    q, targets = rng.normal(size=(size, num_actions)).round(3), 4 * rng.normal(size=size).round(3)
    near = rng.integers(size)  # an error below 1, in every case
    actions = rng.integers(num_actions, size=size)
    targets[near] = q[near, actions[near]] + rng.uniform(0.1, 0.9)
    return q, actions, targets


def ready_slots(count: int, after_end: Flags) -> Whole:
    """Check which slots of a ring hold a transition that may be drawn.

    They are int64 (K,), the oldest first. Row t, of `count` so far, lies in slot
    t % len(after_end). `after_end`, bool, marks rows that begin no transition; nor does the newest
    row, as its next observation is still to come.
    """
    size = len(after_end)
    rows = np.arange(max(count - size, 0), count - 1)
    slots = rows % size
    return slots[~after_end[slots]]


_READY_MISTAKES: Mistakes = {
    "off by one. You count the newest row too; its next observation is still to come, and in the"
    " slot after it lies the oldest row of all.": [{"count - 1)": "count)"}],
    "oldest row dropped. You leave the oldest row out; its next observation is still there.": [
        {"rows % size": "rows[1:] % size"},
        {"count - size": "count - size + 1"},
    ],
    "rows after an end drawn. You count rows after an end; they hold where an episode ended, and"
    " begin no transition.": [{"return slots[~after_end[slots]]": "return slots"}],
    "only rows after an end. You keep the rows after an end, and leave the others out; it is the"
    " other way round.": [{"~after_end": "after_end"}],
    "slots never written. You count slots that nothing was written to yet; there are only count"
    " rows at first.": [
        {"rows % size": "(count + np.arange(size - 1)) % size"},
        {"rows % size": "np.delete(np.arange(size), (count - 1) % size)"},
    ],
    "order. Your slots are the right ones, but not the oldest row first.": [
        "np.sort(ready_slots(count, after_end))",
        "ready_slots(count, after_end)[::-1]",
    ],
    "rows instead of slots. These are the numbers of the rows, counted from the first ever; row t"
    " lies in slot t % len(after_end).": [{"return slots[": "return rows["}],
}


def _ready_case(rng: Generator) -> Case:
    size = int(rng.integers(4, 9))
    count = int(rng.integers(2, size) if rng.random() < 0.4 else rng.integers(size, 4 * size))
    after_end = rng.random(size) < 0.3
    after_end[min(count, size) :] = False  # nothing was written there
    return count, after_end


def n_step_targets(rewards: Table, terminated: Flags, values: Table, n: int, gamma: float) -> Table:
    """Check targets of n rewards and a value: chapter 06, equation (6.4).

    From float64 (T,), bool (T,) and float64 (T + 1,) it makes float64 (T,). From step t, n rewards
    count, and then `values[t + n]`: fewer where a step terminates, after which nothing counts, or
    where the stretch ends, and `values[T]` stands for the rest.
    """
    targets = np.zeros(len(rewards))
    for t in range(len(rewards)):
        k = 0
        while k < n and t + k < len(rewards):
            targets[t] += gamma**k * rewards[t + k]
            k += 1
            if terminated[t + k - 1]:
                break
        else:
            targets[t] += gamma**k * values[t + k]
    return targets


_N_STEP_MISTAKES: Mistakes = {
    "off by one. You count one reward too few or too many, or take the value one step away: after n"
    " rewards, values[t + n] stands for the rest.": [
        {"k < n": "k < n + 1"},
        {"k < n": "k < max(n - 1, 1)"},
        {"values[t + k]": "values[t + k - 1]"},
        {"values[t + k]": "values[min(t + k + 1, len(rewards))]"},
        {"gamma**k * values": "gamma ** (k - 1) * values"},
        {"gamma**k * values": "gamma ** (k + 1) * values"},
    ],
    "bootstrap through a terminal state. You go on past a step that terminated; its reward is the"
    " last that counts.": [{"if terminated[t + k - 1]": "if False"}],
    "discount dropped. A reward, or the value, is not discounted by as many steps as it is away.": [
        {"gamma**k * values": "values"},
        {"gamma**k * rewards": "rewards"},
        {"gamma**k * ": ""},
    ],
    "discounted once. You multiply the value by gamma; k steps away it is gamma**k.": [
        {"gamma**k * values": "gamma * values"}
    ],
    "full discount at the end of the stretch. Where the stretch ends after fewer than n steps, the"
    " value is fewer steps away: k steps, gamma**k, and not gamma**n.": [
        {"gamma**k * values": "gamma**n * values"}
    ],
    "sign. You subtract the value; it is added.": [{"gamma**k * values": "-(gamma**k) * values"}],
    "value dropped. You only add up rewards; after n of them, a value stands for the rest.": [
        {"gamma**k * values": "0 * values"}
    ],
    "discounted reward. You multiply the first reward by gamma; only what comes after it is"
    " discounted.": [{"gamma**k * rewards": "gamma ** (k + 1) * rewards"}],
}


def _n_step_case(rng: Generator) -> Case:
    length, n = int(rng.integers(4, 9)), int(rng.integers(1, 5))
    rewards, values = rng.normal(size=length).round(2), rng.normal(size=length + 1).round(2)
    terminated = rng.random(length) < 0.2
    return rewards, terminated, values, n, float(rng.choice([0.9, 0.99, 0.5]))


class KeyWorld(gymnasium.Env[Any, Any]):
    """Check an environment of your own: a corridor of the cells 0 to 4, and a key.

    Episodes start in cell 3, without the key. Action 0 goes one cell to the left, action 1 to the
    right; walls stop whoever would leave. Cell 4 holds the key. Reaching cell 0 with it pays 1 and
    terminates; every other step pays 0. The observation is the cell, plus 5 with the key. Nothing
    is ever truncated.
    """

    observation_space = Discrete(10)
    action_space = Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self.cell, self.key = 3, False
        return self.cell + 5 * self.key, {}

    def step(self, action: int) -> Step:
        cell = self.cell + (1 if action == 1 else -1)
        self.cell = min(max(cell, 0), 4)
        self.key = self.key or self.cell == 4
        home = self.cell == 0 and self.key
        return self.cell + 5 * self.key, float(home), home, False, {}


_KEY_MISTAKES: Mistakes = {
    "pays without the key. Reaching cell 0 pays and terminates only with the key.": [
        {" and self.key": ""}
    ],
    "key not seen. Your observation does not tell whether the key was picked up, so that two states"
    " look alike; add 5 with the key.": [{" + 5 * self.key": ""}],
    "key kept. Your second episode begins with the key of the first one: put it back in reset().": [
        {"= 3, False": "= 3, getattr(self, 'key', False)"}
    ],
    "off by one. The key lies in cell 4, the last one.": [{"self.cell == 4": "self.cell == 3"}],
    "does not terminate. Reaching cell 0 with the key ends the episode.": [
        {"home, False": "False, False"}
    ],
    SWAPPED_ENDS: [{"home, False": "False, home"}],
    "moves the wrong way. In your environment action 0 goes to the right and action 1 to the left;"
    " it is the other way round.": [{"action == 1": "action == 0"}],
    "walls that let through. Whoever walks out on one side of your environment comes in on the"
    " other; walls stop you.": [{"min(max(cell, 0), 4)": "cell % 5"}],
    "wrong reward. Reaching cell 0 with the key pays 1, and everything else pays 0.": [
        {"float(home)": "0.0"},
        {"float(home)": "-float(home)"},
        {"float(home)": "home - 1.0"},
        {"float(home)": "home + 1.0"},
    ],
    "starts in the wrong cell. reset() must begin in cell 3.": [
        {"= 3, False": f"= {cell}, False"} for cell in (0, 1, 2, 4)
    ],
}


def _key_case(rng: Generator) -> Case:
    """The actions of three episodes, each played to its end."""
    return tuple(_key_episode(rng) for _ in range(3))


def _key_episode(rng: Generator) -> list[int]:
    env, actions, ended = KeyWorld(), list[int](), False
    env.reset()
    while not ended:
        actions.append(int(rng.integers(2)))
        _, _, ended, _, _ = env.step(actions[-1])
    return actions


EXERCISES = by_name(
    FunctionExercise(dqn_targets, targets_case, _TARGETS_MISTAKES, "targets"),
    FunctionExercise(huber_slopes, _gradient_case, _GRADIENT_MISTAKES, "gradient"),
    FunctionExercise(ready_slots, _ready_case, _READY_MISTAKES, "slots"),
    FunctionExercise(n_step_targets, _n_step_case, _N_STEP_MISTAKES, "targets"),
    WorldExercise(KeyWorld, _key_case, _KEY_MISTAKES, start=3),
)

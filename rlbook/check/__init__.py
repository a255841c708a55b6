"""Checkers for the book's exercises: they say what is wrong, not only that it is.

>>> from rlbook import check
>>> from rlbook.algorithms import q_learning
>>> check.q_learning_update(q_learning.q_learning_update)
q_learning_update: correct (200 cases)

Every exercise has a reference, random cases (always the same ones), and the mistakes that people
make in it. Your function is run on copies of all cases. If all that it does is what one of the
mistakes would do, `CheckFailed` names that mistake; otherwise it shows the first case in which your
function differs from the reference, and how.
"""

from __future__ import annotations

from rlbook.check.dqn import EXERCISES as DQN
from rlbook.check.exercise import CheckFailed as CheckFailed
from rlbook.check.exercise import Function
from rlbook.check.laptop_to_cluster import EXERCISES as LAPTOP_TO_CLUSTER
from rlbook.check.monte_carlo import EXERCISES as MONTE_CARLO
from rlbook.check.q_learning import EXERCISES
from rlbook.check.rainbow import EXERCISES as RAINBOW
from rlbook.check.sarsa import EXERCISES as SARSA
from rlbook.check.snake import EXERCISES as SNAKE
from rlbook.check.the_problem import EXERCISES as THE_PROBLEM


def discounted_return(function: Function) -> None:
    """Check the return of an episode, Sutton and Barto (2018), equation 3.8.

    Args:
        function: `(rewards, gamma) -> value`, from float64 (T,), at least one reward: the sum of
            all, the one that comes k steps after the first multiplied by gamma**k.

    Raises:
        CheckFailed: it does something else.
    """
    THE_PROBLEM["discounted_return"].check(function)


def bandit_update(function: Function) -> None:
    """Check the update of a sample mean, Sutton and Barto (2018), equation 2.3.

    Args:
        function: `(estimates, counts, action, reward) -> error` that changes `estimates`, float64
            (A,), in place, at `estimates[action]` alone, so that it becomes the mean of all rewards
            of this arm. `counts`, int64 (A,), says how many these are, this one included. The error
            is reward minus old estimate.

    Raises:
        CheckFailed: it does something else.
    """
    THE_PROBLEM["bandit_update"].check(function)


def value_iteration_sweep(function: Function) -> None:
    """Check one sweep of value iteration, Sutton and Barto (2018), equation 4.10.

    Args:
        function: `(table, values, gamma) -> values`, from a `TransitionTable` and float64 (S,) to
            new float64 (S,). All states look at the old values; what follows a terminated outcome
            is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    THE_PROBLEM["value_iteration_sweep"].check(function)


def greedy_policy(function: Function) -> None:
    """Check the policy that is greedy with respect to state values (equation 4.9).

    Args:
        function: `(table, values, gamma) -> policy`, from a `TransitionTable` and float64 (S,) to
            int64 (S,), the best action of each state: the first of equals, as `argmax` does.

    Raises:
        CheckFailed: it does something else.
    """
    THE_PROBLEM["greedy_policy"].check(function)


def policy_values(function: Function) -> None:
    """Check the values of a policy, Sutton and Barto (2018), equation 3.14.

    Args:
        function: `(table, policy, gamma) -> values`, from a `TransitionTable` and probabilities
            float64 (S, A) to float64 (S,). Exact, or swept until nothing changes.

    Raises:
        CheckFailed: it does something else.
    """
    THE_PROBLEM["policy_values"].check(function)


def my_bandit(make_env: Function) -> None:
    """Check an environment of your own: a bandit with three arms.

    One pull is an episode. Action a pays 1 with probability 0.2, 0.5 or 0.8, that is where
    `self.np_random.random()`, drawn once a pull, is below it; otherwise 0. Then it terminates. The
    observation is always 0, and nothing is ever truncated.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(1)` and actions `Discrete(3)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    THE_PROBLEM["my_bandit"].check(make_env)


def discounted_returns(function: Function) -> None:
    """Check the returns of a stretch of experience, Sutton and Barto (2018), equation 3.9.

    Args:
        function: `(rewards, terminated, last_value, gamma) -> returns`, from float64 (T,) and bool
            (T,) to float64 (T,). The stretch may hold several episodes: nothing is counted beyond a
            step that terminated. After the last step comes last_value, unless that terminated too.

    Raises:
        CheckFailed: it does something else.
    """
    MONTE_CARLO["discounted_returns"].check(function)


def running_moments(function: Function) -> None:
    """Check a running mean and sum of squares (Welford, Technometrics 4, 1962).

    Args:
        function: `(moments, value) -> moments`, from float64 (3,) to a new float64 (3,): how many
            values there were, their mean, the sum of the squares of their distances from the mean.

    Raises:
        CheckFailed: it does something else.
    """
    MONTE_CARLO["running_moments"].check(function)


def glie_policy(function: Function) -> None:
    """Check a policy that is greedy in the limit with infinite exploration.

    Args:
        function: `(q, visits) -> probabilities`, from float64 (S, A) and int64 (S, A) to float64
            (S, A): any action with probability epsilon = 1 / N(s), otherwise the best (the first of
            equals, as `argmax` does). N(s) counts the visits to a state; where it is 0, epsilon
            is 1.

    Raises:
        CheckFailed: it does something else.
    """
    MONTE_CARLO["glie_policy"].check(function)


def first_visit_action_values(function: Function) -> None:
    """Check first-visit Monte Carlo estimates of action values, Sutton and Barto, section 5.2.

    Args:
        function: `(states, actions, rewards, terminated, gamma, num_states, num_actions) -> q`,
            from int64, int64, float64 and bool (T,), in which whole episodes follow one another, to
            float64 (S, A): for each pair the mean, over the episodes in which it occurs, of the
            return that followed its first visit. NaN for a pair that never occurs.

    Raises:
        CheckFailed: it does something else.
    """
    MONTE_CARLO["first_visit_action_values"].check(function)


def weighted_importance_sampling(function: Function) -> None:
    """Check weighted importance sampling, Sutton and Barto (2018), equations 5.3 and 5.6.

    Args:
        function: `(states, actions, rewards, terminated, policy, behaviour, gamma) -> value`. Whole
            episodes follow one another in int64, int64, float64 and bool (T,); both policies are
            float64 (S, A). The value of where episodes begin: the mean of their returns, each
            weighted by the product of policy / behaviour over its steps; 0 if all weights are 0.

    Raises:
        CheckFailed: it does something else.
    """
    MONTE_CARLO["weighted_importance_sampling"].check(function)


def my_dice_game(make_env: Function) -> None:
    """Check an environment of your own: one turn of the dice game Pig.

    The observation is the number of points, at first 0. Action 0 rolls a die, once, with
    `self.np_random.integers(1, 7)`. A 1 loses all points (the observation is 0) and terminates; any
    other number is added, and points above 25 count as 25. Action 1 holds: it pays the points,
    which stay, and terminates. Everything else pays 0, and nothing is ever truncated.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(26)` and actions `Discrete(2)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    MONTE_CARLO["my_dice_game"].check(make_env)


def td_update(function: Function) -> None:
    """Check a TD(0) update of state values, Sutton and Barto (2018), equation 6.2.

    Args:
        function: `(values, obs, reward, next_obs, terminated, learning_rate, gamma) -> td_error`
            that changes `values`, float64 (S,), in place, at `values[obs]` alone, and returns the
            error before learning_rate is applied. What follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    SARSA["td_update"].check(function)


def sarsa_update(function: Function) -> None:
    """Check a SARSA update, Sutton and Barto (2018), equation 6.7.

    Args:
        function: `(q, obs, action, reward, next_obs, next_action, terminated, learning_rate, gamma)
            -> td_error` that changes `q`, float64 (S, A), in place, at `q[obs, action]` alone. What
            follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    SARSA["sarsa_update"].check(function)


def expected_value(function: Function) -> None:
    """Check the mean of a state's action values under an ε-greedy policy.

    Args:
        function: `(q, obs, epsilon) -> value`, from float64 (S, A): Σ_a π(a|obs) q[obs, a], where π
            takes any action with probability epsilon, and otherwise the best.

    Raises:
        CheckFailed: it does something else.
    """
    SARSA["expected_value"].check(function)


def expected_sarsa_update(function: Function) -> None:
    """Check an Expected SARSA update, Sutton and Barto (2018), equation 6.9.

    Args:
        function: `(q, obs, action, reward, next_obs, terminated, learning_rate, gamma, epsilon) ->
            td_error` that changes `q`, float64 (S, A), in place, at `q[obs, action]` alone. The
            policy is ε-greedy in `q`, with this epsilon.

    Raises:
        CheckFailed: it does something else.
    """
    SARSA["expected_sarsa_update"].check(function)


def n_step_return(function: Function) -> None:
    """Check an n-step return, Sutton and Barto (2018), equation 7.1.

    Args:
        function: `(rewards, last_value, gamma) -> value`, from float64 (n,) and the value of where
            the n steps led, which is 0 if they led to the end.

    Raises:
        CheckFailed: it does something else.
    """
    SARSA["n_step_return"].check(function)


def windy_gridworld(make_env: Function) -> None:
    """Check a windy gridworld of your own (Sutton and Barto, 2018, example 6.5).

    Seven rows of ten cells, counted row by row from 0, at the top left; row 0 is the top. Episodes
    begin in cell 30, and reaching cell 37 terminates. Actions are 0 up, 1 right, 2 down, 3 left.
    The wind lifts whoever leaves a cell by 0, 0, 0, 1, 1, 1, 2, 2, 1, 0 rows, according to its
    column. Nobody leaves the grid. Every step pays -1, the last one too. Nothing is ever truncated.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(70)` and actions `Discrete(4)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    SARSA["windy_gridworld"].check(make_env)


def q_learning_update(function: Function) -> None:
    """Check a Q-learning update, Sutton and Barto (2018), equation 6.8.

    Args:
        function: `(q, obs, action, reward, next_obs, terminated, learning_rate, gamma) -> td_error`
            that changes `q`, float64 (S, A), in place, at `q[obs, action]` alone, and returns the
            error before learning_rate is applied. What follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["q_learning_update"].check(function)


def double_q_learning_update(function: Function) -> None:
    """Check a double Q-learning update, equation 6.10 (van Hasselt, "Double Q-learning", 2010).

    Args:
        function: `(q, other, obs, action, reward, next_obs, terminated, learning_rate, gamma) ->
            td_error`. The next action is chosen by `q` (the first of equals, as `argmax` does) and
            valued by `other`; `q` is changed in place, and `other` stays as it is. Both (S, A).

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["double_q_learning_update"].check(function)


def epsilon_greedy_probabilities(function: Function) -> None:
    """Check the probabilities of an epsilon-greedy policy, Sutton and Barto (2018), section 5.4.

    Args:
        function: `(q_row, epsilon) -> probabilities`, float64 (A,): epsilon / A for every action,
            and the remaining 1 - epsilon shared equally by all actions of the highest value.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["epsilon_greedy_probabilities"].check(function)


def average_tables(function: Function) -> None:
    """Check the average of several workers' tables.

    Args:
        function: `(q, tables, visits) -> average`, from float64 (S, A), float64 (N, S, A) and int64
            (N, S, A) to float64 (S, A). Each cell is the mean of the N workers' cells, weighted by
            how often each visited it; where nobody did, it is q's. No argument is changed.

    Raises:
        CheckFailed: it does something else.
    """
    EXERCISES["average_tables"].check(function)


def my_world(make_env: Function) -> None:
    """Check an environment of your own: a corridor of the cells 0 to 6.

    Episodes start in cell 3. Action 0 goes one cell to the left, action 1 to the right. Reaching
    cell 6 pays 1 and terminates, reaching cell 0 pays 0 and terminates, every other step pays 0.
    Nothing is ever truncated: that is for a time limit to do.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(7)` and actions `Discrete(2)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    EXERCISES["my_world"].check(make_env)


def apple_direction(function: Function) -> None:
    """Check the direction in which Snake's apple lies.

    Args:
        function: `(head, apple) -> number` of two cells (row, column), rows counted from the top:
            3 * (0 above, 1 level, 2 below) + (0 to the left, 1 in line, 2 to the right).

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["apple_direction"].check(function)


def blocked_directions(function: Function) -> None:
    """Check which directions are blocked for Snake's head.

    Args:
        function: `(ages) -> blocked`, from a board of ages, int16 (n, n), to int64 (4,): 1 where a
            wall or a cell of age 2 or more lies to the left, down, right and up of the head, which
            has the highest age; else 0.

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["blocked_directions"].check(function)


def reachable_cells(function: Function) -> None:
    """Check a flood fill.

    Args:
        function: `(ages, row, column) -> number` of cells that can be reached from this one, itself
            included, by steps to the left, down, right and up through cells of age 1 or less.

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["reachable_cells"].check(function)


def encode_digits(function: Function) -> None:
    """Check a number made of digits, each in a base of its own.

    Args:
        function: `(digits, bases) -> number`, from int64 (k,) and (k,). The first digit counts
            ones, and every other one the product of the bases before its own.

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["encode_digits"].check(function)


def decode_digits(function: Function) -> None:
    """Check the digits of a number: `encode_digits` backwards.

    Args:
        function: `(number, bases) -> digits`, from an int and int64 (k,) to int64 (k,).

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["decode_digits"].check(function)


def shaped_rewards(function: Function) -> None:
    """Check rewards with potential-based shaping (Ng, Harada and Russell, 1999, theorem 1).

    Args:
        function: `(rewards, potentials, gamma, terminated) -> shaped`, from float64 (T,) and
            (T + 1,) to float64 (T,): to each reward is added gamma times the potential after the
            step, less the one before it. After a step that terminated, the potential counts as 0.

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["shaped_rewards"].check(function)


def snake_view(make_view: Function) -> None:
    """Check a wrapper that shows the board of Snake as one of 144 numbers.

    Args:
        make_view: `(env) -> environment`, such as a class of `gymnasium.ObservationWrapper`. `env`
            shows ages; the wrapper shows, and declares, `Discrete(144)`: the blocked directions
            (see `blocked_directions`) as digits that count 1, 2, 4 and 8, and 16 times the apple's
            direction (see `apple_direction`).

    Raises:
        CheckFailed: it does something else.
    """
    SNAKE["snake_view"].check(make_view)


def speed_up(function: Function) -> None:
    """Check the speed-up of a run that is shared out: chapter 05, equation (5.2).

    Args:
        function: `(serial, work, rounds, overhead, workers) -> speed-up`. Alone, a run takes serial
            + work seconds. With workers, the work is divided among them, the serial part is not,
            and each of the rounds costs the overhead, in seconds.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["speed_up"].check(function)


def split_episodes(function: Function) -> None:
    """Check how many episodes each worker gets.

    Args:
        function: `(number, workers) -> sizes`, int64 (workers,): they add up to number, differ by
            at most one, and the larger ones come first, as the parts of `np.array_split` do.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["split_episodes"].check(function)


def stream_keys(function: Function) -> None:
    """Check the keys of environments' random streams.

    Args:
        function: `(seed, stream, number) -> keys`, uint64 (number,): for environment 0, 1, … the
            first 64-bit word of `SeedSequence(seed, spawn_key=(stream, index))`.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["stream_keys"].check(function)


def merge_moments(function: Function) -> None:
    """Check moments of several workers put together (Chan, Golub and LeVeque, 1979).

    Args:
        function: `(moments) -> merged`, from float64 (W, 3) to (3,): each row holds how many
            numbers a worker has seen, their mean, and the sum of their squared distances from it;
            the result holds the same of all numbers together. A row whose count is 0 is all zeros.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["merge_moments"].check(function)


def replay_journal(function: Function) -> None:
    """Check the state of a worker that was built again from a snapshot and a journal.

    Args:
        function: `(total, done, journal) -> total`. The snapshot holds a total, and all calls up to
            number `done` are in it. `journal` is int64 (J, 2), its rows (number, amount), in the
            order in which they were sent, which is not that of their numbers; a call that was sent
            again stands there again. A call makes the total 2 * total + amount; each counts once,
            in the order of the numbers.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["replay_journal"].check(function)


def my_thrower(worker_class: Function) -> None:
    """Check a worker of your own that throws darts at a square, to estimate π.

    `throw(number)` draws `rng.random((number, 2))` and gives back how many points (x, y) of all
    calls so far had x² + y² < 1. `rng` is the worker's own generator, made once, from
    `SeedSequence(seed, spawn_key=(0, index))`. Between calls the worker is frozen and thawed.

    Args:
        worker_class: a class whose constructor takes `(index, seed)`.

    Raises:
        CheckFailed: it does something else.
    """
    LAPTOP_TO_CLUSTER["my_thrower"].check(worker_class)


def dqn_targets(function: Function) -> None:
    """Check DQN's targets (Mnih et al., 2015): chapter 06, equation (6.2).

    Args:
        function: `(rewards, terminated, online, target, gamma) -> targets`, float64 (B,), from
            float64 (B,), bool (B,), and what the network and the target network say of the next
            observations, float64 (B, A) each. What follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    DQN["dqn_targets"].check(function)


def huber_slopes(function: Function) -> None:
    """Check the slopes of the mean Huber loss: chapter 06, equation (6.3).

    Args:
        function: `(q, actions, targets) -> slopes` with respect to all of `q`, float64 (B, A), from
            what the network said, float64 (B, A), the actions taken, int64 (B,), and their targets,
            float64 (B,).

    Raises:
        CheckFailed: it does something else.
    """
    DQN["huber_slopes"].check(function)


def ready_slots(function: Function) -> None:
    """Check which slots of a ring hold a transition that may be drawn.

    Args:
        function: `(count, after_end) -> slots`, int64 (K,), the oldest first. Row t, of `count` so
            far, lies in slot t % len(after_end). `after_end`, bool, marks rows that begin no
            transition; nor does the newest row, as its next observation is still to come.

    Raises:
        CheckFailed: it does something else.
    """
    DQN["ready_slots"].check(function)


def n_step_targets(function: Function) -> None:
    """Check targets of n rewards and a value: chapter 06, equation (6.4).

    Args:
        function: `(rewards, terminated, values, n, gamma) -> targets`, float64 (T,), from float64
            (T,), bool (T,) and float64 (T + 1,). From step t, n rewards count, and then
            `values[t + n]`: fewer where a step terminates, after which nothing counts, or where
            the stretch ends, and `values[T]` stands for the rest.

    Raises:
        CheckFailed: it does something else.
    """
    DQN["n_step_targets"].check(function)


def key_world(make_env: Function) -> None:
    """Check an environment of your own: a corridor of the cells 0 to 4, and a key.

    Episodes start in cell 3, without the key. Action 0 goes one cell to the left, action 1 to the
    right; walls stop whoever would leave. Cell 4 holds the key. Reaching cell 0 with it pays 1 and
    terminates; every other step pays 0. The observation is the cell, plus 5 with the key. Nothing
    is ever truncated.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(10)` and actions `Discrete(2)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    DQN["key_world"].check(make_env)


def double_targets(function: Function) -> None:
    """Check double Q-learning's targets (van Hasselt, Guez and Silver, AAAI 2016, equation 4).

    Args:
        function: `(rewards, terminated, online, target, gamma) -> targets`, float64 (B,), from
            float64 (B,), bool (B,), and what the network and the target network say of the next
            observations, float64 (B, A) each. The online network picks the next action, and the
            target network says what it is worth. What follows a terminated step is worth 0.

    Raises:
        CheckFailed: it does something else.
    """
    RAINBOW["double_targets"].check(function)


def importance_weights(function: Function) -> None:
    """Check importance weights (Schaul et al., 2016, section 3.4).

    Args:
        function: `(priorities, drawn, alpha, beta) -> weights`, float64 (B,), from the priorities p
            of all N rows of a memory, float64 (N,), all above 0, and the rows that were drawn,
            int64 (B,), some perhaps twice. Row i is drawn with probability P(i), which is
            p_i**alpha over the sum of all of these. Its weight is (N P(i))**-beta, over the largest
            weight of the rows drawn.

    Raises:
        CheckFailed: it does something else.
    """
    RAINBOW["importance_weights"].check(function)


def dueling_values(function: Function) -> None:
    """Check action values out of two streams (Wang et al., 2016, equation 9).

    Args:
        function: `(values, advantages) -> q`, float64 (B, A), from float64 (B, 1), as a head of one
            unit gives it, and float64 (B, A): each row's value plus its advantages, less their
            mean.

    Raises:
        CheckFailed: it does something else.
    """
    RAINBOW["dueling_values"].check(function)


def projection(function: Function) -> None:
    """Check C51's projection (Bellemare, Dabney and Munos, 2017, algorithm 1).

    Args:
        function: `(support, returns, discounts, probabilities) -> projected`, float64 (B, K), from
            the K atoms, float64 (K,), equally spaced and rising, float64 (B,) and (B,), and the
            atoms' probabilities, float64 (B, K). Atom z moves to return + discount * z, though not
            beyond the outermost atoms, and its probability is shared among the two atoms beside
            that place: the nearer, the more. An atom that lands exactly on another keeps all of it.

    Raises:
        CheckFailed: it does something else.
    """
    RAINBOW["projection"].check(function)


def interquartile_mean(function: Function) -> None:
    """Check the mean of the middle half (Agarwal et al., 2021, section 4).

    Args:
        function: `(scores) -> value`, from float64 (runs,), in any order, at least 4 of them: the
            mean of what is left when the int(runs / 4) lowest and as many of the highest are
            dropped.

    Raises:
        CheckFailed: it does something else.
    """
    RAINBOW["interquartile_mean"].check(function)


def deep_sea(make_env: Function) -> None:
    """Check an environment of your own: the deep sea (Osband et al., 2019), five cells deep.

    Five rows of five cells, counted row by row from 0, at the top left. Episodes start in cell 0
    and have five steps. Each of the first four goes one row down, and one column to the left with
    action 0, to the right with action 1; the walls stop whoever would leave. The fifth, which is
    made from the bottom row, terminates the episode and does not move: its observation is the cell
    that it was made from. Every step with action 1 costs 0.01 / 5, the fifth too, and one with
    action 0 is free. If the fifth is made with action 1 from cell 24, at the bottom right, it also
    pays 1, so that its reward is 0.998. Nothing is ever truncated.

    Args:
        make_env: a callable, such as your class, that makes a `gymnasium.Env` with observations
            `Discrete(25)` and actions `Discrete(2)`.

    Raises:
        CheckFailed: it does something else, or Gymnasium's `check_env` objects.
    """
    RAINBOW["deep_sea"].check(make_env)

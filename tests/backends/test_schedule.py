"""Local with a schedule and with faults: asynchronous programs that are the same each time."""

import threading
from concurrent import futures
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait

import numpy as np
import pytest
from probes import LAKE, same

from rlbook import QLearning
from rlbook.backends import Backend, Ref, WorkerLost
from rlbook.backends.local import Local

SEEDS = range(5)


class Worker:
    """Counts; tells of each call to a list outside, which outlives it."""

    def __init__(self, index):
        self.index = index
        self.total = 0
        self.log = []

    def add(self, amount=1):
        self.total += amount
        return self.total

    def tell(self, word):
        TOLD.append((self.index, word))
        return self.index, word

    def note(self, words):
        self.log.append(words)
        words.append("seen")
        return [list(each) for each in self.log]

    def fail(self, message="no"):
        raise ValueError(message)

    def ones(self, n):
        return np.full(n, 1.0 + self.index)

    def total_of(self, array):
        return float(array.sum())

    def interrupt(self):
        raise KeyboardInterrupt


TOLD: list = []


@pytest.fixture(autouse=True)
def nothing_told():
    TOLD.clear()


def group_of(n=3, **options):
    return Local(**options).launch(Worker, n)


def telling(group, calls=30):
    """Futures of calls to all workers, each with its number among its worker's."""
    return [group.submit(i % len(group), "tell", i // len(group)) for i in range(calls)]


def order_of(schedule, calls=30, **options):
    """In which order some calls complete."""
    asked = telling(group_of(schedule=schedule, **options), calls)
    return [future.result() for future in as_completed(asked)]


# The order of completion


def test_without_a_schedule_a_call_is_done_at_once():
    future = group_of().submit(0, "tell", "word")
    assert TOLD == [(0, "word")] and future.done()


def test_with_one_nothing_happens_until_somebody_waits():
    asked = telling(group_of(schedule=0))
    assert not TOLD
    asked[-1].result()
    assert TOLD


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    orders = [order_of(seed) for seed in SEEDS]
    assert orders == [order_of(seed) for seed in SEEDS]
    assert len({tuple(order) for order in orders}) == len(SEEDS)


@pytest.mark.parametrize("schedule", SEEDS)
def test_each_worker_keeps_its_order(schedule):
    order = order_of(schedule)
    assert order == TOLD
    for worker in range(3):
        assert [n for index, n in order if index == worker] == list(range(10))
    assert [index for index, _ in order] != [0, 1, 2] * 10


def test_any_of_four_workers_may_be_first_and_any_may_be_last():
    group = [
        [future.result()[0] for future in as_completed(telling(group_of(4, schedule=seed), 4))]
        for seed in range(100)
    ]
    assert {order[0] for order in group} == {order[-1] for order in group} == {0, 1, 2, 3}


def test_some_calls_are_overtaken_by_very_many_others_and_some_end_together():
    group = group_of(4, schedule=0)
    asked = {group.submit(i, "add"): (i, 0) for i in range(4)}
    done_at, overtaken_by = [], []
    for n in range(2000):
        (first,), _ = wait(asked, return_when=FIRST_COMPLETED)
        i, began = asked.pop(first)
        done_at.append(group.schedule.now)
        overtaken_by.append(n - began)
        asked[group.submit(i, "add")] = i, n
    assert np.median(overtaken_by) < 5 and max(overtaken_by) > 100
    gaps = np.diff(done_at)
    assert gaps.min() == 0 and np.mean(gaps == 0) > 0.02


def test_call_and_map_wait_for_all_and_come_after_what_was_submitted_before():
    group = group_of(schedule=1)
    before = [group.submit(i, "add", 10) for i in (0, 0, 1)]
    assert group.map("add", [(1,), (2,), (3,)]) == [21, 12, 3]
    assert all(future.is_over() for future in before)
    assert group.call("add", 0) == [21, 12, 3]


def test_run_gives_results_in_order():
    for options in ({"schedule": 2}, {"faults": 0.3}, {"schedule": 2, "faults": 0.3}):
        with Local(**options, max_restarts=1000) as backend:
            assert backend.run(lambda x: x * x, range(20)) == [x * x for x in range(20)]
            with pytest.raises(ZeroDivisionError):
                backend.run(lambda x: 1 / x, [1, 0])


# All ways to wait


def test_the_standard_library_waits_as_it_did_for_ten_years():
    """`_Waiters` relies on this: if it fails, `wait` would hang on futures with a schedule."""
    future = futures.Future()
    assert future._waiters == []
    seen = []

    class Seen(list):
        def append(self, waiter):
            seen.append(waiter)
            waiter.event = threading.Event()
            waiter.event.wait = lambda timeout=None: future.set_result(1)
            super().append(waiter)

    future._waiters = Seen()
    assert wait([future]).done == {future} and len(seen) == 1
    future = futures.Future()
    future._waiters = Seen()
    assert list(as_completed([future])) == [future] and len(seen) == 2


def test_result_waits_no_longer_than_it_must():
    group = group_of(schedule=3)
    asked = telling(group)
    assert asked[3].result() == (0, 1)
    assert TOLD[-1] == (0, 1) and len(TOLD) < 30


def test_exception_waits_too():
    group = group_of(schedule=3)
    assert isinstance(group.submit(0, "fail").exception(), ValueError)
    assert group.submit(0, "add").exception() is None


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_polling_ends(timeout):
    group = group_of(schedule=4)
    for poll in (
        lambda future: future.done(),
        lambda future: wait([future], timeout=timeout).done,
        lambda future: not raises_timeout(future, timeout),
    ):
        future = telling(group, 6)[-1]
        polls = 0
        while not poll(future):
            polls += 1
            assert polls < 10_000
        assert future.result() == (2, 1)


def raises_timeout(future, timeout):
    try:
        future.result(timeout)
    except TimeoutError:
        return True
    return False


def test_each_question_whether_it_is_done_completes_one_call():
    asked = telling(group_of(1, schedule=5), 10)
    for n in range(1, 11):
        assert asked[-1].done() is (n == 10)
        assert asked[n - 1].done()  # it is, so that no other need be
        assert len(TOLD) == n


@pytest.mark.parametrize("schedule", SEEDS)
def test_wait_for_the_first(schedule):
    pending, order = set(telling(group_of(schedule=schedule))), []
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        assert len(done) == 1
        order += [future.result() for future in done]
    assert order == TOLD
    assert order == order_of(schedule)


def test_wait_for_all_or_for_the_first_exception():
    group = group_of(schedule=6)
    asked = [*telling(group), group.submit(1, "fail"), *telling(group)]
    done, pending = wait(asked, return_when=FIRST_EXCEPTION)
    assert asked[30] in done and pending
    done, pending = wait(asked, return_when=ALL_COMPLETED)
    assert len(done) == 61 and not pending


def test_what_is_done_already_comes_in_the_same_order_too():
    """`as_completed` and `wait` go through sets, whose order is that of the hashes."""
    orders, apart = [], []
    for _ in range(4):
        asked = telling(group_of(schedule=7))
        wait(asked[-2:])
        orders.append([future.result() for future in as_completed(asked)])
        orders.append([future.result() for future in wait(asked).done])
        apart.append([bytearray(n) for n in range(1000)])  # so that the next lie elsewhere
    assert orders[::2] == [orders[0]] * 4 and orders[1::2] == [orders[1]] * 4


def test_others_futures_may_be_among_those_waited_for():
    group = group_of(schedule=8)
    with futures.ThreadPoolExecutor(1) as pool:
        go = threading.Event()
        asked = [*telling(group), pool.submit(go.wait)]
        asked[0].add_done_callback(lambda _: go.set())
        assert len({id(future) for future in as_completed(asked)}) == 31


def test_two_schedules_have_no_common_time():
    asked = [group_of(schedule=seed).submit(0, "add") for seed in (1, 2)]
    with pytest.raises(ValueError, match="two schedules"):
        wait(asked)
    assert [future.result() for future in asked] == [1, 1]


def test_threads_may_wait_at_the_same_time():
    group = group_of(schedule=9)
    asked = telling(group, 300)
    results = [None] * 3

    def wait_for(part):
        results[part] = [future.result() for future in asked[part::3]]

    threads = [threading.Thread(target=wait_for, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [[(part, n) for n in range(100)] for part in range(3)]


# Cancelling, callbacks, back-pressure, ends


def test_a_call_that_waits_in_line_can_be_cancelled():
    group = group_of(schedule=1)
    asked = telling(group, 9)
    assert asked[3].cancel() and asked[8].cancel()
    assert not asked[0].cancel()  # it has begun
    done, pending = wait(asked)
    assert len(done) == 9 and not pending
    assert asked[3].cancelled() and asked[8].cancelled()
    assert sorted(TOLD) == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    with pytest.raises(futures.CancelledError):
        asked[3].result()


@pytest.mark.parametrize("schedule", SEEDS)
def test_a_callback_may_submit(schedule):
    def chain(n):
        future = group.submit(n % 3, "tell", n)
        asked.append(future)
        if n < 20:
            future.add_done_callback(lambda _: chain(n + 1))

    asked = []
    group = group_of(schedule=schedule)
    chain(0)
    while len(asked) < 21:
        asked[-1].result()
    asked[-1].result()
    assert [word for _, word in TOLD] == list(range(21))


def test_a_callback_may_wait():
    group = group_of(schedule=2)
    first, second = group.submit(0, "add", 1), group.submit(0, "add", 10)
    seen = []
    first.add_done_callback(lambda _: seen.append(group.call("add", 100)))
    first.add_done_callback(lambda _: seen.append(second.result()))
    assert first.result() == 1
    assert seen == [[111, 100, 100], 11]


@pytest.mark.parametrize("options", [{"schedule": 3}, {"schedule": 3, "faults": 0.2}, {}])
def test_whoever_submits_too_much_waits(options):
    group = group_of(**options, max_pending=2, max_restarts=1000)
    asked = []
    for i in range(50):
        asked.append(group.submit(0, "add"))
        assert sum(not future.running() and not is_over(future) for future in asked) <= 2
        assert sum(not is_over(future) for future in asked) <= 2, i
    assert [future.result() for future in asked] == list(range(1, 51))


def is_over(future):
    return future._state not in ("PENDING", "RUNNING")


def test_a_closed_group_ends_all_waits():
    for close in (lambda group: group.close(), lambda group: group.backend.close()):
        group = group_of(schedule=4)
        asked = telling(group, 9)
        asked[4].cancel()
        asked[0].result()
        close(group)
        done, pending = wait(asked, timeout=1)
        assert len(done) == 9 and not pending
        for future in asked:
            known = future.cancelled() or future.exception() is None
            assert known or "was closed" in str(future.exception())
        assert "was closed" in str(asked[-1].exception())
        with pytest.raises(RuntimeError, match="worker 0 is closed"):
            group.call("add")
        group.close()


def test_an_interrupted_call_says_so():
    group = group_of(schedule=5)
    future, later = group.submit(0, "interrupt"), group.submit(0, "add")
    with pytest.raises(KeyboardInterrupt):
        later.result()
    assert "interrupted" in str(future.exception())
    assert later.result() == 1


# Timeouts, in virtual seconds


def test_timeouts_repeat():
    def answered(seed, timeout):
        asked = telling(group_of(schedule=seed), 60)
        done, _ = wait(asked, timeout)
        return [future.result() for future in asked if future in done]

    for seed in SEEDS:
        few, more = answered(seed, 0.02), answered(seed, 0.1)
        assert few == answered(seed, 0.02) and more == answered(seed, 0.1)
        assert len(few) <= len(more)
    assert len(answered(0, 0.02)) < len(answered(0, 600)) == 60


def slow_group():
    """A group, and a future of a call that takes at least twenty virtual milliseconds."""
    for seed in range(1000):
        group = group_of(schedule=seed)
        others, future = telling(group, 2), group.submit(2, "tell", "late")
        if not wait([future], 0.02).done:
            return group, others, future
    raise AssertionError("no call is slow")


def test_a_timeout_is_over_at_its_virtual_second():
    group, _, future = slow_group()
    now = group.schedule.now
    with pytest.raises(TimeoutError):
        future.result(0)
    assert group.schedule.now == now + 0.001
    future.result(600)
    assert now < group.schedule.now < now + 2


def test_as_completed_has_timeouts():
    group = group_of(1, schedule=6)
    seen = []
    with pytest.raises(TimeoutError):
        for future in as_completed(telling(group, 1000), timeout=5):
            seen.append(future.result())
    assert 0 < len(seen) < 1000
    assert 4 < group.schedule.now <= 5


def test_a_worker_that_is_late_in_a_map_is_named():
    for seed in range(1000):
        group = group_of(schedule=seed)
        try:
            group.call("add", timeout=0.005)
        except TimeoutError as error:
            message = str(error)
            break
    assert "had not answered add() after 0.005 seconds" in message
    assert group.schedule.now == 0.005
    assert group.call("add", 0) == [1, 1, 1]  # those calls had begun


# An asynchronous program


class Descender:
    """Says, with some noise of its own, where a parabola with its minimum at 3 goes down."""

    def __init__(self, index):
        self.chance = np.random.default_rng(index)

    def gradient(self, weights):
        return 2 * (weights - 3) + 0.1 * self.chance.normal(size=weights.shape)


def asynchronous_descent(backend, steps=200):
    """Whoever is done first has its gradient applied, however old the weights that it had."""
    weights = np.zeros(3)
    ref = backend.put(weights)
    group = backend.launch(Descender, 4)
    asked = {group.submit(i, "gradient", ref): i for i in range(4)}
    staleness = []
    for _ in range(steps):
        done, _ = wait(asked, return_when=FIRST_COMPLETED)
        for future in done:
            staleness.append(ref.version - future.versions[0])
            weights = weights - 0.02 * future.result()
            ref = backend.put(weights)
            i = asked.pop(future)
            asked[group.submit(i, "gradient", ref)] = i
    group.close()
    return weights, staleness


def test_an_asynchronous_program_repeats_to_the_last_bit():
    found = []
    for seed in SEEDS:
        with Local(schedule=seed) as one, Local(schedule=seed) as other:
            weights, staleness = asynchronous_descent(one)
            again = asynchronous_descent(other)
        assert np.array_equal(weights, again[0]) and staleness == again[1]
        assert max(staleness) > 10
        np.testing.assert_allclose(weights, 3, atol=0.3)
        found.append(weights.tobytes())
    assert len(set(found)) == len(SEEDS)


def test_deaths_are_part_of_what_repeats():
    found = []
    for faults in (0.0, 0.3):
        for _ in range(2):
            with Local(schedule=0, faults=faults, max_restarts=1000) as backend:
                found.append(asynchronous_descent(backend)[0].tobytes())
    assert found[0] == found[1] != found[2] == found[3]


@pytest.mark.parametrize("schedule", [5, 6])
def test_learners_who_share_a_table_repeat_to_the_last_bit(schedule):
    agents = [
        QLearning(
            LAKE, num_envs=3, workers=3, pattern="shared_table", sync_every=100, backend=backend
        )
        for backend in (Local(schedule=schedule), Local(schedule=schedule), Local(schedule=99))
    ]
    for agent in agents:
        agent.learn(12_000)
    assert same(*agents[:2]) and agents[0].q.any()
    assert not same(agents[0], agents[2])


# Deaths


def test_a_synchronous_algorithm_does_not_notice_any_of_it():
    plain = QLearning(LAKE, num_envs=4, sync_every=500)
    mortal = QLearning(
        LAKE,
        num_envs=4,
        sync_every=500,
        backend=Local(faults=0.2, schedule=3, max_restarts=10_000),
        workers=3,
    )
    for agent in (plain, mortal):
        agent.learn(60_000)
    assert same(plain, mortal) and plain.q.any()


MORTAL = [
    pytest.param({"faults": 0.4, "max_restarts": 1000, **schedule, **every}, id=f"{name}-{n}")
    for name, schedule in (("at once", {}), ("scheduled", {"schedule": 1}))
    for n, every in ((1, {"snapshot_every": 1}), (64, {}))
]


@pytest.mark.parametrize("options", MORTAL)
def test_every_call_counts_once(options):
    group = group_of(**options)
    asked = [group.submit(i % 3, "add", 1 + i % 3) for i in range(150)]
    assert [future.result() for future in asked] == [(1 + i % 3) * (1 + i // 3) for i in range(150)]
    assert group.call("add", 0) == [50, 100, 150]


@pytest.mark.parametrize("options", MORTAL)
def test_what_a_worker_did_to_an_argument_is_not_there_when_it_is_done_again(options):
    words, group = ["a"], group_of(**options)
    ref = group.backend.put(["b"])
    for n in range(1, 10):
        for each in (words, ref):
            first, *_ = group.call("note", each)
        assert first == [["a", "seen"], ["b", "seen"]] * n
    assert words == ["a"]


@pytest.mark.parametrize("options", MORTAL)
def test_kept_results_survive(options):
    group = group_of(**options)
    kept = [group.submit(i, "ones", 4, keep=True).result() for i in range(3)]
    assert all(isinstance(ref, Ref) for ref in kept)
    for _ in range(10):
        for i, ref in enumerate(kept):
            future = group.submit((i + 1) % 3, "total_of", ref)
            assert future.result() == 4.0 * (i + 1) and future.versions == (ref.version,)


@pytest.mark.parametrize("schedule", [None, 1])
def test_exceptions_are_answers_too(schedule):
    group = group_of(schedule=schedule, faults=0.4, max_restarts=1000)
    for n in range(1, 11):
        with pytest.raises(ValueError, match="no"):
            group.call("fail")
        assert group.call("add") == [n] * 3


def test_half_of_the_deaths_come_before_the_work_and_half_after():
    group = group_of(1, faults=0.5, max_restarts=10_000, snapshot_every=1)
    for n in range(400):
        group.call("tell", n)
    # Of 400 deaths or so; those after the work have told what they did.
    assert 150 < len(TOLD) - 400 < 250


@pytest.mark.parametrize("schedule", [None, 1])
def test_who_dies_when_can_be_told(schedule):
    group = group_of(schedule=schedule, faults=[(1, 2), (1, 3), (2, 1), (7, 1)], snapshot_every=1)
    for word in "abc":
        assert group.call("tell", word) == [(0, word), (1, word), (2, word)]
    for worker, words in ((0, "abc"), (1, "abbbc"), (2, "aabc")):
        assert [word for index, word in TOLD if index == worker] == list(words)


@pytest.mark.parametrize("schedule", [None, 1])
def test_a_worker_that_dies_too_often_is_given_up(schedule):
    group = group_of(schedule=schedule, faults={(1, n) for n in range(2, 6)}, max_restarts=3)
    assert group.call("add") == [1, 1, 1]
    asked = [group.submit(i % 3, "add") for i in range(6)]
    for future in (asked[1], asked[4], group.submit(1, "add")):
        with pytest.raises(WorkerLost, match=r"worker 1 .* add\(\).* a higher max_restarts"):
            future.result()
    assert [asked[i].result() for i in (0, 2, 3, 5)] == [2, 2, 3, 3]
    as_often = group_of(schedule=schedule, faults={(1, n) for n in range(2, 5)}, max_restarts=3)
    for n in range(1, 5):
        assert as_often.call("add") == [n] * 3


@pytest.mark.parametrize("snapshot_every, repeated", [(64, 10), (4, 2), (5, 0), (1, 0)])
def test_no_more_is_repeated_than_came_after_the_snapshot(snapshot_every, repeated):
    group = group_of(1, faults=[(0, 11)], snapshot_every=snapshot_every)
    for n in range(11):
        group.call("tell", n)
    words = [word for _, word in TOLD]
    again = list(range(10 - repeated, 10))
    assert words == [*range(11), *again, 10]


class Careful(Worker):
    """Says itself what is to be saved; the rest comes from its constructor."""

    def __init__(self, index, step):
        super().__init__(index)
        self.step = step
        self.lock = threading.Lock()  # which no pickle can hold

    def get_state(self):
        return self.total

    def set_state(self, state):
        self.total = state

    def move(self):
        return self.add(self.step)


def test_a_worker_may_have_a_snapshot_of_its_own():
    ref_taker = Local(faults=0.4, max_restarts=1000, snapshot_every=2)
    group = ref_taker.launch(Careful, 2, ref_taker.put(5))
    assert [group.call("move") for _ in range(20)] == [[5 * n] * 2 for n in range(1, 21)]


class Unsaved(Worker):
    def __init__(self, index):
        super().__init__(index)
        self.lock = threading.Lock()


def test_a_worker_without_any_is_repeated_from_its_first_call():
    with Local(faults=[(0, 9)], snapshot_every=2) as backend:
        group = backend.launch(Unsaved, 1)
        group.call("add")
        with pytest.warns(UserWarning, match="worker 0 cannot be pickled"):
            group.call("add")
        assert [group.call("add") for _ in range(10)] == [[n] for n in range(3, 13)]


# Values and arguments


@pytest.mark.parametrize("options", [{}, {"schedule": 1}])
def test_what_is_put_is_every_workers_own(options):
    group = group_of(**options)
    ref = group.backend.put(["x"])
    assert [log[-1] for log in group.call("note", ref)] == [["x", "seen"]] * 3


def test_arguments_are_those_of_the_time_of_submitting():
    group = group_of(schedule=1)
    array = np.ones(3)
    future = group.submit(0, "total_of", array)
    array[:] = 7
    assert future.result() == 3.0


def test_an_argument_that_cannot_be_sent_takes_no_place():
    group = group_of(schedule=1, max_pending=1)
    for _ in range(3):
        with pytest.raises(TypeError):
            group.submit(0, "total_of", (i for i in range(3)))
    assert group.submit(0, "add").result() == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": -1}, "schedule must be a whole number from 0, got -1"),
        ({"schedule": 1.5}, "got 1.5"),
        ({"schedule": True}, "got True"),
        ({"faults": 1}, "faults must be a number from 0 to below 1, or pairs"),
        ({"faults": -0.1}, "got -0.1"),
        ({"faults": float("nan")}, "got nan"),
        ({"faults": True}, "got True"),
        ({"faults": None}, "got None"),
        ({"faults": [(0, 0)]}, "faults must be"),
        ({"faults": [(-1, 1)]}, "faults must be"),
        ({"faults": [(0, 1, 2)]}, "faults must be"),
        ({"faults": (0, 1)}, "faults must be"),
        ({"max_restarts": -1}, "max_restarts must be a whole number from 0, got -1"),
        ({"snapshot_every": 0}, "snapshot_every must be a whole number from 1, got 0"),
        ({"max_pending": 0}, "max_pending must be a whole number from 1, got 0"),
    ],
)
def test_what_is_not_allowed(options, message):
    with pytest.raises(ValueError) as error:
        Local(**options)
    assert message in str(error.value) and " must be " in str(error.value)


def test_it_can_be_had_by_name():
    from rlbook.backends import get

    backend: Backend = get("local", schedule=3, faults={(0, 1)})
    assert isinstance(backend, Local) and backend.schedule is not None

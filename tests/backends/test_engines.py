"""What is particular to one engine."""

import subprocess
import sys

import cloudpickle
import numpy as np
import pytest

from rlbook.backends import Backend
from rlbook.backends.processes import own_directory

cloudpickle.register_pickle_by_value(sys.modules[__name__])

only_ray = pytest.mark.parametrize(
    "backend", [pytest.param("ray", marks=pytest.mark.ray)], indirect=True
)
only_spark = pytest.mark.parametrize(
    "backend", [pytest.param("spark", marks=pytest.mark.spark)], indirect=True
)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = f"""
import os, signal
from rlbook.backends.processes import own_directory
directory = own_directory({str(tmp_path)!r})
open(directory.name + "/file", "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code])
    (left,) = tmp_path.iterdir()
    with own_directory(str(tmp_path)) as first, own_directory(str(tmp_path)) as second:
        assert {str(path) for path in tmp_path.iterdir()} == {first, second}
    assert not left.exists()


class Hoarder:
    def __init__(self, index):
        self.kept = np.zeros(0)

    def keep(self, size):
        self.kept = np.zeros(size)

    def size(self):
        return len(self.kept)


@only_ray
def test_a_second_ray_joins_the_first_and_leaves_it_running(backend: Backend):
    import ray

    from rlbook.backends.ray import Ray

    with Ray() as second:
        assert second.run(abs, [-1]) == [1]
    assert ray.is_initialized()
    assert backend.run(abs, [-2]) == [2]


@only_spark
def test_an_active_context_is_used_and_left_running(backend: Backend):
    from pyspark import SparkContext

    from rlbook.backends.spark import Spark

    active = SparkContext._active_spark_context
    for second in (Spark(), Spark(active)):
        assert second.context is active
        assert second.run(abs, [-1]) == [1]
        second.close()
    assert active.parallelize([1]).collect() == [1]


@only_spark
def test_a_session_can_be_given(backend: Backend):
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    from rlbook.backends.spark import Spark

    session = SparkSession(SparkContext._active_spark_context)
    with Spark(session) as second:
        assert second.run(abs, [-1]) == [1]


@only_spark
def test_a_state_that_is_too_large_is_refused_and_the_call_not_counted(backend: Backend):
    from rlbook.backends.spark import Spark

    with Spark(max_state_bytes=10_000) as small:
        group = small.launch(Hoarder, 2)
        with pytest.raises(ValueError, match=r"state must be at most max_state_bytes=10,000"):
            group.call("keep", 100_000)
        assert group.call("size") == [0, 0]


@only_spark
def test_a_timed_out_call_is_not_counted(backend: Backend):
    class Slow:
        def __init__(self, index):
            self.count = 0

        def wait(self, seconds):
            import time

            self.count += 1
            time.sleep(seconds)
            return self.count

    group = backend.launch(Slow, 1)
    with pytest.raises(TimeoutError):
        group.call("wait", 20, timeout=0.5)
    assert group.call("wait", 0) == [1]
    group.close()

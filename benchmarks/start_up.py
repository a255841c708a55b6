"""How long `import rlbook` takes."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measuring import (
    Row,
    Spread,
    Target,
    differences,
    interleave,
    named,
    ratios,
    seconds,
)


def imports(quick: bool) -> list[Row]:
    """`import rlbook` against `import numpy`, each in fresh processes."""

    def rlbook() -> float:
        return seconds(_python, "import rlbook")

    def numpy() -> float:
        return seconds(_python, "import numpy")

    interleave(rlbook, numpy, turns=1)  # compiles to bytecode, fills the file cache
    ours, peer = interleave(rlbook, numpy, turns=3 if quick else 10)
    return [
        Row(
            "import",
            "python -c 'import rlbook'",
            f"python -c 'import numpy', {named('numpy')}",
            {"s more": differences(ours, peer), "times its time": ratios(ours, peer)},
            {"ours, s": Spread.of(ours).median, "peer, s": Spread.of(peer).median},
            Target(0.3),
            "Both include starting Python. rlbook imports NumPy and Gymnasium.",
        )
    ]


def _python(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


# What a user waits for: the engine, one worker, its first answer, and the end of it all.
OURS = """
from benchmarks.backends import Idle
from rlbook.backends import get
with get({engine!r}) as backend:
    backend.launch(Idle, 1).call("noop")
"""
BARE = {
    "multiprocessing": """
import multiprocessing
from benchmarks.bare import noop
with multiprocessing.get_context("spawn").Pool(1) as pool:
    pool.apply(noop)
""",
    "ray": """
import ray
from benchmarks.bare import Bare
ray.init(include_dashboard=False, log_to_driver=False)
ray.get(ray.remote(Bare).options(num_cpus=0).remote().noop.remote())
ray.shutdown()
""",
    "spark": """
from pyspark import SparkConf, SparkContext
settings = {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.app.name": "bare"}
context = SparkContext(conf=SparkConf().setAll(list(settings.items())))
context.setLogLevel("OFF")
from benchmarks.bare import noop
context.parallelize(range(1), 1).map(noop).collect()
context.stop()
""",
}


def engines(quick: bool) -> list[Row]:
    """From nothing to a worker's first answer and back, on each engine and without us."""
    return [_engine(name, 1 if quick else 5) for name in BARE]


def _engine(name: str, turns: int) -> Row:
    def ours() -> float:
        return seconds(_python, OURS.format(engine=name))

    def bare() -> float:
        return seconds(_python, BARE[name])

    interleave(ours, bare, turns=1)
    found, peer = interleave(ours, bare, turns=turns)
    package = {"ray": named("ray"), "spark": named("pyspark")}.get(name, "multiprocessing.Pool(1)")
    return Row(
        f"start, one call and end, {name}",
        f'get("{name}"), launch, call, close',
        f"the same without rlbook, {package}",
        {"s more": differences(found, peer), "times its time": ratios(found, peer)},
        {"ours, s": Spread.of(found).median, "peer, s": Spread.of(peer).median},
        Target(1.0),
        "Both include starting Python, and ending it.",
    )

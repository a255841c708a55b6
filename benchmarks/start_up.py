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

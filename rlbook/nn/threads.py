"""How many threads numerical libraries use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep matrix products to one thread: with more, sums may round differently.

    Products as small as these are also slower with more.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _libraries(torch is not None).limit(limits=1):
        if torch:
            torch.set_num_threads(1)  # or its first product takes what MKL_NUM_THREADS says
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@cache
def _libraries(with_torch: bool) -> Any:
    # It knows the libraries that are there when it is made, and torch brings one along.
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()

"""Control of the number of threads that numerical libraries use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit matrix products to one thread, because more threads may round sums differently.

    Small products are also slower with several threads.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _libraries(torch is not None).limit(limits=1):
        if torch:
            torch.set_num_threads(1)  # otherwise its first product would follow MKL_NUM_THREADS
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@cache
def _libraries(with_torch: bool) -> Any:
    # A controller only knows the libraries that are loaded when it is made, and torch loads one.
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()

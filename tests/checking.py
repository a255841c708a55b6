"""What the tests of all checkers need."""

import pytest

from rlbook import check
from rlbook.check import CheckFailed


def message_of(name, function):
    """What the checker says of a wrong solution."""
    with pytest.raises(CheckFailed) as failure:
        getattr(check, name)(function)
    assert isinstance(failure.value, AssertionError)
    return str(failure.value)

"""How much work something does: counted, as the time that it takes depends on the machine."""

from collections.abc import Callable
from cProfile import Profile
from typing import TypeVar

Result = TypeVar("Result")


def counted_calls(work: Callable[[], Result]) -> tuple[Result, int]:
    """Return what ``work`` returns, and the number of function calls that it made."""
    profile = Profile()
    result = profile.runcall(work)
    return result, sum(entry.callcount for entry in profile.getstats())

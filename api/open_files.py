"""Owns how many files and connections this process may have open."""

import resource

PLENTY = 65_536


def allow_many_open_files() -> None:
    """Raise the soft limit on open files towards the hard one: 1,024, a common default, is soon reached by clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PLENTY if hard == resource.RLIM_INFINITY else min(hard, PLENTY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

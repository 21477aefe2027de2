"""Errors of this package.

EvidentlyError
├── EvidentlyUnavailable   no answer, or a 5xx: the same call may succeed later
└── EvidentlyRejected      a 4xx, or an unusable answer: a person has to act
    ├── EvidentlyForbidden a 401 or 403: the UI has another secret
    └── ProjectTaken       the project belongs to another log
"""


class EvidentlyError(Exception):
    """Something went wrong between this program and the Evidently UI."""


class EvidentlyUnavailable(EvidentlyError):
    """The Evidently UI did not answer or failed on its side; retry later."""


class EvidentlyRejected(EvidentlyError):
    """The Evidently UI refused the call; retrying the same call will not help."""


class EvidentlyForbidden(EvidentlyRejected):
    """The Evidently UI has another secret, so it refuses every write."""


class ProjectTaken(EvidentlyRejected):
    """The project in Evidently UI shows the windows of another log."""

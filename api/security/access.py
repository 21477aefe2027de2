"""Owns which call needs a key with which scope. What is not listed needs the scope admin."""

READ = frozenset({"read"})
PREDICT = frozenset({"predict"})
FEEDBACK = frozenset({"feedback"})
CARD = frozenset({"read", "predict"})
METRICS = frozenset({"metrics"})
ADMIN = frozenset({"admin"})

OPEN = ("/health/live", "/health/ready")
DOCUMENTATION = ("/docs", "/openapi.json")
ASSETS = "/static-offline-docs/"
REPORTS = "/reports/"


class AccessRules:
    """Says which scopes a call may be made with: any one of them is enough; None means that it needs no key."""

    def __init__(self, *, open_docs: bool, guard_metrics: bool) -> None:
        documentation = None if open_docs else CARD
        self._rules: dict[tuple[str, str], frozenset[str] | None] = {
            ("POST", "/predict"): PREDICT,
            ("POST", "/predict/batch"): PREDICT,
            ("POST", "/feedback"): FEEDBACK,
            ("GET", "/model"): CARD,
            ("GET", "/snapshots"): READ,
            ("GET", "/snapshots/metrics"): READ,
            ("GET", "/"): READ,
            ("GET", "/metrics"): METRICS if guard_metrics else None,
            **{("GET", path): None for path in OPEN},
            **{("GET", path): documentation for path in DOCUMENTATION},
        }
        self._prefixes = ((REPORTS, READ), (ASSETS, documentation))

    def needed(self, method: str, path: str) -> frozenset[str] | None:
        """Return the scopes of which one is needed, or None."""
        if method == "HEAD":
            method = "GET"
        try:
            return self._rules[method, path]
        except KeyError:
            if method == "GET":
                for prefix, scopes in self._prefixes:
                    if path.startswith(prefix):
                        return scopes
            return ADMIN

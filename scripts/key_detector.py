"""A plugin for detect-secrets, with which `make lint` finds API keys of this project in files."""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class VigieKeyDetector(RegexBasedDetector):  # type: ignore[misc] # detect-secrets ships no types
    """Finds keys that `python -m scripts.keys` made."""

    secret_type = "Vigie API key"  # noqa: S105 - the name of a kind of secret
    denylist = (re.compile(r"vigie_[A-Za-z0-9_-]{43}"),)

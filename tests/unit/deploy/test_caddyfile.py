"""What the front's configuration says where no container is needed to see it; tests/compose runs it."""

import re
from pathlib import Path

CADDYFILE = Path(__file__).parents[3] / "deploy/caddy/Caddyfile"


def test_no_client_may_be_slow_for_ever() -> None:
    timeouts = re.search(r"timeouts \{(.*?)\}", CADDYFILE.read_text(encoding="utf-8"), re.DOTALL)
    assert timeouts is not None
    assert set(re.findall(r"^\s+(\w+) \d+[sm]$", timeouts[1], re.MULTILINE)) == {
        "read_header",
        "read_body",
        "write",
        "idle",
    }

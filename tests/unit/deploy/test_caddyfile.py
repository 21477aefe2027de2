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


def test_the_calls_of_a_model_pass_as_those_of_the_default_one() -> None:
    text = CADDYFILE.read_text(encoding="utf-8")
    listed = [set(paths.split()) for paths in re.findall(r"^\s+(?:@calls )?path (/.*)$", text, re.MULTILINE)]
    calls = {"/predict", "/predict/batch", "/feedback", "/snapshots", "/snapshots/metrics", "/snapshots/*/rows"}
    for paths in listed:
        for path in paths & calls:
            assert f"/models/*{path}" in paths
    assert any("/models/*/predict" in paths for paths in listed)
    assert "reload" not in text, "for operators inside alone"
    (card,) = re.findall(r"path_regexp (\^/models/\S+)", text)
    assert [bool(re.search(card, path)) for path in ("/models/a.b-c", "/models/a/reload", "/models/a/b")] == [
        True,
        False,
        False,
    ]

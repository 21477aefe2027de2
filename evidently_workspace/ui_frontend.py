"""Two words in a script of Evidently UI's pages, put right as it is served: marks on lines, and counters of 0.

The charts draw a mark at each point of each line: a dashboard of a year took a browser longer than anything else did.
They need none to be read or clicked, so long lines go without. And a counter whose value is 0 read "no value".
Checked with Evidently 0.7.23; a test fails where an upgrade has other scripts, and the launcher then serves what
Evidently ships, and says so.
"""

import logging
from pathlib import Path

import litestar
from evidently.ui.service.api.static import BASE_PATH
from litestar import Response
from litestar.handlers import HTTPRouteHandler

logger = logging.getLogger(__name__)

MOST_MARKS = 40
"""A line of one point is nothing but its mark, and a short one is easier to read with them."""
MENDED = (
    ("data:R,showMark:v=!0", f"data:R,showMark:v=R.length<={MOST_MARKS}"),
    (
        'return r?Number.parseFloat(r.toFixed(O0)):"no value"',
        'return r!=null?Number.parseFloat(r.toFixed(O0)):"no value"',
    ),
)


def script_path() -> Path | None:
    """Return the one script that has every word to be mended exactly once; None where there is no such script."""
    for path in sorted((Path(BASE_PATH) / "static" / "js").glob("*.js")):
        script = path.read_text(encoding="utf-8")
        if all(script.count(old) == 1 for old, _ in MENDED):
            return path
    return None


def mended_script() -> list[HTTPRouteHandler]:
    """Return the route of the mended script, which goes before Evidently's own; none where it is not as expected."""
    path = script_path()
    if path is None:
        logger.warning("this Evidently's pages are other than expected: long charts are slow, and 0 reads 'no value'")
        return []
    script = path.read_text(encoding="utf-8")
    for old, new in MENDED:
        script = script.replace(old, new)
    content = script.encode()

    async def served() -> Response[bytes]:
        # Evidently's name for it stays the same while ours may change
        return Response(content, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    return [litestar.get(f"/static/js/{path.name}", include_in_schema=False)(served)]

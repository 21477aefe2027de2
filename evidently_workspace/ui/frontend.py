"""Patches for the scripts and the page of Evidently UI, applied when they are served."""

import logging
from pathlib import Path
from typing import Any

import litestar
from evidently.ui.service.api.static import BASE_PATH, assets_router
from litestar import MediaType, Response
from litestar.handlers import HTTPRouteHandler
from litestar.static_files import create_static_files_router

logger = logging.getLogger(__name__)

MAX_MARKS = 40
"""Longer lines have no marks. A line of one point consists of its mark, and marks make a short line easier to read."""
MAX_TICKS = 20
"""About twice as many as a chart of the page's width can label."""

COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf"),
    *("#9a9a00", "#1a1a7c", "#f2b701", "#7f7f7f", "#00574b", "#d62728"),
)
"""As many as a panel has lines, twelve and a limit, told apart on white."""
DARK_COLOURS = tuple({"#1a1a7c": "#c9c9ff", "#00574b": "#9be8c4"}.get(one, one) for one in COLOURS)
AXIS_WIDTH = 70
"""Pixels: room for "400,000"."""
RIGHT_MARGIN = 40
"""Pixels: room for half of the last time."""
LEGEND_PIXELS = 13
"""Height of a letter: room for a panel's lines."""
LEGEND_SPACING = 'gap:"1px","& li > *":{padding:"2px 4px"}'
"""Between the lines: as many as there are colours are seen at once, without a scroll bar."""
WRITTEN_TICK = (
    'v=>typeof v!=="number"?v:Math.abs(v)>=1e7?v.toLocaleString("en",{notation:"compact",maximumSignificantDigits:4})'
    ':v.toLocaleString("en",{maximumSignificantDigits:6})'
)
"""A number at an axis, as people write it; a script's function."""
WRITTEN_COUNTER = (
    'v=>v.toLocaleString("en",Math.abs(v)>=1e3?{maximumFractionDigits:0}'
    ":Math.abs(v)>=1||v===0?{maximumFractionDigits:2}:{maximumSignificantDigits:3})"
)
"""The number of a panel that shows one: 32,400, 12.35 or 0.987."""

Changes = tuple[tuple[str, str], ...]

CHARTS: Changes = (
    ("data:R,showMark:v=!0", f"data:R,showMark:v=R.length<={MAX_MARKS}"),
    # A 0 is a value, and a number has as many digits as people write.
    ('return r?Number.parseFloat(r.toFixed(O0)):"no value"', f'return r!=null?({WRITTEN_COUNTER})(r):"no value"'),
    ('sx:{fontSize:15,overflow:"scroll"', f'sx:{{fontSize:{LEGEND_PIXELS},{LEGEND_SPACING},overflow:"auto"'),
    # More lines than Evidently has colours, and room for the numbers at the axis.
    (
        "series:t,xAxis:e,colors:Vc,",
        f"series:t,xAxis:e,margin:{{right:{RIGHT_MARGIN}}},yAxis:[{{width:{AXIS_WIDTH},valueFormatter:{WRITTEN_TICK}}}],"
        f"colors:c=>c==='dark'?{list(DARK_COLOURS)}:{list(COLOURS)},",
    ),
)
DASHBOARD: Changes = (
    # Draw a chart when its own data arrive, not whenever another panel sends a request or gets an answer.
    ('s=qt(e),r=s.type!=="text",l="height"in s', 's=S.useMemo(()=>qt(e),[e]),r=s.type!=="text",l="height"in s'),
    (
        'fe=t=>{if(t.type==="bar"||t.type==="line")return a.jsx(Zs,{...t})',
        'drawnOnce=S.memo(Zs),fe=t=>{if(t.type==="bar"||t.type==="line")return a.jsx(drawnOnce,{...t})',
    ),
    ('go="/projects/:projectId/?index"', 'go="/projects/:projectId/?index",onClick={OnClickedPointComponent:ho}'),
    ("value:{OnClickedPointComponent:ho}", "value:onClick"),
    (
        'scaleType:"band",height:50}',
        'scaleType:"band",height:50,valueFormatter:(g,c)=>c.location==="tick"?g.slice(5,16):g,'
        f"tickInterval:(g,_)=>_%Math.ceil(t.sources.length/{MAX_TICKS})===0}}",
    ),
)
SCRIPTS = (CHARTS, DASHBOARD)
PAGE: Changes = (
    # Three megabytes that only a report needs, and loads itself. Preloaded, they would delay the dashboard.
    ('<link rel="modulepreload" crossorigin href="/static/js/snapshot-view-main-DBpHJmd8.js">', ""),
)
NO_CACHE = {"Cache-Control": "no-cache"}
"""The names of Evidently's files stay the same when our patches change."""


def script_path(changes: Changes) -> Path | None:
    """Return the script in which all of the changes apply; None if there is none."""
    for path in sorted((Path(BASE_PATH) / "static" / "js").glob("*.js")):
        if _patched(path, changes) is not None:
            return path
    return None


def frontend() -> list[Any]:
    """Return the routes of the pages and their scripts: patched if Evidently's are as expected, else unchanged."""
    found = [(path, changes) for changes in SCRIPTS if (path := script_path(changes))]
    routes: list[Any] = [_script(f"/static/js/{path.name}", _patched(path, changes) or "") for path, changes in found]
    page = _patched(Path(BASE_PATH) / "index.html", PAGE)
    if len(routes) < len(SCRIPTS) or page is None:
        logger.warning(
            "the pages of this Evidently version are other than expected and not patched: "
            "long charts are slow, and 0 reads 'no value'"
        )
    if page is None:
        return [*routes, assets_router()]
    return [*routes, _page(page), create_static_files_router("/", directories=[BASE_PATH])]


def _patched(path: Path, changes: Changes) -> str | None:
    """Return the file's text with the changes; None unless each replaced text occurs exactly once."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        if text.count(old) != 1:
            return None
        text = text.replace(old, new)
    return text


def _script(address: str, text: str) -> HTTPRouteHandler:
    content = text.encode()

    async def served() -> Response[bytes]:
        return Response(content, media_type="text/javascript", headers=NO_CACHE)

    return litestar.get(address, include_in_schema=False)(served)


def _page(text: str) -> HTTPRouteHandler:
    content = text.encode()

    async def served() -> Response[bytes]:
        return Response(content, media_type=MediaType.HTML, headers=NO_CACHE)

    # The addresses of Evidently's assets_router; the page itself looks at the address.
    return litestar.get(["/", "/projects/{path:path}"], include_in_schema=False)(served)

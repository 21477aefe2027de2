"""Owns where Evidently's own script lies in a report page; the page's form is that of Evidently 0.7.

The script draws the charts. It is the same in every report of one Evidently version, and most of each.
"""

SCRIPT_START = "<script>var global = globalThis</script>\n    <script>"
SCRIPT_END = "</script>\n    \n    <script>\n    window.drawDashboard("
_OPENING, _CLOSING = "<script>", "</script>"


def split_page(html: str) -> tuple[str, str, str] | None:
    """Return what comes before the script's element, the script, and what comes after; None where it is not found.

    The window's values cannot be taken for either mark, because a page's data hold no "<" (see `report_page`).
    """
    if html.count(SCRIPT_START) != 1 or html.count(SCRIPT_END) != 1:
        return None
    start, end = html.index(SCRIPT_START) + len(SCRIPT_START), html.index(SCRIPT_END)
    script = html[start:end]
    if not script or _CLOSING in script.lower():  # this would end the element: it is no script, or not one alone
        return None
    return html[: start - len(_OPENING)], script, html[end + len(_CLOSING) :]

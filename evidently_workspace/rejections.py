"""The requests that the API refused during a window, by reason: they are in no other number of the snapshot."""

from collections.abc import Mapping

from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.section import Section

ALL_REASONS = "all reasons"


def rejected_requests(requests: Mapping[str, int]) -> Section:
    """Return the section of refused requests; `requests` counts them by reason."""
    refused = {reason: count for reason, count in requests.items() if count}
    section = Section("Rejected requests", "Requests that the API refused; none of their rows was predicted.")
    if not refused:
        section.note += " There were none in this window."
    section.record("rejected_requests", sum(refused.values()), "RejectedRequests", label=ALL_REASONS)
    for reason, count in refused.items():
        section.record("rejected_requests", count, "RejectedRequests", label=reason)
    if refused:
        ordered = sorted(refused.items(), key=lambda item: item[1], reverse=True)
        rows = [[reason.replace("_", " "), f"{count:,}"] for reason, count in ordered]
        section.widgets.append(table_data(title="", column_names=["Reason", "Requests"], data=rows))
    return section


def rejections_text(requests: Mapping[str, int]) -> str:
    """Return the counts as one string for the metadata of a snapshot."""
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(requests.items()) if count)

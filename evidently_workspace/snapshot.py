"""Turns one window of the log into one Evidently snapshot.

The rows predicted in the window show what comes in (data drift, prediction drift, data quality). The labels that
arrived in the window show how right the model is (target drift, concept drift, performance), because nobody knows how
late a label may be. Importing this module imports Evidently, which takes seconds: do it in a worker process.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

with warnings.catch_warnings():
    # Evidently's import uses deprecated parts of its dependencies; its users cannot help that.
    warnings.simplefilter("ignore")
    from evidently.legacy.model.widget import BaseWidgetInfo
    from evidently.legacy.renderers.html_widgets import table_data

    from evidently_workspace.checks.attributions import attributions as attributions_section
    from evidently_workspace.checks.changed_rows import changed_rows, changed_rows_section
    from evidently_workspace.checks.data_quality import data_quality
    from evidently_workspace.checks.drift import data_drift, joint_drift, prediction_drift, target_drift
    from evidently_workspace.checks.segments import WindowRows, segments
    from evidently_workspace.classification.concept_drift import concept_drift as classification_concept_drift
    from evidently_workspace.classification.performance import performance as classification_performance
    from evidently_workspace.estimated_performance import Estimator, estimated_performance, performance_change
    from evidently_workspace.frames import with_schema
    from evidently_workspace.overview import Facts
    from evidently_workspace.regression.concept_drift import concept_drift as regression_concept_drift
    from evidently_workspace.regression.performance import performance as regression_performance
    from evidently_workspace.report_page import build_snapshot
    from evidently_workspace.section import NotEnoughDataError, Section, plain_figures

from evidently_workspace.panels import written
from evidently_workspace.results import (
    FAILED_WITH,
    ChangedRows,
    FailedCheck,
    Mute,
    MutedCheck,
    RowIds,
    WindowSnapshot,
)
from evidently_workspace.window import Window
from model.artifact.estimates import Estimates
from model.artifact.manifest import ClassifierManifest, Manifest
from model.artifact.traffic import LABELLED_LEVELS, TrafficLevel, WindowTraffic
from model.statistics.changed_rows import WindowFrames
from model.statistics.lasting import Gathered, Key, LastingChange, lasting_changes, with_newest, without_hours
from model.statistics.windows import labelled_part

logger = logging.getLogger(__name__)


@plain_figures()  # once: each switch of the template costs plotly milliseconds
def take_snapshot(
    window: Window,
    current: pd.DataFrame,
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    *,
    min_rows: int,
    min_labels: int,
    sampled_fraction: float = 1.0,
    attributions: NDArray[np.float64] | None = None,
    attributions_missing: str | None = None,
    rejected_requests: Mapping[str, int] = MappingProxyType({}),
    rows_by_version: Mapping[str, int] = MappingProxyType({}),
    other_labels: int = 0,
    origin: str | None = None,
    estimates: Estimates | None = None,
    estimates_missing: str | None = None,
    past: Mapping[Key, Gathered] = MappingProxyType({}),
    widening: Mapping[str, float] = MappingProxyType({}),
    next_step: Callable[[FailedCheck], str] | None = None,
    mute_of: Callable[[FailedCheck], Mute | None] = lambda _failed: None,
    ids: RowIds | None = None,
) -> WindowSnapshot:
    """Measure one window against the reference.

    `current` holds the rows predicted in the window, `labelled` the rows whose label arrived in it (with LABEL),
    and `reference` rows with predictions, labels and, for a classifier, probabilities; all in the artifact's
    columns. They were held out of training, or are the service's own, of which some may lack a label: checks that
    need one leave these out. `current` is the `sampled_fraction` of the window's rows. `attributions` (rows,
    features) holds |SHAP| of some rows of `current`, or `attributions_missing` says why there are none.
    `rejected_requests` counts the requests refused in the window by reason, `rows_by_version` the window's rows by
    the version of the model that predicted them, and `other_labels` the labels that arrived for other versions than
    the manifest's. `origin` is the id of the log that all this comes from. `estimates` say how well the model
    should do on the rows, or `estimates_missing` why nothing does; `widening` by how much their intervals are
    widened, by score. `past` are the sums over the windows before this one that show what lasts, in blocks of time
    that end with this window. `ids` are those of the rows: with them the snapshot has the rows that carry what its
    failed checks found. `next_step` returns what to do after a failed check, as the report says. `mute_of` returns
    the mute of a failed check, which then does not count as failed.

    A section with fewer than `min_rows` rows or `min_labels` labels, or one that fails, is reported as not computed;
    the other sections are computed all the same.
    """
    current, labelled, reference = (with_schema(frame, manifest) for frame in (current, labelled, reference))
    known = labelled_part(reference)
    traffic = WindowTraffic(
        manifest.traffic, window.start, (window.end - window.start).total_seconds(), manifest.overrides
    )
    sections = [
        _attempt(window, "Data drift", lambda: data_drift(current, reference, manifest, min_rows, traffic)),
        _attempt(window, "Prediction drift", lambda: prediction_drift(current, reference, manifest, min_rows, traffic)),
        _attempt(
            window,
            "Attributions",
            lambda: attributions_section(attributions, attributions_missing, manifest, min_rows, traffic),
        ),
        _attempt(window, "Data quality", lambda: data_quality(current, reference, manifest, min_rows, traffic)),
        _attempt(window, "Target drift", lambda: target_drift(labelled, known, manifest, min_labels, traffic)),
        _attempt(window, "Concept drift", lambda: _concept_drift(labelled, known, manifest, min_labels, traffic)),
    ]
    scored = _attempt(window, "Performance", lambda: _performance(labelled, known, manifest, min_labels, traffic))
    given = Estimator(estimates, estimates_missing, manifest, traffic.seconds, widening)
    if estimates is not None or estimates_missing is not None:
        sections.append(
            _attempt(
                window,
                "Estimated performance",
                lambda: estimated_performance(
                    given, current, labelled, scored, min_rows=min_rows, min_labels=min_labels
                ),
            )
        )
    sections.append(scored)
    rows = WindowRows(current, labelled, reference)
    divided = _attempt(window, "Segments", lambda: segments(rows, manifest, estimates, min_labels, traffic))
    jointly = _attempt(window, "How columns go together", lambda: joint_drift(current, reference, manifest))
    sections += [one for one in (divided, jointly) if one.widgets or one.not_computed]
    _add_lasting(sections, past, traffic, len(current), len(labelled))
    why = _attempt(
        window,
        "Why performance changed",
        lambda: performance_change(given, labelled, known, sections, min_labels),
    )
    if why.widgets or why.not_computed:
        sections.append(why)
    muted = _set_muted_aside(sections, mute_of)
    found: list[ChangedRows] = []
    failed = [check for section in sections for check in section.failed_checks]
    if ids is not None and failed:
        frames = WindowFrames(current, labelled, reference, attributions, ids.explained)

        def rows_section() -> Section:
            found.extend(changed_rows(failed, frames, ids, manifest))
            return changed_rows_section(found)

        sections.insert(0, _attempt(window, "Rows that carry the changes", rows_section))
    facts = Facts(
        window,
        manifest,
        len(current),
        len(labelled),
        sampled_fraction,
        rows_by_version,
        other_labels,
        origin,
        next_step=next_step,
        muted_checks=muted,
    )
    return replace(build_snapshot(facts, sections, rejected_requests), changed_rows=tuple(found))


def _set_muted_aside(
    sections: Sequence[Section], mute_of: Callable[[FailedCheck], Mute | None]
) -> tuple[MutedCheck, ...]:
    """Take the muted checks out of the failed ones of their sections, and return them."""
    muted: list[MutedCheck] = []
    for section in sections:
        found = [(failed, mute_of(failed)) for failed in section.failed_checks]
        section.failed_checks = [failed for failed, mute in found if mute is None]
        muted += [MutedCheck(failed, mute) for failed, mute in found if mute is not None]
    return tuple(muted)


def _add_lasting(
    sections: list[Section], past: Mapping[Key, Gathered], traffic: WindowTraffic, rows: int, labelled_rows: int
) -> None:
    """Add what several windows show, this one the newest of them, to the section of the check that fails."""
    levels = traffic.alarms.levels_of(traffic.seconds) if traffic.alarms else []
    if not levels:
        return
    section_of = {name: section for section in sections for name in (value.name for value in section.values)}
    values = {(one.name, one.column): np.array([one.value]) for section in sections for one in section.values}
    start = np.array([round(traffic.start.timestamp())], dtype=np.int64)
    newest = {
        key: (float(value[0]), labelled_rows if key[0] in LABELLED_LEVELS else rows)
        for key, value in without_hours(levels, values, start, traffic.zone).items()
    }
    changes = lasting_changes(levels, with_newest(past, newest, traffic.seconds), traffic.seconds)
    for change in changes:
        section_of[change.name].failed_checks.append(
            FailedCheck(change.check, change.about, change.value, change.threshold, change.measure)
        )
    for section in {id(section_of[change.name]): section_of[change.name] for change in changes}.values():
        section.widgets.append(_lasting_table([one for one in changes if section_of[one.name] is section], levels))


def _lasting_table(changes: Sequence[LastingChange], levels: Sequence[TrafficLevel]) -> BaseWidgetInfo:
    usual = {(level.name, level.column): level.mean for level in levels}
    return table_data(
        title="Changes that last over several windows",
        column_names=["Column", "Measure", "Value", "Usual", "Threshold"],
        data=[
            [
                change.about or "",
                change.measure,
                written(change.value),
                written(usual[change.name, change.column]),
                written(change.threshold),
            ]
            for change in changes
        ],
    )


def _concept_drift(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_labels: int, traffic: WindowTraffic
) -> Section:
    if isinstance(manifest, ClassifierManifest):
        return classification_concept_drift(labelled, reference, manifest, min_labels, traffic)
    return regression_concept_drift(labelled, reference, manifest, min_labels, traffic)


def _performance(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_labels: int, traffic: WindowTraffic
) -> Section:
    if isinstance(manifest, ClassifierManifest):
        return classification_performance(labelled, reference, manifest, min_labels, traffic)
    return regression_performance(labelled, reference, manifest, min_labels, traffic)


def _attempt(window: Window, title: str, measure: Callable[[], Section]) -> Section:
    try:
        # Small windows make Evidently divide by zero and scikit-learn warn about undefined scores; what
        # comes out as NaN is left out and named, so the warnings would only fill the log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return measure()
    except NotEnoughDataError as shortage:
        return Section(title, not_computed=[str(shortage)])
    except Exception as error:  # the boundary of a job: a section that fails must not stop the others
        logger.exception("section %r of window %s failed", title, window.key)
        return Section(title, not_computed=[f"{FAILED_WITH} {type(error).__name__}: {error}"])

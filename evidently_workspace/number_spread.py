"""Where the numbers of one column lie, predicted ones or labels: their mean and quantiles, beside the reference's."""

from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot
from evidently.legacy.renderers.html_widgets import table_data
from evidently.metrics import MeanValue, QuantileValue

from evidently_workspace.section import Section, finite

QUANTILES = {0.05: "5 % lie below", 0.5: "Half lie below", 0.95: "95 % lie below"}


class NumberSpread:
    """Mean and quantiles of one column of a report."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._mean = MeanValue(column=column)
        self._quantiles = {share: QuantileValue(column=column, quantile=share) for share in QUANTILES}

    @property
    def metrics(self) -> list[Metric]:
        """The metrics for the report to compute."""
        return [self._mean, *self._quantiles.values()]

    def keep(self, section: Section, snapshot: Snapshot) -> None:
        """Put values and their table into the section."""
        results = [self._keep(section, snapshot, self._mean, f"{self._column}_mean")]
        for share, metric in self._quantiles.items():
            results.append(self._keep(section, snapshot, metric, f"{self._column}_quantile", label=str(share)))
        titles = ["Mean", *QUANTILES.values()]
        rows = [[title, *(f"{value:.4g}" for value in values)] for title, values in zip(titles, results, strict=True)]
        table = table_data(title="Where the numbers lie", column_names=["", "Window", "Reference"], data=rows)
        section.widgets.append(table)

    @staticmethod
    def _keep(section: Section, snapshot: Snapshot, metric: Metric, name: str, **labels: str) -> tuple[float, float]:
        result = snapshot.context.get_metric_result(metric.metric_id)
        reference = snapshot.context.get_reference_metric_result(metric.metric_id)
        section.measure(name, labels.get("label"), result.value)
        section.keep(finite(result), **labels)
        return float(result.value), float(reference.value)

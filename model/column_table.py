"""The table that shows a person what each column of a file was taken for, and why."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from model.csv_file import CsvColumns
from model.schema_file import write_schema

_LONGEST_EXAMPLE = 24
_MOST_SHOWN = 60


def column_table(columns: CsvColumns) -> Table:
    """Return a row per column: type, missing, distinct, example, why; dropped columns last."""
    table = Table(title=f"{escape(columns.text.path.name)}: {columns.text.reading}", title_justify="left")
    for name in ("column", "type", "missing", "distinct", "example", "why"):
        table.add_column(name, justify="right" if name in {"missing", "distinct"} else "left")
    everything = [*columns.kept, *columns.dropped]
    for column in everything[:_MOST_SHOWN]:
        table.add_row(
            Text(column.name),
            Text(column.type or "dropped", style="" if column.type else "yellow"),
            str(column.missing),
            str(column.distinct),
            Text(column.example[:_LONGEST_EXAMPLE]),
            Text(column.why),
        )
    if len(everything) > _MOST_SHOWN:
        table.add_row(f"… {len(everything) - _MOST_SHOWN} more", "", "", "", "", "")
    cells = columns.target_cells
    task = columns.task
    said = f"{task.task}: {task.why}"
    table.add_row(Text(columns.target), "target", "", str(len(set(cells))), Text(cells[0][:_LONGEST_EXAMPLE]), said)
    return table


def write_columns(columns: CsvColumns, path: Path, missing: tuple[str, ...] = ()) -> None:
    """Write what the columns were taken for as a schema file to be edited; raises DataError."""
    kept = [(column.name, column.wish.model_copy(update={"type": column.type})) for column in columns.kept]
    dropped = [(column.name, column.why) for column in columns.dropped]
    write_schema(path, columns.target, kept, dropped, missing, task=columns.task.task)

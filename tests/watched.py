"""Loans that a formula decides on, as a program elsewhere would: rows, files of them, and what the API is sent."""

import csv
import hashlib
import io
import math
from pathlib import Path
from random import Random
from typing import Any

from tests.artifacts import made_artifact

COLUMNS = ("loan", "at", "income", "age", "region", "p_no", "p_yes", "decision", "defaulted")
OPTIONS = ("--prediction", "decision", "--target", "defaulted", "--name", "loans", "--alarms", "rows")
PROBABILITIES = ("--probability", "no=p_no", "--probability", "yes=p_yes")


def loans(count: int, seed: int = 0, *, poorer: float = 0.0) -> list[dict[str, Any]]:
    """Return loans with the formula's answer and what became of them; labels follow from its probability."""
    random = Random(seed)
    found = []
    for number in range(count):
        income = round(1_000 + 5_000 * random.random() - poorer, 2)
        age, region = random.randrange(18, 78), random.choice(("north", "south", "west"))
        odds = 3 - income / 1_000 + (1.0 if age < 25 else 0.0) + (0.5 if region == "south" else 0.0)
        default = round(1 / (1 + math.exp(-odds)), 4)
        found.append(
            {
                "loan": f"{seed}-{number:07}",
                "at": 1_780_000_000 + 600 * number,
                "income": income,
                "age": age,
                "region": region,
                "p_no": round(1 - default, 4),
                "p_yes": default,
                "decision": "yes" if default >= 0.4 else "no",
                "defaulted": "yes" if random.random() < default else "no",
            }
        )
    return found


def csv_of(rows: list[dict[str, Any]]) -> str:
    """Return rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def logged(row: dict[str, Any], *, label: bool = False, number: bool = False) -> dict[str, Any]:
    """Return a loan as it is sent to the call log."""
    features = {name: row[name] for name in ("income", "age", "region")}
    sent: dict[str, Any] = {"features": features, "prediction_id": row["loan"]}
    if number:
        sent |= {"prediction": row["loss"]} | ({"label": row["lost"]} if label else {})
    else:
        probabilities = {"no": row["p_no"], "yes": row["p_yes"]}
        sent |= {"prediction": row["decision"], "probabilities": probabilities}
        sent |= {"label": row["defaulted"]} if label else {}
    return sent


def losses(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return loans with a predicted number and the true one."""
    random = Random(seed + 1)
    found = []
    for row in loans(count, seed):
        loss = round(0.4 * row["income"] * row["p_yes"] + 10 * row["age"], 2)
        kept = {name: row[name] for name in ("loan", "at", "income", "age", "region")}
        found.append(kept | {"loss": loss, "lost": round(loss + random.gauss(0, 60), 2)})
    return found


def watched_artifact(kept_in: Path, kind: str) -> Path:
    """Return the artifact of `python -m model.watch` for classes, for classes without probabilities, or for numbers."""
    rows = losses(600) if kind == "numbers" else loans(600)
    content = csv_of([{name: value for name, value in row.items() if name not in {"loan", "at"}} for row in rows])
    reference = kept_in / f"loans-{hashlib.sha256(content.encode()).hexdigest()[:16]}.csv"
    kept_in.mkdir(parents=True, exist_ok=True)
    reference.write_text(content, encoding="utf-8")
    options: tuple[str, ...] = ("--prediction", "loss", "--target", "lost", "--name", "losses", "--alarms", "rows")
    if kind != "numbers":
        options = (*OPTIONS, *(PROBABILITIES if kind == "classes" else ()))
        if kind == "plain":
            options = (*options, "--schema", str(_without_scores(kept_in)))
    return made_artifact(kept_in, "model.watch", f"watched-{kind}", "--reference", str(reference), *options)


def _without_scores(folder: Path) -> Path:
    file = folder / "without-scores.yaml"
    file.write_text("drop: [p_no, p_yes]\n", encoding="utf-8")
    return file

"""The values at which the alerts fire, read from their rules."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

RULES = Path(__file__).parents[2] / "prometheus" / "rules"
COMPARISON = re.compile(r"([<>]) (\d+(?:\.\d+)?)")
BURN_RATE = re.compile(r"_rate\w+ > (\d+(?:\.\d+)?) \* (\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Limit:
    """An alert's limit: it fires above ``value``, or below it."""

    alert: str
    value: float
    above: bool


@cache
def expressions() -> dict[str, str]:
    """Return each alert's expression."""
    groups = [
        group
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    ]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}


def limit_of(alert: str) -> Limit:
    """Return the first comparison of the rule outside of brackets. Raises LookupError where there is none."""
    expression = expressions()[alert]
    for found in COMPARISON.finditer(expression):
        before = expression[: found.start()]
        if before.count("(") == before.count(")") and before.count("{") == before.count("}"):
            return Limit(alert, float(found[2]), found[1] == ">")
    raise LookupError(f"the rule of {alert} compares with no number")


def burn_rates(alert: str) -> tuple[float, ...]:
    """Return the factors of the objective at which a burn-rate alert fires, ascending."""
    return tuple(sorted({float(factor) for factor, _ in BURN_RATE.findall(expressions()[alert])}))


def objective_of(alert: str) -> float:
    """Return the share of requests that may fail under the objective of a burn-rate alert."""
    (share,) = {float(share) for _, share in BURN_RATE.findall(expressions()[alert])}
    return share

"""Result tables: rows of figures for people (text) and for programs (JSON), with what was promised beside."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

Value = float | int | str | None
Row = dict[str, Value]


@dataclass(frozen=True)
class Column:
    """A column: the rows' key, the printed heading, decimals, and how the last line sums it up.

    Attributes:
        total: "mean", "sum", "" for nothing.
    """

    key: str
    heading: str
    decimals: int = 2
    total: str = "mean"


@dataclass(frozen=True)
class Check:
    """A promise: `value` must lie within `low` and `high`, either of which may be open (None)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool:
        """False for a value that is not a number, too."""
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return math.isfinite(self.value) and above and below

    @property
    def demand(self) -> str:
        """The range in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return f"at least {self.low:g}" if self.low is not None else f"at most {self.high:g}"


@dataclass
class Table:
    """A set of clips measured.

    Attributes:
        name: what was measured.
        columns: in the order of printing; keys of rows that no column names are in the JSON alone.
        rows: one a clip. A row with a text under "error" was not measured and counts in no mean.
        checks: promises with the values reached.
        notes: sentences on how it was measured.
        extra: further figures of the whole set.
        details: further rows for programs, such as those behind the means of each row; in the JSON alone.
    """

    name: str
    columns: list[Column]
    rows: list[Row]
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Value] = field(default_factory=dict)
    details: list[Row] = field(default_factory=list)

    @property
    def measured(self) -> list[Row]:
        """Rows without an error."""
        return [row for row in self.rows if not row.get("error")]

    @property
    def passed(self) -> bool:
        """Whether every promise is kept and every clip could be measured."""
        return all(check.passed for check in self.checks) and len(self.measured) == len(self.rows)

    def values(self, key: str) -> np.ndarray:
        """The finite values of a column in the measured rows, float64."""
        values = [row.get(key) for row in self.measured]
        numbers = [float(v) for v in values if isinstance(v, (int, float, np.number)) and math.isfinite(v)]
        return np.array(numbers, np.float64)

    def mean(self, key: str) -> float:
        """Mean of a column over clips; NaN if it has no value."""
        values = self.values(key)
        return float(values.mean()) if len(values) else math.nan

    def summary(self) -> Row:
        """The last line: means and sums as the columns ask, and `extra`."""
        totals: Row = {}
        for column in self.columns:
            if column.total == "mean" and len(self.values(column.key)):
                totals[column.key] = self.mean(column.key)
            elif column.total == "sum":
                totals[column.key] = float(self.values(column.key).sum())
        return {**totals, **self.extra, "clips": len(self.rows), "failed": len(self.rows) - len(self.measured)}

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`: plain numbers, and null where there is none."""
        checks = [
            {"name": c.name, "value": _plain(c.value), "demand": c.demand, "passed": c.passed} for c in self.checks
        ]
        rows, details = ([{k: _plain(v) for k, v in row.items()} for row in part] for part in (self.rows, self.details))
        return {
            "name": self.name,
            "rows": rows,
            **({"details": details} if details else {}),
            "summary": {key: _plain(value) for key, value in self.summary().items()},
            "checks": checks,
            "passed": self.passed,
            "notes": self.notes,
        }

    def text(self) -> str:
        """For a terminal: aligned columns, the means, the promises."""
        lines = self._lines() if self.columns else []
        failed = [
            f"not measured: {row.get(self.columns[0].key)}: {row['error']}" for row in self.rows if row.get("error")
        ]
        extra = [f"{key}: {_shown(value, Column(key, key, 3))}" for key, value in self.extra.items()]
        checks = [
            f"{'kept  ' if c.passed else 'MISSED'}  {c.name}: {c.value:.3f}, asked {c.demand}" for c in self.checks
        ]
        blocks = [[self.name], lines, failed, extra, checks, self.notes]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def _lines(self) -> list[str]:
        body = [[_shown(row.get(c.key), c) for c in self.columns] for row in self.measured]
        summed = any(column.total for column in self.columns)
        if summed:
            totals = self.summary()
            last = [_shown(totals.get(c.key), c) if c.total else "" for c in self.columns]
            body.append([last[0] or "mean", *last[1:]])
        lines = _aligned([[c.heading for c in self.columns], *body])
        rule = "-" * max(len(line) for line in lines)
        return [lines[0], rule, *lines[1:-1], rule, lines[-1]] if summed else [lines[0], rule, *lines[1:]]


def _plain(value: object) -> Value:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if isinstance(value, (int, str)) else None


def _shown(value: Value, column: Column) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.{column.decimals}f}"


def _aligned(cells: Iterable[list[str]]) -> list[str]:
    cells = list(cells)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]

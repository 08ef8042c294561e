"""What the suite `listen` prints: each clip's counts, and of all clips together how they compare to real listeners."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS
from pipeline.evaluation.listener_metrics import (
    Motion,
    MotionClusters,
    motion_distance,
    paired_distance,
    variance_ratio,
)
from pipeline.evaluation.nods import Timing
from pipeline.evaluation.tables import Check, Column, Row, Table, Value
from pipeline.hub import EMBEDDED

if TYPE_CHECKING:
    from pipeline.evaluation.suites import SuiteOptions

_COLUMNS = [
    Column("clip", "clip", total=""),
    Column("attitude", "attitude", total=""),
    Column("seconds", "s", 0, "sum"),
    Column("nods", "nods /min", 1, ""),
    Column("after", "after ends", 2, ""),
    Column("chance", "chance", 2, ""),
    Column("blinks", "blinks /min", 1, ""),
    Column("seen", "seen", 2, ""),
    Column("seen_regression", "regression", 2, ""),
    Column("seen_MP4", "MP4", 2, ""),
    Column("lost", "lost", 0, "sum"),
]
_LEAST_SILENCE = 10.0  # seconds, below which a rate in it means nothing
_NAMES = {"driver": "driver", "regression": "regression", "MP4": "rendered MP4", "real": "real listeners"}


@dataclass(frozen=True)
class Listened:
    """What was counted in one clip.

    Attributes:
        motion: while somebody speaks.
        frames: of the whole clip.
        nods: in them.
        blinks: in them.
        timing: of the nods.
        seen: index in `ATTITUDES` of the attitude that the classifier sees; None if it was not asked.
        asked: of the one that was wanted; None for real people.
    """

    motion: Motion
    frames: int
    nods: int
    blinks: int
    timing: Timing
    seen: int | None = None
    asked: int | None = None


@dataclass(frozen=True)
class Group:
    """Clips of one sort together."""

    clips: list[Listened]

    @property
    def motions(self) -> list[Motion]:
        """Theirs."""
        return [clip.motion for clip in self.clips]

    @property
    def minutes(self) -> float:
        """Their length."""
        return sum(clip.frames for clip in self.clips) / FPS / 60

    @property
    def timing(self) -> Timing:
        """Their nods'."""
        return sum((clip.timing for clip in self.clips), Timing())

    def rate(self, name: str) -> float:
        """Nods or blinks a minute."""
        return sum(getattr(clip, name) for clip in self.clips) / self.minutes

    def recognised(self, attitude: int | None = None) -> float:
        """Share of clips in which the attitude that was asked for, one or any, is seen; NaN where none was."""
        asked = [clip for clip in self.clips if clip.asked is not None and attitude in (None, clip.asked)]
        return float(np.mean([clip.seen == clip.asked for clip in asked])) if asked else float("nan")


class ListenedTable(Table):
    """A table whose further figures, named "group: figure", are printed with the groups side by side."""

    def text(self) -> str:
        """As of any table, the further figures last but the notes."""
        return Table(self.name, self.columns, self.rows, self.checks, [*self._beside(), "", *self.notes]).text()

    def _beside(self) -> list[str]:
        pairs = [key.split(": ", 1) for key in self.extra]
        groups, figures = ([*dict.fromkeys(part)] for part in zip(*pairs, strict=True)) if pairs else ([], [])
        heads = [Column("figure", "all clips together"), *(Column(group, group, 3) for group in groups)]
        lines = [{"figure": f, **{g: self.extra.get(f"{g}: {f}") for g in groups}} for f in figures]
        return Table("", [Column(c.key, c.heading, c.decimals, "") for c in heads], lines).text().splitlines()[2:]


def listened_table(rows: list[Row], options: SuiteOptions) -> Table:
    """Print rows, sum them up, and check what issue 3 asks; takes "listened" and "speaker" out of the rows."""
    results: list[dict[str, list[Listened]]] = [row.pop("listened", None) or {} for row in rows]  # type: ignore[misc]
    speakers: list[Motion | None] = [row.pop("speaker", None) for row in rows]  # type: ignore[misc]
    for row, result in zip(rows, results, strict=True):
        row |= _figures(result)
    portraits = [result for result in results if "listener" not in result]
    groups = {name: Group([clip for result in portraits for clip in result.get(name, [])]) for name in _NAMES}
    groups = {name: group for name, group in groups.items() if group.clips}
    table = ListenedTable("listen: portraits that listen, against people who do", _COLUMNS, rows)
    for name, group in groups.items():
        table.extra |= {f"{_NAMES[name]}: {key}": value for key, value in _summary(group, groups.get("real")).items()}
    pairs = [(result, other) for result, other in zip(results, speakers, strict=True) if other is not None]
    table.extra |= _paired(pairs)
    for name in ("driver", "regression"):
        for part in ("expression", "pose"):
            if len(table.values(f"rpcc_{part}_{name}")):
                table.extra[f"pairs, {name}: RPCC {part}"] = table.mean(f"rpcc_{part}_{name}")
    if "driver" in groups:
        table.checks = _checks(groups, table.extra)
    table.notes = [
        "after ends: share of nods that begin within 1 s after a phrase's end; chance: if they began anywhere. seen: "
        "share of clips in which the classifier sees the attitude asked for. real: the corpus's real listeners, train "
        "and val, tracked; their attitude is what the classifier takes them for. Portraits' motion counts while "
        "somebody speaks; nods and blinks count in the silence after it too. Variance ratio, ExpFD, PoseFD and SID "
        "are on coefficients told from the clip's own median; typical: the variance ratio of medians over windows "
        "instead of means. The regression has no blinks and no gaze, and tracked clips (MP4, real) tremble a little "
        "more than coefficients. pairs: a "
        f"real listener's first frame hears and sees its own speaker. Split {options.split}."
    ]
    return table


def _figures(result: dict[str, list[Listened]]) -> Row:
    """A row's own figures: of the driver, or of the real listener."""
    name = next((name for name in ("driver", "real") if name in result), None)
    if name is None:
        return {}
    group = Group(result[name])
    timing = group.timing
    row: Row = {
        "seconds": 60 * group.minutes,
        "nods": group.rate("nods"),
        "after": timing.hits / timing.nods if timing.nods else None,
        "chance": timing.chance / timing.nods if timing.nods else None,
        "blinks": group.rate("blinks"),
        "seen": _number(group.recognised()),
    }
    for other in ("regression", "MP4"):
        if other in result:
            row[f"seen_{other}"] = _number(Group(result[other]).recognised())
    return row


def _summary(group: Group, real: Group | None) -> dict[str, Value]:
    timing = group.timing
    expression, pose = MotionClusters.load(EMBEDDED / "attitude").shannon_index(group.motions)
    summary: dict[str, Value] = {
        "clips": len(group.clips),
        "minutes": group.minutes,
        "nods /min": group.rate("nods"),
        "nods after phrase ends": timing.hits / timing.nods if timing.nods else None,
        "by chance": timing.chance / timing.nods if timing.nods else None,
        "times chance": _number(timing.ratio),
        "nods /s of silence": _number(timing.quiet_rate) if timing.quiet_seconds > _LEAST_SILENCE else None,
        "blinks /min": group.rate("blinks"),
        "SID expression": expression,
        "SID pose": pose,
    }
    if real is not None and real is not group:
        ratio, distance = variance_ratio(group.motions, real.motions), motion_distance(group.motions, real.motions)
        summary |= {"variance ratio expression": ratio[0], "variance ratio pose": ratio[1]}
        typical = variance_ratio(group.motions, real.motions, typical=True)
        summary |= {"typical expression": typical[0], "typical pose": typical[1]}
        summary |= {"ExpFD": distance[0], "1000 PoseFD": 1000 * distance[1]}
    if np.isfinite(group.recognised()):
        summary["attitude seen"] = group.recognised()
        summary |= {f"{name} seen": _number(group.recognised(i)) for i, name in enumerate(ATTITUDES)}
    return summary


def _paired(pairs: Iterable[tuple[dict[str, list[Listened]], Motion]]) -> dict[str, Value]:
    """FD and P-FD of the pairs, and their variance against the same listeners."""
    pairs = list(pairs)
    real = [(result["listener"][0].motion, other) for result, other in pairs]
    if not real:
        return {}
    found: dict[str, Value] = {}
    for name in ("driver", "regression"):
        made = [(clip.motion, other) for result, other in pairs for clip in result[name]]
        alone = motion_distance([motion for motion, _ in made], [motion for motion, _ in real])
        together = paired_distance(made, real)
        ratio = variance_ratio([motion for motion, _ in made], [motion for motion, _ in real])
        for key, values in (("FD", alone), ("P-FD", together), ("variance ratio", ratio)):
            scales = (1, 1) if key == "variance ratio" else (1, 1000)
            names = (f"{key} expression", f"{key} pose" if scales[1] == 1 else f"1000 {key} pose")
            found |= {f"pairs, {name}: {a}": b * c for a, b, c in zip(names, values, scales, strict=True)}
    return found


_PARTS = ("expression", "pose")


def _checks(groups: dict[str, Group], extra: dict[str, Any]) -> list[Check]:
    driver = groups["driver"]
    checks = [Check("attitude recognised, driver", driver.recognised(), low=0.85)]
    if "MP4" in groups:
        checks.append(Check("attitude recognised, rendered MP4", groups["MP4"].recognised(), low=0.85))
    for part in _PARTS:
        if f"driver: variance ratio {part}" in extra:
            ratio = extra[f"driver: variance ratio {part}"]
            checks.append(Check(f"variance ratio to real listeners, {part}", ratio, low=0.7, high=1.3))
    return [
        *checks,
        Check("blinks a minute", driver.rate("blinks"), low=10, high=25),
        Check("nods within 1 s after phrase ends, times chance", driver.timing.ratio, low=2),
        Check("nods a second in silence", driver.timing.quiet_rate, high=0.2),
    ]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None

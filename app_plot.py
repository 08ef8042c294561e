"""A clip's movement as an SVG: lips and pose over the sound's waveform, drawn by hand so that nothing is added."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from app_texts import duration, say
from pipeline.movement import Movement

_WIDTH, _LANE, _GAP, _LEFT = 600, 64, 12, 4


def movement_plot(movement: Movement, language: str = "en") -> str:
    """Lanes above each other: the lips' opening over the waveform, then nod, turn and tilt over it, one scale for all
    three. What they show is also said in words, for who cannot see them."""
    ranges = np.ptp(movement.pose, axis=0)
    alt = say(
        "movement_alt",
        language,
        time=duration(movement.seconds, language),
        lips=f"{100 * movement.lips.max():.0f}",
        pitch=f"{ranges[0]:.0f}",
        yaw=f"{ranges[1]:.0f}",
        roll=f"{ranges[2]:.0f}",
    )
    centred = movement.pose - np.median(movement.pose, axis=0)
    reach = max(float(np.abs(centred).max()), 1.0)
    lanes = [
        _lane(0, movement.level, [("lips", movement.lips / max(float(movement.lips.max()), 0.02))]),
        _lane(
            1,
            movement.level,
            [(name, 0.5 - 0.5 * centred[:, k] / reach) for k, name in enumerate(("pitch", "yaw", "roll"))],
        ),
    ]
    height = 2 * _LANE + _GAP + 18
    keys = "".join(
        f'<li class="{name}">{html.escape(say(name, language))}</li>'
        for name in ("sound", "lips", "pitch", "yaw", "roll")
    )
    return (
        f'<figure class="movement"><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(alt)}" '
        f'preserveAspectRatio="none">{"".join(lanes)}</svg>{_times(movement.seconds)}'
        f'<ul class="keys" aria-hidden="true">{keys}</ul><figcaption>{html.escape(alt)}</figcaption></figure>'
    )


def _lane(row: int, level: np.ndarray, curves: Sequence[tuple[str, np.ndarray]]) -> str:
    """The waveform, mirrored about the lane's middle, and curves (N,) of 0 (below) to 1 (above) over it."""
    top = row * (_LANE + _GAP) + 2
    x = np.linspace(_LEFT, _WIDTH - _LEFT, len(level))
    middle, half = top + _LANE / 2, _LANE / 2 * level / max(float(level.max()), 0.05)
    outline = [*zip(x, middle - half, strict=True), *zip(x[::-1], (middle + half)[::-1], strict=True)]
    drawn = [f'<polygon class="wave" points="{_points(outline)}"/>']
    for name, curve in curves:
        y = top + _LANE * (1 - np.clip(curve, 0, 1))
        drawn.append(f'<polyline class="{name}" points="{_points(list(zip(x, y, strict=True)))}"/>')
    return "".join(drawn)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _times(seconds: float) -> str:
    """Where the clip begins, is in its middle, and ends, as players write it."""
    marks = (f"{int(t) // 60}:{int(t) % 60:02d}" for t in (0, seconds / 2, seconds))
    return '<p class="times" aria-hidden="true">' + "".join(f"<span>{mark}</span>" for mark in marks) + "</p>"

"""Figures of upper face and head motion, taken alike from real and generated clips, and the table of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.clock import FPS
from pipeline.drivers.prosody import ACTIVITY, LEVEL

BANDS = ((0.1, 0.3), (0.3, 0.6), (0.6, 1.2), (1.2, 2.4), (2.4, 4.8), (4.8, 12.5))  # Hz
SHUT = 0.5  # a blink: both lids' mean opening below this share of the opening around
_SACCADE = 0.004  # face heights that irises move within two frames in a saccade, 4°; tracking trembles below


@dataclass(frozen=True)
class Motion:
    """Pose (T, 6), measures of lids, gaze and brows (T, 6) and prosody (T, 4) of one clip, real or generated."""

    pose: np.ndarray
    upper: np.ndarray
    voice: np.ndarray


def blinks(opening: np.ndarray, shut: float = SHUT) -> list[tuple[int, int]]:
    """First frame and length of the blinks in an opening (T,), none longer than 0.6 s."""
    usual = np.array([np.quantile(opening[max(0, t - 50) : t + 51], 0.7) for t in range(len(opening))])
    closed = np.concatenate([[False], opening < shut * usual, [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(closed) == 1), np.flatnonzero(np.diff(closed) == -1)
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True) if b - a <= 15]


def saccades(gaze: np.ndarray, blink_frames: np.ndarray) -> int:
    """Quick shifts of the irises (T, 2) outside blinks."""
    move = np.linalg.norm(gaze[2:] - gaze[:-2], axis=1)
    move[blink_frames[2:] | blink_frames[:-2]] = 0
    quick = np.concatenate([[0], (move > _SACCADE).astype(int)])
    return int((np.diff(quick) == 1).sum())


def figures(motion: Motion) -> dict[str, float]:
    """Figures of one clip; angles in degrees, lengths in thousandths of the face's height."""
    pose, upper, voice = motion.pose, motion.upper, motion.voice
    minutes = len(pose) / FPS / 60
    unit = np.array([*np.degrees(np.ones(3)), 1e3, 1e3, 1e3])
    steady = _steadied(pose)
    deviation, speed = pose.std(0) * unit, np.abs(np.diff(steady, axis=0)).mean(0) * unit * FPS
    names = ("pitch", "yaw", "roll", "right", "down", "size")
    result = {f"std {name}": value for name, value in zip(names, deviation, strict=True)}
    result |= {f"speed {name} /s": value for name, value in zip(names, speed, strict=True)}
    window = np.hanning(len(pose))[:, None]
    power = np.abs(np.fft.rfft((pose[:, :3] - pose[:, :3].mean(0)) * window, axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(pose), 1 / FPS)
    for low, high in BANDS:
        share = power[(frequency >= low) & (frequency < high)].sum() / max(power[1:].sum(), 1e-12)
        result[f"power {low}-{high} Hz %"] = 100 * share

    found = blinks(upper[:, :2].mean(1))
    result["blinks /min"] = len(found) / minutes
    result["blink ms below half"] = float(np.mean([n for _, n in found])) * 1000 / FPS if found else np.nan
    near = np.zeros(len(upper), bool)
    for start, length in found:
        near[max(0, start - 6) : start + length + 10] = True
    result["saccades /min"] = saccades(upper[:, 2:4], near) / minutes
    seen = ~near if (~near).sum() > 10 else np.ones_like(near)
    result["std gaze right"], result["std gaze down"] = upper[seen, 2:4].std(0) * 1e3
    result["std brows"] = upper[seen, 4:].mean(1).std() * 1e3

    head = np.linalg.norm(np.diff(steady[:, :3], axis=0, prepend=steady[:1, :3]), axis=1)
    kernel = np.hanning(17)[1:-1] / np.hanning(17).sum()
    loud, quick = np.convolve(voice[:, LEVEL], kernel, "same"), np.convolve(head, kernel, "same")
    active = np.convolve(voice[:, ACTIVITY], kernel, "same")
    if len(pose) >= 125 and loud.std() > 0 and quick.std() > 0:
        result["r head speed, voice level"] = float(np.corrcoef(loud, quick)[0, 1])
        if active.std() > 0.05:
            result["r head speed, voice activity"] = float(np.corrcoef(active, quick)[0, 1])
    return result


def _steadied(pose: np.ndarray) -> np.ndarray:
    """Pose (T, 6) under a window of five frames: speeds of tracked poses are otherwise half the tracker's trembling."""
    kernel = np.hanning(7)[1:-1] / np.hanning(7).sum()
    return np.stack([np.convolve(np.pad(column, 2, mode="edge"), kernel, "valid") for column in pose.T], -1)


def table(columns: dict[str, list[dict[str, float]]]) -> str:
    """A line a figure, a column a set of clips: the median over clips, and in brackets the middle half.

    Rates and correlations, which are coarse on one short clip, are means.
    """
    names = list(dict.fromkeys(name for rows in columns.values() for row in rows for name in row))
    lines = [f"{'':30}" + "".join(f"{name:>26}" for name in columns)]
    for name in names:
        cells = []
        for rows in columns.values():
            values = np.array([row[name] for row in rows if np.isfinite(row.get(name, np.nan))])
            if not len(values):
                cells.append(f"{'-':>26}")
                continue
            low, high = np.quantile(values, [0.25, 0.75])
            middle = values.mean() if "/min" in name or name.startswith(("r ", "blink")) else np.median(values)
            cells.append(f"{middle:>10.2f} ({low:.2f}..{high:.2f})".rjust(26))
        lines.append(f"{name:30}" + "".join(cells))
    return "\n".join(lines)

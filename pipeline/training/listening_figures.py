"""Figures of the lessons for a listener: composed ones of each attitude beside the real ones.

python -m pipeline.training.listening_figures CORPUS CACHE       # composes the lessons first, if need be
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS
from pipeline.drivers.turns import IDLE
from pipeline.face.morphable import UPPER_DIM
from pipeline.training.listening_lessons import ListeningLesson, make_lessons
from pipeline.training.listening_motion import groups, nods, shakes

_WINDOW = 200  # frames: the usual length of the corpus's `listen` clips, 8 s


def figures(lessons: list[ListeningLesson]) -> dict[str, float]:
    """Figures of some lessons taken together; variances are those within 8 s, of β in its own unit (unit variance
    over speech), of rotations in degrees."""
    minutes = sum(map(len, lessons)) / FPS / 60
    parts = [part for one in lessons for part in _windows(one.expression)]
    poses = np.mean([part.var(0) for one in lessons for part in _windows(one.pose)], axis=0)
    seen = [nods(one.pose) for one in lessons]
    near = idle_nods = 0
    chance, idle, total = 0, 0, sum(map(len, lessons))
    for lesson, found in zip(lessons, seen, strict=True):
        after = np.zeros(len(lesson) + FPS, bool)
        for end in lesson.plan.phrase_ends:
            after[end : end + FPS] = True
        resting = lesson.plan.states == IDLE
        near += sum(bool(after[one.peak]) for one in found)
        idle_nods += sum(bool(resting[one.peak]) for one in found)
        chance += int(after[: len(lesson)].sum())
        idle += int(resting.sum())
    strokes = max(1, sum(map(len, seen)))
    return {
        "lessons": len(lessons),
        "minutes": minutes,
        "faces": len({one.identity.tobytes() for one in lessons}),
        "speaker seen": sum(one.speaker is not None for one in lessons),
        "variance of upper face": float(np.mean([part[:, :UPPER_DIM].var(0).sum() for part in parts])),
        "variance of lower face": float(np.mean([part[:, UPPER_DIM:].var(0).sum() for part in parts])),
        "std pitch": float(np.degrees(np.sqrt(poses[0]))),
        "std yaw": float(np.degrees(np.sqrt(poses[1]))),
        "std roll": float(np.degrees(np.sqrt(poses[2]))),
        "std shift": float(np.sqrt(poses[3:5].mean())),
        "std size": float(np.sqrt(poses[5])),
        "nod strokes /min": sum(map(len, seen)) / minutes,
        "nod bursts /min": sum(len(groups(found)) for found in seen) / minutes,
        "shakes /min": sum(len(shakes(one.pose)) for one in lessons) / minutes,
        "nods within 1 s of phrase ends, times chance": near / strokes / max(chance / total, 1e-9),
        "nods /s while idle": idle_nods / max(idle / FPS, 1e-9),
        "share idle": idle / total,
    }


def _windows(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, max(1, len(rows) // _WINDOW))


def main(arguments: list[str] | None = None) -> None:
    """The module's own command."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.training.listening_figures", description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder of the corpus, with MANIFEST.csv")
    parser.add_argument("cache", type=Path, help="keeps tracks and lessons")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    lessons = make_lessons(options.corpus, options.cache, options.seed)
    columns = {"real": [one for one in lessons if one.source == "real"]}
    for index, name in enumerate(ATTITUDES):
        columns[name] = [one for one in lessons if one.source == "composed" and one.attitude == index]
    rows = {name: figures(some) for name, some in columns.items() if some}
    print(f"{'':46}" + "".join(f"{name:>10}" for name in rows))
    for figure in next(iter(rows.values())):
        print(f"{figure:46}" + "".join(f"{row[figure]:>10.3f}" for row in rows.values()))


if __name__ == "__main__":
    main()

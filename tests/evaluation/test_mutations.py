"""Damaged files: the same ones for the same seed, and each ends in a result or a sentence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.evaluation import mutations
from pipeline.evaluation.damage import mutate


def test_a_case_is_known_by_its_seed() -> None:
    data = bytes(range(256)) * 9
    first, again, other = (mutate(data, random.Random(seed)) for seed in ("a", "a", "b"))
    assert first == again != other
    names = {name for seed in range(200) for name in mutate(data, random.Random(seed))[1].split("+")}
    assert len(names) == 12 and {"truncate", "flip_bits", "huge", "noise"} <= names


def test_damaged_files_end_in_a_result_or_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cases", "25", "--only", "sound", "video", "mark", "manifest", "coefficients"]
    assert mutations.main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("25 cases: ") and last.endswith(" 0 anything else")


def test_what_is_neither_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A stand-in for the child: it dies, hangs, or fails by a traceback."""
    answers = iter([("crash", "ended with -11"), ("hang", "no answer"), ("other", "KeyError: 3"), ("result", "")])
    monkeypatch.setattr(mutations._Child, "ask", lambda self, reader, path: next(answers))
    assert mutations.main(["--cases", "4", "--only", "coefficients", "--keep", str(tmp_path / "kept")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "4 cases: 0 refused, 1 with a result, 3 anything else"
    assert len(list((tmp_path / "kept").iterdir())) == 3

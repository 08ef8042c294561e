"""Texts in both languages, and the settings that README lists."""

from __future__ import annotations

import ast
import re
import string
from dataclasses import fields
from pathlib import Path

import numpy as np

from app_limits import Limits
from app_plot import movement_plot
from app_texts import TEXTS, duration, say
from pipeline.movement import Movement

HAN = re.compile(r"[\u4e00-\u9fff]")


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_is_there_in_both_languages_with_the_same_values() -> None:
    for key, texts in TEXTS.items():
        assert len(texts) == 2 and all(text.strip() for text in texts), key
        english, chinese = texts
        assert not HAN.search(english) and HAN.search(chinese), key
        assert names_in(english) == names_in(chinese), key


def test_no_text_is_missing(repository: Path) -> None:
    names = ("app.py", "app_cards.py", "app_look.py", "app_modes.py", "app_plot.py", "app_texts.py")
    code = "".join((repository / name).read_text() for name in names)
    named = set(re.findall(r'\bsay\(\s*"(\w+)"', code)) | set(re.findall(r'(?:label|info)="(\w+)"', code))
    named = {name for name in named if not name.endswith("_")}
    assert len(named) > 40
    assert named - set(TEXTS) - {"clip"} == set()


def test_times_are_said_in_both_languages() -> None:
    assert [duration(s, "zh") for s in (0.2, 60, 125, 3780)] == ["1 秒", "1 分钟", "2 分 5 秒", "1 小时 3 分钟"]
    assert say("frames", "fr", done=1, total=2) == "1 of 2 frames", "another language gets English"


def test_the_plot_is_said_in_words_too() -> None:
    wave = np.sin(np.linspace(0, 6, 50))
    pose = np.stack([5 * wave, 2 * wave, 0 * wave], axis=1)
    drawn = movement_plot(Movement(6.0, 0.04 + 0.03 * wave, pose, np.abs(wave)))
    assert drawn.count("<polyline") == 4 and drawn.count("<polygon") == 2
    assert "the lips open up to 7 % of the face&#x27;s height; the head nods through 10°, turns through 4°" in drawn
    assert re.findall(r"<span>(\d:\d\d)</span>", drawn) == ["0:00", "0:03", "0:06"]
    places = [float(number) for points in re.findall(r'points="([^"]+)"', drawn) for number in re.split("[ ,]", points)]
    assert min(places) >= 0 and max(places) <= 600, "a curve leaves the picture"


# --- settings -------------------------------------------------------------------------------------------------------

SYSTEM = {"LOCALAPPDATA", "XDG_DATA_HOME", "GLOG_minloglevel"}
"""What the system or a library defines, and what only quietens one."""


def variables_read(path: Path) -> set[str]:
    """Names of environment variables that a file reads or sets, or that begin with ours."""
    text = path.read_text()
    found = set(re.findall(r"\bTETE_[A-Z0-9_]*[A-Z0-9]\b", text))
    for node in ast.walk(ast.parse(text)):
        name: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            name = node.slice
        elif isinstance(node, ast.Call) and re.search(
            r"environ(ment)?\.(get|setdefault)$|getenv$", ast.unparse(node.func)
        ):
            name = node.args[0]
        if isinstance(name, ast.Constant):
            found.add(name.value)
    return found


def test_readme_lists_every_environment_variable_and_no_other(repository: Path) -> None:
    code = [*repository.glob("app*.py"), *(repository / "pipeline").rglob("*.py")]
    read = set().union(*map(variables_read, code)) - SYSTEM
    read |= {f"TETE_{field.name.upper()}" for field in fields(Limits)}
    section = (repository / "README.md").read_text().split("## Settings")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z][A-Za-z0-9_]+)`", row.split("|")[1])}
    assert read - listed == set(), "README's table lacks these"
    assert {name for name in listed if name.startswith("TETE_")} - read == set(), "nothing reads these"
    table = {row.split("|")[1].strip(" `"): row.split("|")[3].strip() for row in rows}
    for field in fields(Limits):
        assert table[f"TETE_{field.name.upper()}"] == str(field.default), field.name

"""Checks of what callers ask for, each with a sentence that names what may be asked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline.errors import InputError


def check_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raises: InputError: if `value` is neither None nor between `low` and `high`."""
    if value is not None and not low <= value <= high:
        raise InputError(f"{name} must be between {low} and {high}, not {value}.")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raises: InputError: if `value` is none of `choices`."""
    if value not in choices:
        raise InputError(f"There is no {name} {value!r}; choose one of: {', '.join(choices)}.")


def told_name(model: str) -> str:
    """What a clip's mark may tell of a model: its name on the Hub, but of a folder only the folder's own name."""
    return Path(model).name if Path(model).exists() else model

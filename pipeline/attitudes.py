"""The attitudes a listener can have; the user picks one, it is never inferred from anyone."""

from __future__ import annotations

ATTITUDES = ("positive", "neutral", "negative")

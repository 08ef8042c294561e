"""What tests ask of the Hub's answers."""

from __future__ import annotations

from pathlib import Path

from heads import one_sentence


def refusal(text: str) -> str:
    """The sentence of a refusal, which must be one."""
    assert text.startswith("refused: "), text
    assert one_sentence(text.removeprefix("refused: ")), text
    return text.removeprefix("refused: ")


def same_files(folder: Path, source: Path) -> bool:
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    return bool(names) and all((folder / name).read_bytes() == (source / name).read_bytes() for name in names)

"""librosa's first import compiles: only one process at a time may."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock, Timeout

from pipeline.audio import compiled


def test_what_compiles_is_imported_behind_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    guarded = []

    def importing(name: str) -> ModuleType:
        (lock,) = tmp_path.glob("*.lock")
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            guarded.append(name)
        return importlib.import_module(name)

    monkeypatch.setattr(compiled, "import_module", importing)
    assert compiled.load_librosa.__wrapped__().__name__ == "librosa"
    assert tuple(guarded) == compiled._COMPILED


def test_a_folder_without_locks_does_not_keep_librosa_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file" / "folder"))
    assert compiled.load_librosa.__wrapped__().__name__ == "librosa"

"""What every test shares: two cores at most, and the corpus of real clips where there is one.

The corpus stands beside the repository (`../shared/corpus`) or where `TETE_CORPUS` points. Tests that ask
for the `corpus` fixture are skipped, with the reason, on machines without it; all others must pass there.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

# Before numpy and torch are first imported: they read these once.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]


def corpus_folder() -> Path | None:
    """The corpus's folder, or None where it is absent."""
    folder = Path(os.environ.get("TETE_CORPUS") or REPOSITORY.parent / "shared" / "corpus")
    return folder if (folder / "MANIFEST.csv").is_file() else None


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of the corpus; skips the test where there is none."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("This test needs the corpus: put it at ../shared/corpus or set TETE_CORPUS to its folder.")
    return folder


@pytest.fixture(scope="session")
def manifest(corpus: Path) -> list[dict[str, str]]:
    """The corpus's files as rows of text, with the manifest's column names as keys."""
    with open(corpus / "MANIFEST.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of this repository."""
    return REPOSITORY

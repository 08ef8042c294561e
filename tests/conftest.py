"""What every test shares: two cores at most, and the corpus of real clips where there is one.

The corpus stands beside the repository (`../shared/corpus`) or where `TETE_CORPUS` points. Tests that ask
for the `corpus` fixture are skipped, with the reason, on machines without it; all others must pass there.
"""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

# Before numpy and torch are first imported: they read these once.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# What an installation keeps of its own, such as the certificate that it makes for itself, is not the developer's here.
os.environ["TETE_DATA"] = tempfile.mkdtemp(prefix="tete-tests-")
atexit.register(shutil.rmtree, os.environ["TETE_DATA"], ignore_errors=True)

import pytest  # noqa: E402

from pipeline.audio.compiled import load_librosa  # noqa: E402

load_librosa()  # before tests import it by themselves, several processes at once

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline
    from pipeline.face.portrait import Portrait

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


@pytest.fixture(scope="session")
def pipe() -> ConversationalHeadPipeline:
    """The pipeline on the embedded weights, loaded once for all tests."""
    from pipeline.conversation import ConversationalHeadPipeline

    return ConversationalHeadPipeline.from_pretrained()


@pytest.fixture(scope="session")
def debug_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny random weights, for tests of everything but meaning."""
    from heads import make_debug_weights

    return make_debug_weights(tmp_path_factory.mktemp("debug") / "weights")


@pytest.fixture(scope="session")
def debug_pipe(debug_weights: Path) -> ConversationalHeadPipeline:
    """The pipeline on tiny random weights."""
    from pipeline.conversation import ConversationalHeadPipeline

    return ConversationalHeadPipeline.from_pretrained(debug_weights)


@pytest.fixture(scope="session")
def portraits(pipe: ConversationalHeadPipeline) -> dict[str, Portrait]:
    """The example portraits, fitted at 256 pixels, by name."""
    files = sorted((REPOSITORY / "examples" / "portraits").iterdir())
    return {path.stem: pipe.portrait(path, 256) for path in files}


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of "Bob and Pam bought a bowl of plum jam", then a second of nothing."""
    import numpy as np
    import soundfile

    from pipeline.audio.reading import read_audio

    speech = read_audio(REPOSITORY / "examples" / "speech" / "lips_rms.flac")
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, np.concatenate([speech[4800:20800], np.zeros(16000, np.float32)]), 16000)
    return path

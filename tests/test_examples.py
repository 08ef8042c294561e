"""The examples are ours to ship, are what they claim to be, and are good input: a face, a voice, a source each."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.audio.reading import probe_audio, read_audio
from pipeline.audio.voice import voice_activity
from pipeline.clock import FPS
from pipeline.face.follower import find_face
from pipeline.face.image import read_image
from pipeline.face.tracker import Face, FaceTracker
from pipeline.provenance import read_mark
from pipeline.video import VideoReader

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.append(str(EXAMPLES))

from make_portraits import CAST, draw  # noqa: E402
from sdf_head import mouth_y  # noqa: E402
from sdf_render import project  # noqa: E402

PORTRAITS = sorted(path for path in (EXAMPLES / "portraits").iterdir())
SPEECH = sorted(path for path in (EXAMPLES / "speech").iterdir())
DRIVING = sorted(path for path in (EXAMPLES / "driving").iterdir())
DRAWN = {sitter.file: sitter for sitter in CAST}


@pytest.fixture(scope="module")
def faces() -> dict[str, list[Face]]:
    """What the tracker finds in each portrait, by file name."""
    with FaceTracker() as tracker:
        return {path.name: tracker.find(read_image(path)) for path in PORTRAITS}


def test_every_example_has_a_source_and_every_source_an_example() -> None:
    rows = [
        line.split("|")[1].strip() for line in (EXAMPLES / "SOURCES.md").read_text().splitlines() if line[:1] == "|"
    ]
    shipped = {path.relative_to(EXAMPLES).as_posix() for path in [*PORTRAITS, *SPEECH, *DRIVING]}
    assert set(rows) - {"file", "---"} == shipped


def test_examples_stay_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < 6e6


def test_the_cast_is_what_lies_in_the_folder() -> None:
    assert {path.name for path in PORTRAITS} == {*DRAWN, "astronaut.png"}


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda path: path.stem)
def test_each_portrait_holds_one_clear_face(path: Path, faces: dict[str, list[Face]]) -> None:
    (face,) = faces[path.name]
    left, top, right, bottom = face.box
    height, width = read_image(path).shape[:2]
    assert face.score > 0.8
    assert face.height > 100
    assert left > 0 and top > 0 and right < width and bottom < height


@pytest.mark.parametrize("file", DRAWN)
def test_the_mesh_lies_where_the_features_were_drawn(file: str, faces: dict[str, list[Face]]) -> None:
    """We know where we drew eyes and mouth, so the tracker's irises and lips have a truth to be held against."""
    sitter, points = DRAWN[file], faces[file][0].landmarks[:, :2]
    side = read_image(EXAMPLES / "portraits" / file).shape[0]
    truth = [
        project((-0.335, 0.0, 0.65), sitter.look, side),
        project((0.335, 0.0, 0.65), sitter.look, side),
        project((0.0, mouth_y(sitter.head), 0.87), sitter.look, side),
    ]
    found = [points[468], points[473], points[[13, 14]].mean(0)]
    errors = np.linalg.norm(np.subtract(found, truth), axis=1) / faces[file][0].height
    assert errors.max() < 0.06, errors


def test_one_sitter_shows_teeth_and_the_others_keep_their_mouths_shut(faces: dict[str, list[Face]]) -> None:
    opening = {name: np.linalg.norm(found[0].landmarks[13] - found[0].landmarks[14]) / found[0].height
               for name, found in faces.items()}  # fmt: skip
    shut = [opening[name] for name in DRAWN if name != "man_smiling.jpg"]
    assert opening["man_smiling.jpg"] > 0.02 > 0.012 > max(shut), opening


def test_the_code_draws_the_portrait_that_is_shipped() -> None:
    sitter = DRAWN["man_smiling.jpg"]
    shipped = cv2.resize(read_image(EXAMPLES / "portraits" / sitter.file), (96, 96), interpolation=cv2.INTER_AREA)
    drawn = draw(sitter, side=96, samples=3)
    error = np.mean((shipped.astype(float) - drawn) ** 2)
    assert 10 * np.log10(255**2 / error) > 26


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_each_recording_is_a_few_seconds_of_clear_speech(path: Path) -> None:
    info = probe_audio(path)
    assert 3 <= info.seconds <= 8 and info.rate in (16000, 22050) and info.channels == 1
    samples = read_audio(path)
    assert 0.5 < np.abs(samples).max() <= 1.0
    speaking = voice_activity(samples) > 0.5
    assert speaking.mean() > 0.4
    assert not speaking[:3].any() and not speaking[-3:].any()


@pytest.mark.parametrize("path", DRIVING, ids=lambda path: path.stem)
def test_each_video_shows_one_face_that_is_heard(path: Path) -> None:
    video = VideoReader(path)
    assert 3 * FPS <= video.frames <= 8 * FPS and video.has_sound
    face, others = find_face(video)
    assert face.height > 100 and others == 0
    assert (voice_activity(read_audio(path)) > 0.5).mean() > 0.4
    assert read_mark(path) is not None


def test_the_recording_with_pauses_has_two_of_about_a_second() -> None:
    speaking = voice_activity(read_audio(EXAMPLES / "speech" / "pause_awb.ogg")) > 0.5
    edges = np.flatnonzero(np.diff(speaking.astype(int)))
    gaps = [b - a for a, b in pairwise(edges) if not speaking[a + 1]]
    assert sum(0.6 * FPS <= gap <= 1.2 * FPS for gap in gaps) == 2, gaps

"""Everything that can be wrong with what is given, through the whole pipeline: a sentence or a clip, nothing between.

What exactly each file is refused for is tested where it is decided (`tests/face`, `tests/audio`, `tests/video`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from heads import one_sentence, write_sound
from PIL import Image

from pipeline.conversation import ConversationalHeadPipeline
from pipeline.errors import AudioError, InputError, PortraitError, VideoError
from pipeline.face.image import read_image
from pipeline.face.portrait import Portrait
from pipeline.video import VideoReader


@pytest.fixture(scope="module")
def astronaut(repository: Path) -> np.ndarray:
    return read_image(repository / "examples" / "portraits" / "astronaut.png")


@pytest.fixture(scope="module")
def tone(tmp_path_factory) -> Path:
    return write_sound(tmp_path_factory.mktemp("bad") / "tone.wav", 0.2 * np.sin(np.arange(3200) / 5))


def test_every_bad_input_of_the_corpus_gives_a_portrait_or_a_sentence(corpus, pipe):
    taken, refused = [], []
    for path in sorted((corpus / "bad_inputs").iterdir()):
        try:
            portrait = pipe.portrait(path, 256)
        except PortraitError as error:
            assert one_sentence(error), f"{path.name}: {error}"
            refused.append(path.name)
        else:
            assert isinstance(portrait, Portrait) and all(one_sentence(text) for text in portrait.warnings), path.name
            taken.append(path.name)
    assert len(taken) + len(refused) == 35 and len(taken) >= 10 and len(refused) >= 15


def test_every_bad_input_of_the_corpus_as_sound_and_as_video(corpus, debug_pipe, portraits, tmp_path):
    for path in sorted((corpus / "bad_inputs").iterdir()):
        if path.suffix == ".mp4":  # its sound is good
            continue
        with pytest.raises(InputError) as error:
            debug_pipe.talk(portraits["statue"], path).save(tmp_path / "out.mp4")
        assert one_sentence(error.value), f"{path.name}: {error.value}"
    with pytest.raises(VideoError, match=r"No face was found in no_face_video\.mp4") as error:
        debug_pipe.reenact(portraits["statue"], corpus / "bad_inputs" / "no_face_video.mp4")
    assert one_sentence(error.value)
    assert os.listdir(tmp_path) == []


def test_every_bad_input_of_the_corpus_as_a_speaker(corpus, debug_pipe, portraits, voice, tmp_path):
    """Heard or watched; `no_face_video.mp4` has good sound, so it may be heard."""
    for path in sorted((corpus / "bad_inputs").iterdir()):
        watched = {"audio": voice, "speaker_video": path}
        for given in [watched] if path.suffix == ".mp4" else [{"audio": path}, watched]:
            with pytest.raises(InputError) as error:
                debug_pipe.listen(portraits["statue"], **given).save(tmp_path / "out.mp4")
            assert one_sentence(error.value), f"{path.name}: {error.value}"
    assert os.listdir(tmp_path) == []


# --- pictures -------------------------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[Callable[[np.ndarray, Path], object], str]] = {
    "no face": (lambda image, path: np.full((300, 300, 3), 128, np.uint8), "No face"),
    "noise": (lambda image, path: np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8), "No face"),
    "40 pixels": (lambda image, path: cv2.copyMakeBorder(cv2.resize(image, (180, 180)), 60, 60, 60, 60, 1), "pixels"),
    "tiny": (lambda image, path: cv2.resize(image, (16, 16)), "pixels"),
    "text": (lambda image, path: _bytes(path / "text.png", b"This is not a picture.\n" * 20), "text.png"),
    "empty": (lambda image, path: _bytes(path / "empty.png", b""), "empty"),
    "cut short": (lambda image, path: _cut_short(image, path / "cut.jpg"), "cut short"),
    "bomb": (lambda image, path: _bomb(path / "bomb.png"), "pixels"),
    "folder": (lambda image, path: path, "folder"),
    "missing": (lambda image, path: path / "missing.jpg", "missing.jpg"),
}


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _cut_short(image: np.ndarray, path: Path) -> Path:
    Image.fromarray(image).save(path, quality=90)
    return _bytes(path, path.read_bytes()[: path.stat().st_size // 2])


def _bomb(path: Path) -> Path:
    """A PNG of 50 kilobytes that would unpack to 1.2 gigabytes."""
    Image.new("1", (20_000, 20_000)).save(path)
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_that_are_refused(pipe, astronaut, tmp_path, name):
    make, said = REFUSED[name]
    with pytest.raises(PortraitError, match=said) as error:
        pipe.portrait(make(astronaut, tmp_path))
    assert one_sentence(error.value)


@pytest.mark.parametrize(("yaw", "refused"), [(0.7, False), (1.3, True)])
def test_a_turned_head_is_warned_about_and_a_profile_refused(pipe, repository, monkeypatch, yaw, refused):
    """A sitter who never existed, drawn as he turns."""
    monkeypatch.syspath_prepend(str(repository / "examples"))
    from make_portraits import CAST, draw

    sitter = next(sitter for sitter in CAST if sitter.file == "man_smiling.jpg")
    picture = draw(replace(sitter, look=sitter.look._replace(yaw=yaw)), side=256, samples=1)
    if refused:
        with pytest.raises(PortraitError) as error:
            pipe.portrait(picture)
        assert one_sentence(error.value)
    else:
        assert any("turned" in warning for warning in pipe.portrait(picture).warnings)


TAKEN: dict[str, Callable[[np.ndarray, Path], object]] = {
    "grey": lambda image, path: _saved(Image.fromarray(image).convert("L"), path / "grey.png"),
    "transparent": lambda image, path: _saved(_with_alpha(image), path / "alpha.png"),
    "16 bits": lambda image, path: _sixteen(image, path / "deep.png"),
    "grey array": lambda image, path: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
    "palette": lambda image, path: _saved(Image.fromarray(image).convert("P"), path / "palette.gif"),
    "odd": lambda image, path: image[:511, :509],
}


def _saved(picture: Image.Image, path: Path) -> Path:
    picture.save(path)
    return path


def _with_alpha(image: np.ndarray) -> Image.Image:
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:, :60] = 0
    return Image.fromarray(np.dstack([image, alpha]))


def _sixteen(image: np.ndarray, path: Path) -> Path:
    cv2.imwrite(str(path), image[..., ::-1].astype(np.uint16) * 257)
    return path


@pytest.mark.parametrize("name", TAKEN)
def test_pictures_that_are_taken(pipe, astronaut, tmp_path, name):
    """They are the same woman at the same place."""
    plain = pipe.portrait(astronaut, 256)
    portrait = pipe.portrait(TAKEN[name](astronaut, tmp_path), 256)
    away = np.linalg.norm((portrait.landmarks - plain.landmarks)[:, :2], axis=1).mean() / plain.scale
    assert away < 0.03
    assert portrait.image.shape[2] == 3 and portrait.image.dtype == np.uint8


def test_a_photograph_of_twelve_megapixels_is_reduced_and_says_so(pipe, astronaut):
    large = cv2.resize(astronaut, (4000, 3000), interpolation=cv2.INTER_LINEAR)
    portrait = pipe.portrait(large)
    assert portrait.size == (1920, 1440)
    assert portrait.warnings[0] == "The picture was reduced from 4000 x 3000 to 1920 x 1440 pixels."


def test_of_several_faces_the_largest_is_used_and_a_note_says_so(pipe, astronaut):
    crowd = np.full((512, 900, 3), 90, np.uint8)
    crowd[:, :512] = astronaut
    crowd[100:458, 540:898] = cv2.resize(astronaut, (358, 358))
    portrait = pipe.portrait(crowd)
    assert "There is one other face in the picture; the largest is used." in portrait.warnings
    assert portrait.landmarks[:, 0].mean() < 512


# --- sound ----------------------------------------------------------------------------------------------------------


SOUND_REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty file": (lambda path: _bytes(path / "a.wav", b""), "empty"),
    "no samples": (lambda path: write_sound(path / "a.wav", np.zeros(0)), "no sound"),
    "text": (lambda path: _bytes(path / "a.mp3", b"la la la\n" * 99), "cannot be read as sound"),
    "a picture": (lambda path: _saved(Image.new("RGB", (64, 64)), path / "a.png"), "sound"),
    "NaN": (lambda path: write_sound(path / "a.wav", np.full(16000, np.nan), subtype="FLOAT"), "NaN"),
    "missing": (lambda path: path / "missing.wav", "missing.wav"),
    "folder": (lambda path: path, "folder"),
}


@pytest.mark.parametrize("name", SOUND_REFUSED)
def test_sound_that_is_refused(debug_pipe: ConversationalHeadPipeline, portraits, tmp_path, name):
    make, said = SOUND_REFUSED[name]
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(AudioError, match=said) as error:
        debug_pipe.talk(portraits["statue"], make(tmp_path)).save(folder / "out.mp4")
    assert one_sentence(error.value)
    assert os.listdir(folder) == []


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    tone = 0.2 * np.cos(np.arange(round(seconds * rate)) * 900 / rate)
    return np.repeat(tone[:, None], channels, 1) if channels > 1 else tone


def _with_gaps(path: Path) -> Path:
    samples = speech(0.4, 16000)
    samples[1000:2000] = np.nan
    return write_sound(path, samples, subtype="FLOAT")


SOUND_TAKEN: dict[str, tuple[Callable[[Path], Path], int]] = {
    "0.1 s": (lambda path: write_sound(path / "a.wav", speech(0.1, 16000)), 3),
    "one sample": (lambda path: write_sound(path / "a.wav", speech(1 / 16000, 16000)), 1),
    "8 kHz": (lambda path: write_sound(path / "a.wav", speech(0.4, 8000), 8000), 10),
    "5.1": (lambda path: write_sound(path / "a.wav", speech(0.4, 48000, 6), 48000), 10),
    "some NaN": (lambda path: _with_gaps(path / "a.wav"), 10),
    "silent": (lambda path: write_sound(path / "a.wav", np.zeros(6400)), 10),
}


@pytest.mark.parametrize("name", SOUND_TAKEN)
def test_sound_that_is_taken(debug_pipe, portraits, tmp_path, name):
    make, frames = SOUND_TAKEN[name]
    clip = debug_pipe.talk(portraits["statue"], make(tmp_path))
    saved = clip.save(tmp_path / "out.mp4")
    assert sum(1 for _ in VideoReader(saved)) == len(clip.coefficients) == frames
    silent = [warning for warning in clip.warnings if "silent" in warning]
    assert len(silent) == (name == "silent") and all(one_sentence(warning) for warning in silent)


def test_sound_that_ends_in_damage_keeps_what_there_is(debug_pipe, portraits, tmp_path):
    path = write_sound(tmp_path / "a.flac", 0.2 * np.random.default_rng(0).normal(size=16000).clip(-4, 4) / 4)
    _bytes(path, path.read_bytes()[: path.stat().st_size // 2])
    try:
        clip = debug_pipe.talk(portraits["statue"], path)
        assert 0 < len(clip.coefficients) < 25
    except AudioError as error:
        assert one_sentence(error)

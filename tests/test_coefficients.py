"""Coefficients: shapes that are checked at the door, and files that are whole or absent."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from heads import one_sentence
from safetensors import safe_open

from pipeline.clock import frame_count
from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, OutputError


def made(frames: int = 7, seed: int = 0, fps: float = 25) -> Coefficients:
    generator = np.random.default_rng(seed)
    return Coefficients(*(generator.normal(size=(frames, width)) for width in (64, 6, 3)), fps=fps)


def test_the_clock():
    assert [frame_count(n) for n in (0, 1, 640, 641, 16_000)] == [0, 1, 1, 2, 25]


def test_arrays_are_float32_and_keep_their_values():
    beta = np.arange(128.0).reshape(2, 64)
    clip = Coefficients(beta, np.zeros((2, 6)), np.ones((2, 3), np.int64))
    assert clip.expression.dtype == clip.pose.dtype == clip.crop.dtype == np.float32
    assert (clip.expression == beta).all() and len(clip) == 2 and clip.fps == 25


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 63), (2, 6), (2, 3)), r"expression must have shape \(T, 64\), not \(2, 63\)"),
        (((2, 64), (6,), (2, 3)), r"pose must have shape \(T, 6\), not \(6,\)"),
        (((2, 64), (2, 6), (2, 4)), "crop must have shape"),
        (((2, 64), (3, 6), (2, 3)), "pose has 3 frames but expression has 2"),
    ],
)
def test_wrong_shapes_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        Coefficients(*(np.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    pose = np.zeros((2, 6))
    pose[1, 3] = value
    with pytest.raises(ValueError, match="pose holds values that are not finite"):
        Coefficients(np.zeros((2, 64)), pose, np.zeros((2, 3)))


def test_slices_and_single_frames_are_clips():
    clip = made()
    assert len(clip[2:5]) == 3 and (clip[2:5].pose == clip.pose[2:5]).all()
    assert len(clip[3]) == 1 and (clip[-1].crop == clip.crop[-1:]).all()
    assert len(clip[7:]) == 0
    with pytest.raises(IndexError):
        clip[7]


def test_pieces_join_to_the_whole():
    clip = made()
    joined = Coefficients.concatenate([clip[:3], clip[3:3], clip[3:]])
    assert joined.expression.tobytes() == clip.expression.tobytes()
    with pytest.raises(ValueError, match="nothing"):
        Coefficients.concatenate([])
    with pytest.raises(ValueError, match="frame rates"):
        Coefficients.concatenate([clip, made(fps=30)])


def test_files_come_back_to_the_byte(tmp_path: Path):
    clip = made(fps=30)
    clip.save(tmp_path / "clip.safetensors")
    again = Coefficients.load(tmp_path / "clip.safetensors")
    for name in ("expression", "pose", "crop"):
        assert getattr(again, name).tobytes() == getattr(clip, name).tobytes()
    assert again.fps == 30 and os.listdir(tmp_path) == ["clip.safetensors"]
    with safe_open(tmp_path / "clip.safetensors", framework="numpy") as file:  # any program can read it
        assert set(file.keys()) == {"expression", "pose", "crop"} and json.loads(file.metadata()["fps"]) == 30


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_one_sentence(tmp_path: Path, content: bytes | None):
    path = tmp_path / "clip.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is not a coefficients file") as error:
        Coefficients.load(path)
    assert one_sentence(error.value)


def test_files_of_other_arrays_are_one_sentence(tmp_path: Path):
    from safetensors.numpy import save_file

    path = tmp_path / "clip.safetensors"
    for arrays in ({"weight": np.zeros(3)}, {"expression": np.zeros((2, 5)), "pose": np.zeros(2), "crop": np.zeros(1)}):
        save_file(arrays, path)
        with pytest.raises(InputError, match="is not a coefficients file"):
            Coefficients.load(path)


@pytest.mark.parametrize("place", ["missing/clip.safetensors", "folder", "/proc/clip.safetensors"])
def test_places_that_cannot_be_written(tmp_path: Path, place: str):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written") as error:
        made().save(tmp_path / place)
    assert one_sentence(error.value)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == []


# --- the mouth's inside, where it was seen ---------------------------------------------------------------------------


def seen(frames: int = 7) -> Coefficients:
    return dataclasses.replace(made(frames), inside=np.random.default_rng(1).uniform(0, 2, (frames, 27)))


def test_the_inside_is_a_part_like_the_others(tmp_path):
    clip = seen()
    assert clip.inside.dtype == np.float32 and (clip[2:5].inside == clip.inside[2:5]).all()
    joined = Coefficients.concatenate([clip[:3], clip[3:]])
    assert (joined.inside == clip.inside).all()
    clip.save(tmp_path / "clip.safetensors")
    assert (Coefficients.load(tmp_path / "clip.safetensors").inside == clip.inside).all()
    made().save(tmp_path / "heard.safetensors")
    assert Coefficients.load(tmp_path / "heard.safetensors").inside is None


def test_it_is_checked_and_not_mixed_with_clips_that_lack_it():
    with pytest.raises(ValueError, match=r"inside must have shape \(T, 27\)"):
        dataclasses.replace(made(), inside=np.zeros((7, 9)))
    with pytest.raises(ValueError, match="inside has 6 frames"):
        dataclasses.replace(made(), inside=np.zeros((6, 27)))
    with pytest.raises(ValueError, match="with and without"):
        Coefficients.concatenate([seen(), made()])

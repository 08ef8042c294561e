"""Prepared shards: what was written comes back, by any frame, and writing goes on where it stopped."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, OutputError
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.shards import INDEX, ShardedLessons, prepare_shards, shard_names, write_shards


def made_lesson(name: str, frames: int = 5, size: int = 32, seed: int = 0) -> RendererLesson:
    """Smooth pictures, so that JPEG keeps them; faces of any bytes."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, size)
    pictures = np.stack([ramp[:, None] * [[0.2, 0.6, 1.0]] + np.zeros((size, 1, 3)) + 8 * i for i in range(frames)])
    faces = random.integers(0, 256, (frames, 3, size, size), np.uint8)
    rows = [random.normal(size=(frames, width)).astype(np.float32) for width in (64, 6, 3)]
    rows[2] = np.abs(rows[2]) + 0.1
    mouth, sound = (random.normal(size=(frames, n)).astype(np.float32) for n in (2, 7))
    place = np.array([3.5, 2.0, 80.0, 100.0, 90.0], np.float32)
    return RendererLesson(name, pictures.astype(np.uint8), faces, mouth, Coefficients(*rows), sound, place)


def test_what_is_written_comes_back_by_any_frame(tmp_path):
    lessons = [made_lesson("talk__a", 5, seed=1), made_lesson("talk__ä b", 3, seed=2)]
    assert write_shards(lessons, tmp_path, 32) == tmp_path / INDEX
    clips = ShardedLessons(tmp_path)
    assert clips.size == 32 and [clip.name for clip in clips] == ["talk__a", "talk__ä b"]
    for clip, lesson in zip(clips, lessons, strict=True):
        assert len(clip) == len(lesson) and clip.frames.shape == lesson.frames.shape
        assert clip.faces.shape == lesson.faces.shape and clip.window == lesson.window
        for name, value in lesson.rows().items():
            assert np.array_equal(clip.rows()[name], value), name
        order = np.array([2, 0, 0])
        assert np.array_equal(clip.faces[order], lesson.faces[order]), "drawn faces are kept to the bit"
        assert np.abs(clip.frames[order].astype(int) - lesson.frames[order]).max() <= 3
        assert np.array_equal(clip.frames[1], clip.frames[np.array([1])][0])
    again = sent(clips)
    assert np.array_equal(again[0].faces[1], lessons[0].faces[1])


def sent(clips: ShardedLessons) -> ShardedLessons:
    """As processes that are started anew get it."""
    from multiprocessing.reduction import ForkingPickler

    return ForkingPickler.loads(ForkingPickler.dumps(clips))


def test_a_shard_is_a_plain_tar_file(tmp_path):
    write_shards([made_lesson("talk__a")], tmp_path, 32)
    with tarfile.open(tmp_path / "00000.tar") as tar:
        names = tar.getnames()
        told = json.load(tar.extractfile("00000/clip.json"))
    assert names[:2] == ["00000/00000.jpg", "00000/00000.png"] and names[-1] == "00000/rows.safetensors"
    assert told == {"name": "talk__a", "frames": 5}


def test_writing_goes_on_where_it_stopped(tmp_path):
    def broken():
        yield made_lesson("talk__a", seed=1)
        yield made_lesson("talk__b", seed=2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(broken(), tmp_path, 32, shard_bytes=1)
    assert shard_names(tmp_path) == {"talk__a", "talk__b"} and not list(tmp_path.glob("*.part"))
    write_shards([made_lesson("talk__c", seed=3)], tmp_path, 32)
    clips = ShardedLessons(tmp_path)
    assert [clip.name for clip in clips] == ["talk__a", "talk__b", "talk__c"]
    assert np.array_equal(clips[1].faces[0], made_lesson("talk__b", seed=2).faces[0])
    assert len(ShardedLessons(tmp_path, most=2)) == 2
    with pytest.raises(InputError, match="32 pixels") as error:
        write_shards([], tmp_path, 64)
    assert one_sentence(error.value)


def test_what_is_wrong_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds no shards") as error:
        ShardedLessons(tmp_path)
    assert one_sentence(error.value)
    write_shards([made_lesson("talk__a")], tmp_path / "shards", 32)
    shard = tmp_path / "shards" / "00000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged") as error:
        ShardedLessons(tmp_path / "shards")[0]
    assert one_sentence(error.value)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written") as error:
        write_shards([made_lesson("talk__a")], tmp_path / "file" / "folder", 32)
    assert one_sentence(error.value)
    with pytest.raises(InputError, match=r"MANIFEST\.csv") as error:
        prepare_shards(tmp_path, tmp_path / "new")
    assert one_sentence(error.value)

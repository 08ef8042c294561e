"""Writing: a whole file or none, and one sentence for what went wrong."""

from __future__ import annotations

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
from videos import grey

from pipeline.errors import AudioError, Cancelled, OutputError
from pipeline.video import VideoReader, VideoWriter, writer


def open_files() -> int:
    gc.collect()  # what an exception's traceback held
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt(), RuntimeError("renderer")])
def test_nothing_is_left_when_the_caller_fails(tmp_path: Path, repository: Path, error: BaseException) -> None:
    before, threads = open_files(), threading.active_count()
    with (
        pytest.raises(type(error)),
        VideoWriter(tmp_path / "clip.mp4", (64, 48), audio=repository / "examples/speech/hello_slt.wav") as video,
    ):
        for _ in range(40):
            video.write(grey(7))
        raise error
    assert os.listdir(tmp_path) == []
    assert open_files() <= before and threading.active_count() <= threads


def test_file_appears_only_when_whole_and_an_older_one_survives_failure(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    target.write_text("older")
    with pytest.raises(Cancelled), VideoWriter(target, (64, 48)) as video:
        video.write(grey(7))
        raise Cancelled
    assert target.read_text() == "older" and os.listdir(tmp_path) == ["clip.mp4"]
    with VideoWriter(target, (64, 48)) as video:
        video.write(grey(7))
        assert target.read_text() == "older"
    assert VideoReader(target).size == (64, 48) and os.listdir(tmp_path) == ["clip.mp4"]


def test_failure_of_the_encoder_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(writer, "_yuv_frame", fail)
    with pytest.raises(MemoryError, match="no room"), VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video:
        for _ in range(100):
            video.write(grey(7))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("room", [0, 30_000, 200_000])
def test_full_disk_is_one_sentence(tmp_path: Path, room: int) -> None:
    """A limit on the size of files stands for the disk's: the system refuses to write on in the same way."""
    generator = np.random.default_rng(0)
    before = open_files()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=r"full; free some space .*\.$"),
            VideoWriter(tmp_path / "clip.mp4", (128, 128), crf=1) as video,
        ):
            for _ in range(12):
                video.write(generator.integers(0, 255, (128, 128, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [] and open_files() <= before


def test_places_that_cannot_be_written_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "locked").mkdir(mode=0o555)
    cases = {
        tmp_path / "folder.mp4": "is a folder",
        tmp_path / "no" / "such" / "clip.mp4": "no folder",
        tmp_path / "clip.avi": "must end in .mp4",
        tmp_path / "clip": "must end in .mp4",
        Path("/proc/clip.mp4"): "cannot be written",
    }
    if os.geteuid():  # root may write anywhere
        cases[tmp_path / "locked" / "clip.mp4"] = "cannot be written"
    for path, says in cases.items():
        with pytest.raises(OutputError, match=says) as caught:
            VideoWriter(path, (64, 48))
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["folder.mp4", "locked"]


def test_no_frame_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame"), VideoWriter(tmp_path / "clip.mp4", (64, 48)):
        pass
    assert os.listdir(tmp_path) == []


def test_bad_sound_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.wav"):
        VideoWriter(tmp_path / "clip.mp4", (64, 48), audio=tmp_path / "text.wav")
    assert os.listdir(tmp_path) == ["text.wav"]


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    for frame in (grey(1, (48, 64)), grey(1)[..., 0], grey(1).astype(np.float32)):
        with pytest.raises(ValueError, match=r"\(48, 64, 3\)"), VideoWriter(tmp_path / "c.mp4", (64, 48)) as video:
            video.write(frame)
    with pytest.raises(ValueError, match="16"):
        VideoWriter(tmp_path / "c.mp4", (8, 8))
    assert os.listdir(tmp_path) == []


def test_encoding_goes_on_beside_rendering_but_not_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the encoder stands still a few frames are taken and then no more, until it goes on."""
    real, gate = writer._yuv_frame, threading.Event()
    taken: list[int] = []

    def gated(*arguments: object) -> object:
        gate.wait()
        return real(*arguments)

    def render() -> None:
        for index in range(100):
            video.write(grey(index))
            taken.append(index)

    monkeypatch.setattr(writer, "_yuv_frame", gated)
    with VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video:
        renderer = threading.Thread(target=render)
        renderer.start()
        renderer.join(0.5)
        held = len(taken)
        gate.set()
        renderer.join()
    assert 2 <= held <= 20 and len(taken) == 100
    assert VideoReader(tmp_path / "clip.mp4").frames == 100

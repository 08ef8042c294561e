"""The pieces of a clip that can be played while it grows: whole, in step with the file, and no danger to it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from videos import grey

from pipeline.errors import Cancelled
from pipeline.video import VideoWriter
from pipeline.video.live import HEADER, PLAYLIST, LiveCopy, pieces


def written(folder: Path, repository: Path, frames: int = 60) -> tuple[Path, Path]:
    live = folder / "live"
    live.mkdir()
    sound = repository / "examples/speech/hello_slt.wav"
    with VideoWriter(folder / "clip.mp4", (64, 48), audio=sound, live=live) as video:
        for index in range(frames):
            video.write(grey(4 * index))
    return folder / "clip.mp4", live


def shown(path: Path) -> tuple[list[int], list[float], int]:
    """Brightness and time of each frame, times from the first, and samples of sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    levels = [round(float(frame.to_ndarray(format="rgb24").mean())) for frame in frames]
    return levels, [round(float(frame.time - frames[0].time), 3) for frame in frames], samples


def test_pieces_laid_end_to_end_and_the_playlist_show_what_the_file_shows(tmp_path: Path, repository: Path) -> None:
    clip, live = written(tmp_path, repository)
    found, ended = pieces(live, 0)
    assert ended and [path.name for path in found] == [HEADER, *(f"{k:06d}.m4s" for k in range(4))]
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(b"".join(path.read_bytes() for path in found))
    levels, times, samples = shown(clip)
    assert len(levels) == 60
    for other in (joined, live / PLAYLIST):
        seen, when, heard = shown(other)
        assert np.abs(np.subtract(seen, levels)).max() <= 1 and when == times
        assert abs(heard - samples) <= 2 * 1024


def test_each_piece_begins_with_a_whole_picture_and_the_first_is_short(tmp_path: Path, repository: Path) -> None:
    _, live = written(tmp_path, repository)
    found, _ = pieces(live, 0)
    counts = []
    for path in found[1:]:
        (tmp_path / "piece.mp4").write_bytes(found[0].read_bytes() + path.read_bytes())
        with av.open(str(tmp_path / "piece.mp4")) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert packets[0].is_keyframe
        counts.append(len(packets))
    assert counts == [6, 25, 25, 4]


def test_pieces_are_there_while_the_clip_is_not(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    with pytest.raises(Cancelled), VideoWriter(tmp_path / "clip.mp4", (64, 48), live=live) as video:
        for index in range(200):
            video.write(grey(index))
        found, ended = pieces(live, 0)
        assert len(found) > 3 and not ended and not (tmp_path / "clip.mp4").exists()
        assert pieces(live, 2)[0][0] == found[2]
        raise Cancelled
    assert {path.name for path in tmp_path.iterdir()} == {"live"}


def test_a_live_copy_that_fails_leaves_the_clip_alone(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    muxed: list[int] = []

    def full(self: object, packet: object) -> None:
        muxed.append(1)
        if len(muxed) > 20:
            raise OSError(28, "No space left on device")

    real = LiveCopy.__init__

    class Full:
        def __init__(self, container: object) -> None:
            self.container = container

        mux = full

        def close(self) -> None:
            self.container.close()

    def broken(self: LiveCopy, *arguments: object) -> None:
        real(self, *arguments)
        self._container = Full(self._container)

    monkeypatch.setattr(LiveCopy, "__init__", broken)
    clip, _ = written(tmp_path, repository)
    assert len(shown(clip)[0]) == 60 and len(muxed) == 21

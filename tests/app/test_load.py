"""The load script tells a client's own clip from another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app_load
from pipeline.audio.reading import read_audio
from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.video import VideoWriter


@pytest.mark.parametrize(("shown", "frames", "wrong"), [(1, 12, ""), (2, 12, "the portrait"), (1, 11, "11 frames")])
def test_a_clip_that_is_another_is_noticed(tmp_path: Path, shown: int, frames: int, wrong: str) -> None:
    app_load.write_sound(tmp_path / "sound.wav", frames)
    picture = np.asarray(Image.open(app_load.PORTRAITS[shown]).convert("RGB").resize((128, 128)))
    with VideoWriter(tmp_path / "clip.mp4", (128, 128), tmp_path / "sound.wav") as writer:
        for _ in range(frames):
            writer.write(picture)
    found = app_load.what_is_wrong(tmp_path / "clip.mp4", app_load.PORTRAITS[1], 12)
    assert found.startswith(wrong) and bool(found) == bool(wrong)


def test_requests_that_run_at_once_differ_and_sounds_are_as_long_as_asked(tmp_path: Path) -> None:
    lengths = [app_load.frames_of(request, 50) for request in range(300, 400)]
    assert len(set(lengths)) == 100
    app_load.write_sound(tmp_path / "sound.wav", 33)
    assert -(-len(read_audio(tmp_path / "sound.wav")) * FPS // SAMPLE_RATE) == 33

"""The speaker's video: followed as the renderer moved it, and what is odd about it is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from heads import one_sentence, write_sound

import pipeline.speaker as speaker_module
from pipeline.coefficients import Coefficients
from pipeline.errors import Cancelled, InputError, VideoError
from pipeline.renderers.mesh import MeshRenderer
from pipeline.speaker import Speaker, sound_of
from pipeline.video import VideoReader, VideoWriter

FRAMES = 20


def write(path: Path, frames: list[np.ndarray], audio: Path | None = None) -> VideoReader:
    with VideoWriter(path, frames[0].shape[1::-1], audio, crf=8) as video:
        for frame in frames:
            video.write(frame)
    return VideoReader(path)


@pytest.fixture(scope="module")
def frames(pipe, portraits) -> list[np.ndarray]:
    """A head that turns to one side and back, drawn by the renderer."""
    portrait = portraits["woman_spectacles"]
    own, yaw = portrait.coefficients, 0.2 * np.sin(np.pi * np.arange(FRAMES) / FRAMES)
    pose = own.pose + yaw[:, None] * np.eye(6)[1]
    made = Coefficients(np.repeat(own.expression, FRAMES, 0), pose, np.repeat(own.crop, FRAMES, 0))
    return list(MeshRenderer.load(pipe.weights, portrait).render(made))


def test_the_face_is_followed(frames, pipe, portraits, tmp_path):
    told, warnings = [], []
    video = write(tmp_path / "a.mp4", frames)
    speaker = Speaker(video, FRAMES, pipe.model, warnings, lambda *row: told.append(row))
    seen = Coefficients.concatenate(list(speaker.faces()))
    turn = seen.pose[:, 1]
    assert len(turn) == FRAMES and warnings == []
    assert np.corrcoef(turn, np.sin(np.pi * np.arange(FRAMES) / FRAMES))[0, 1] > 0.95 and np.ptp(turn) > 0.1
    left, top, right, bottom = speaker.box
    landmarks = portraits["woman_spectacles"].landmarks
    assert left < landmarks[1, 0] < right and top < landmarks[1, 1] < bottom
    assert told == [("speaker", done, FRAMES) for done in range(FRAMES)]
    again = Coefficients.concatenate(list(speaker.faces()))
    np.testing.assert_array_equal(again.pose, seen.pose)


def test_what_comes_later_is_followed_when_it_is_asked_for(frames, pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(speaker_module, "LOOK", 6)
    monkeypatch.setattr(speaker_module, "_CHUNK", 4)
    told, warnings = [], []
    wall = np.full_like(frames[0], 90)
    video = write(tmp_path / "a.mp4", [*frames[:12], wall, wall])
    speaker = Speaker(video, 30, pipe.model, warnings, lambda *row: told.append(row))
    assert [row[1:] for row in told] == [(done, 6) for done in range(6)] and speaker.box[2] > speaker.box[0] > 0
    faces = speaker.faces()
    assert [len(next(faces)) for _ in range(2)] == [6, 4] and warnings == []  # the end is not known yet
    assert sum(map(len, faces)) == 4 and len(told) == 6
    assert len(warnings) == 2 and "not found in 2 of 14 frames" in warnings[0] and "ends 0.6 s before" in warnings[1]
    assert sum(map(len, speaker.faces())) == 14 and len(warnings) == 2


def test_a_face_that_is_gone_for_a_while_keeps_its_place(frames, pipe, tmp_path):
    wall = np.full_like(frames[0], 90)
    video = write(tmp_path / "a.mp4", [wall] * 2 + frames[:6] + [wall] * 4 + frames[6:10])
    warnings: list[str] = []
    pose = Coefficients.concatenate(list(Speaker(video, 16, pipe.model, warnings).faces())).pose
    assert (pose[:2] == pose[2]).all() and (pose[8:12] == pose[7]).all() and (pose[12] != pose[7]).any()
    assert warnings == ["The speaker's face was not found in 6 of 16 frames; there it is taken to stay still."]


@pytest.mark.parametrize(
    ("heard", "seen", "said"),
    [
        (FRAMES, FRAMES, None),
        (FRAMES + 4, FRAMES, None),
        (FRAMES + 25, FRAMES, "picture ends 1.0 s before the sound"),
        (10, 10, "picture lasts 0.4 s longer than the sound"),
    ],
)
def test_picture_and_sound_may_differ_in_length(frames, pipe, tmp_path, heard, seen, said):
    warnings: list[str] = []
    speaker = Speaker(write(tmp_path / "a.mp4", frames), heard, pipe.model, warnings)
    assert sum(map(len, speaker.faces())) == seen
    assert len(warnings) == (said is not None)
    assert all(said in warning and one_sentence(warning) for warning in warnings)


def test_of_two_faces_the_largest_is_followed_and_that_is_said(frames, pipe, tmp_path):
    pair = []
    for frame in frames[:5]:
        both = np.full((256, 512, 3), 120, np.uint8)
        both[64:192, 20:148] = cv2.resize(frames[0], (128, 128), interpolation=cv2.INTER_AREA)
        both[:, 256:] = frame
        pair.append(both)
    warnings: list[str] = []
    speaker = Speaker(write(tmp_path / "a.mp4", pair), 5, pipe.model, warnings)
    assert speaker.box[0] > 256 and sum(map(len, speaker.faces())) == 5
    assert warnings == ["There is one other face in the speaker's video; the largest is followed."]


def test_no_face_is_one_sentence(pipe, tmp_path):
    video = write(tmp_path / "wall.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 4)
    with pytest.raises(VideoError, match=r"No face was found in wall\.mp4") as error:
        Speaker(video, 4, pipe.model, [])
    assert one_sentence(error.value)


def test_it_can_be_cancelled(frames, pipe, tmp_path):
    def progress(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        Speaker(write(tmp_path / "a.mp4", frames), FRAMES, pipe.model, [], progress)


def test_where_the_sound_comes_from(frames, tmp_path):
    tone = write_sound(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(3200) / 5))
    assert sound_of(write(tmp_path / "heard.mp4", frames[:5], tone)) == tmp_path / "heard.mp4"
    silent = write(tmp_path / "silent.mp4", frames[:5])
    for video, said in ((silent, r"silent\.mp4 has no sound"), (None, "nothing to listen to")):
        with pytest.raises(InputError, match=said) as error:
            sound_of(video)
        assert one_sentence(error.value)

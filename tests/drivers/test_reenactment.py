"""Reenactment: a video of a known face moves the portrait as it moved, and videos without one are told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, VideoError
from pipeline.evaluation.tracks import track_frames
from pipeline.face.measures import lip_opening
from pipeline.face.morphable import placement
from pipeline.face.mouth_inside import mouth_inside
from pipeline.face.portrait import Portrait
from pipeline.renderers.mesh import MeshRenderer
from pipeline.video import VideoReader, VideoWriter

FRAMES = 24


def write(path: Path, frames: list[np.ndarray]) -> Path:
    with VideoWriter(path, frames[0].shape[1::-1], crf=8) as video:
        for frame in frames:
            video.write(frame)
    return path


@pytest.fixture(scope="module")
def motion() -> tuple[np.ndarray, np.ndarray]:
    """What the driving head does: lips' opening (T,) and yaw (T,), from the portrait's own on."""
    time = np.arange(FRAMES) / FRAMES
    return 0.06 * np.sin(np.pi * 3 * time) ** 2, 0.2 * np.sin(np.pi * time)


@pytest.fixture(scope="module")
def driving(pipe, portraits: dict[str, Portrait], motion, tmp_path_factory) -> Path:
    """A video of one portrait, made by the renderer, whose motion is known."""
    portrait = portraits["woman_spectacles"]
    own, (lips, yaw) = portrait.coefficients, motion
    expression = own.expression + lips[:, None] * portrait.model.direction("lip_opening")
    pose = own.pose + yaw[:, None] * np.eye(6)[1]
    made = Coefficients(expression, pose, np.repeat(own.crop, FRAMES, 0))
    frames = list(MeshRenderer.load(pipe.weights, portrait).render(made))
    return write(tmp_path_factory.mktemp("driving") / "driving.mp4", frames)


def openings(portrait: Portrait, made: Coefficients) -> np.ndarray:
    return lip_opening(portrait.model.shape(portrait.identity, made.expression))


def centres(made: Coefficients, portrait: Portrait) -> np.ndarray:
    return placement(made.pose, made.crop, portrait.size)[2][:, :2]


def test_another_person_moves_as_the_driving_one_and_stays_in_place(pipe, portraits, driving, motion):
    portrait, (lips, yaw) = portraits["man_beard"], motion
    clip = pipe.reenact(portrait, driving)
    made = clip.coefficients
    assert len(made) == FRAMES == clip.frame_count and clip.warnings == list(portrait.warnings)
    assert np.corrcoef(openings(portrait, made), lips)[0, 1] > 0.9
    turn = made.pose[:, 1] - portrait.coefficients.pose[0, 1]
    assert np.corrcoef(turn, yaw)[0, 1] > 0.95 and 0.5 < np.ptp(turn) / 0.2 < 1.3
    assert (made.crop == portrait.coefficients.crop).all()
    away = np.linalg.norm(centres(made, portrait) - centres(portrait.coefficients, portrait), axis=1)
    assert away.max() < 0.15 * portrait.scale


def test_what_shows_inside_the_driving_mouth_is_carried_along(pipe, portraits, driving):
    """As it is for the same person, by how it changes for another, and not at all where expressions are not."""
    frames = list(VideoReader(driving))
    seen = np.stack([mouth_inside(*pair) for pair in zip(frames, track_frames(frames).landmarks, strict=True)])
    same = pipe.reenact(pipe.portrait(frames[0]), driving, relative=False).coefficients.inside
    assert np.abs(same - seen)[2:-2].mean() < 0.5 * seen.std(0).mean()
    portrait = portraits["man_beard"]
    other = pipe.reenact(portrait, driving).coefficients.inside
    assert np.corrcoef(other[:, 12:15].mean(1), seen[:, 12:15].mean(1))[0, 1] > 0.9
    still = pipe.reenact(portrait, driving, expression_scale=0.0).coefficients
    assert np.abs(still.inside - mouth_inside(portrait.image, portrait.landmarks)).max() < 1e-5


def test_the_same_person_is_taken_over_as_is(pipe, portraits, driving, motion):
    """From its own first frame the video is made again."""
    frames = list(VideoReader(driving))
    portrait = pipe.portrait(frames[0])
    clip = pipe.reenact(portrait, driving, relative=False)
    made = np.stack(list(clip.frames)).astype(float)
    real = np.stack(frames)[:, : made.shape[1], : made.shape[2]]
    held = np.broadcast_to(real[0], real.shape)

    def psnr(a: np.ndarray, b: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.mean((a[4:-4] - b[4:-4]) ** 2)))

    assert psnr(made, real) > psnr(held.astype(float), real) + 3
    assert np.corrcoef(openings(portrait, clip.coefficients), motion[0])[0, 1] > 0.9


def test_absolute_places_the_head_where_the_videos_is(pipe, portraits, tmp_path):
    """The driving head sits aside and is smaller: absolute takes that over, relative does not."""
    portrait = portraits["man_beard"]
    small = np.full((256, 256, 3), portrait.image[5, 5], np.uint8)
    small[56:248, 60:252] = np.asarray(portrait.image)[::4, ::4].repeat(3, 0).repeat(3, 1)[:192, :192]
    path = write(tmp_path / "aside.mp4", [small] * 4)
    absolute = pipe.reenact(portrait, path, relative=False).coefficients
    relative = pipe.reenact(portrait, path).coefficients
    scale = placement(absolute.pose, absolute.crop, portrait.size)[1]
    assert scale / portrait.scale == pytest.approx(np.full(4, 0.75), abs=0.05)
    wanted = centres(portrait.coefficients, portrait)[0] * 0.75 + (60, 56)
    assert np.abs(centres(absolute, portrait) - wanted).max() < 5
    assert np.abs(centres(relative, portrait) - centres(portrait.coefficients, portrait)).max() < 3


@pytest.mark.parametrize("relative", [True, False])
def test_scales_act_apart(pipe, portraits, driving, relative):
    portrait = pipe.portrait(next(iter(VideoReader(driving)))) if not relative else portraits["man_beard"]

    def spread(**options: float) -> tuple[float, float]:
        made = pipe.reenact(portrait, driving, relative, **options).coefficients
        return float(openings(portrait, made).std()), float(np.ptp(made.pose[:, 1]))

    lips, yaw = spread()
    assert spread(motion_scale=0.0) == pytest.approx((lips, 0.0), abs=1e-4)
    half_lips, same_yaw = spread(expression_scale=0.5)
    assert half_lips == pytest.approx(0.5 * lips, rel=0.25) and same_yaw == pytest.approx(yaw)
    still_lips, _ = spread(expression_scale=0.0)
    assert still_lips < 1e-3


def test_a_video_without_a_face_is_told_before_anything_is_drawn(debug_pipe, portraits, tmp_path):
    path = write(tmp_path / "wall.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 8)
    with pytest.raises(VideoError, match=r"No face was found in wall\.mp4") as error:
        debug_pipe.reenact(portraits["statue"], path)
    assert one_sentence(error.value)
    assert os.listdir(tmp_path) == ["wall.mp4"]


def test_a_face_that_leaves_lets_the_head_rest_and_comes_back_smoothly(debug_pipe, portraits, tmp_path, driving):
    seen = list(VideoReader(driving))
    wall = np.full_like(seen[0], 90)
    path = write(tmp_path / "leaves.mp4", [*seen[6:18], *[wall] * 20, *seen[6:18]])
    portrait = portraits["man_beard"]
    clip = debug_pipe.reenact(portrait, path)
    made = clip.coefficients
    assert len(made) == 44
    assert "No face was found in 20 of 44 frames; the head rests there." in clip.warnings
    own = portrait.coefficients
    assert np.abs(made.pose[29] - own.pose[0]).max() < 1e-3
    assert np.abs(made.expression[29] - own.expression[0]).max() < 1e-2
    assert np.abs(np.diff(made.pose[:, 1])).max() < 0.06, "the head jumps"
    assert np.isfinite(made.expression).all()


def test_one_frame_is_enough(debug_pipe, portraits, tmp_path, driving):
    path = write(tmp_path / "one.mp4", [next(iter(VideoReader(driving)))])
    clip = debug_pipe.reenact(portraits["man_beard"], path)
    saved = clip.save(tmp_path / "out.mp4")
    assert len(clip.coefficients) == 1 and sum(1 for _ in VideoReader(saved)) == 1


def test_no_sound_no_sound(debug_pipe, portraits, driving, tmp_path):
    clip = debug_pipe.reenact(portraits["man_beard"], driving)
    assert clip.audio is None
    assert not VideoReader(clip.save(tmp_path / "out.mp4")).has_sound


@pytest.mark.parametrize("options", [{"smoothing": 6}, {"smoothing": -1}, {"expression_scale": 5}, {"size": 1}])
def test_options_out_of_range(debug_pipe, portraits, driving, options):
    with pytest.raises(InputError, match=r"must be between .*\.$"):
        debug_pipe.reenact(portraits["statue"].image, driving, **options)

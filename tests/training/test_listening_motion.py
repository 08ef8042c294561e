"""What is measured on people: gestures are found where they were put, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from made_clips import QUIET, made_clip

from pipeline.attitudes import ATTITUDES
from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.turns import Backchannel
from pipeline.errors import WeightsError
from pipeline.face import measures
from pipeline.training.listening_motion import SMILE, fit_listener_motion, groups, nods, shakes, symmetric
from pipeline.training.quiet_faces import face_measures, quiet_face, runs


def test_nods_are_found_where_they_are(model):
    clip = made_clip("listen__x", model, nods=(60, 150, 164, 240))
    found = nods(clip.coefficients.pose)
    assert len(found) == 4
    np.testing.assert_allclose([one.peak for one in found], [67, 157, 171, 247], atol=1)
    np.testing.assert_allclose(np.degrees([one.size for one in found]), 4, atol=1.2)
    assert [len(group) for group in groups(found)] == [1, 2, 1]


def test_shakes_and_turns_are_no_nods():
    pose = np.zeros((200, 6))
    pose[50:80, 1] = np.radians(5) * np.sin(2 * np.pi * np.arange(30) / 15)
    assert not nods(pose) and len(shakes(pose)) >= 2
    pose[:, 1] = np.radians(10) * np.sin(2 * np.pi * np.arange(200) / 150)
    assert not nods(pose) and not shakes(pose)


def test_quiet_face_has_neither_blinks_nor_gaze_nor_speech(model):
    clip = made_clip("silent__x", model)
    face = quiet_face(clip, model, Mouth.of(model))
    assert face is not None
    assert face.quiet[:QUIET].mean() > 0.95 and face.quiet[QUIET + 5 :].mean() < 0.1
    before = model.shape(clip.identity, clip.coefficients.expression)
    after = model.shape(clip.identity, face.expression)
    lids = [measures.lid_opening(shape).mean(-1)[:QUIET] for shape in (before, after)]
    assert lids[1].min() > 0.8 * np.median(lids[1]) and lids[0].min() < 0.5 * np.median(lids[0])
    gaze = [measures.gaze(shape)[:QUIET, 0].std() for shape in (before, after)]
    assert gaze[1] < 0.3 * gaze[0]
    smile = [
        face_measures(model, Mouth.of(model), clip.identity, e)[20:280, SMILE]
        for e in (clip.coefficients.expression, face.expression)
    ]
    assert np.corrcoef(*smile)[0, 1] > 0.98


def test_fit_finds_what_the_made_people_do(model, clips):
    told: list[str] = []
    motion = fit_listener_motion(clips, model, told.append)
    assert motion.config["nod_degrees"] == pytest.approx(4, abs=1)
    assert motion.config["measured"]["nods_a_minute"] == pytest.approx(8 / (3 * 450 / 25 / 60), rel=0.3)
    assert motion.nod.max() == 1 and abs(motion.nod.argmax() - 16) <= 3 and motion.nod[0] == motion.nod[-1] == 0
    assert any("nods a minute" in line for line in told)
    mouth, nobody = Mouth.of(model), np.zeros(model.identity_basis.shape[-1])

    def corners(offset: np.ndarray) -> float:
        both = face_measures(model, mouth, nobody, np.stack([0 * offset, offset]))
        return float(both[1, SMILE] - both[0, SMILE])

    assert corners(motion.positive) > 0.005 > -0.002 > corners(motion.negative)


def test_faces_of_the_shipped_weights_keep_lips_shut_and_are_symmetric(model, motion):
    mouth = Mouth.of(model)
    for name in ("smile", "brow_raise", "frown", "positive", "negative"):
        shape = getattr(motion, name).astype(np.float64)
        opening = mouth.geometry(None, np.stack([0 * shape, shape]))[:, 0]
        assert abs(opening[1] - opening[0]) < 1e-3, name
        np.testing.assert_allclose(model.offsets(symmetric(shape, model)), model.offsets(shape), atol=2e-3)


def test_gestures_are_the_same_in_pieces_and_end_where_they_began(motion):
    plan = [
        Backchannel(10, "nods", 1.2, 3, 1.3),
        Backchannel(15, "smile", 1.0, 1, 2.5),
        Backchannel(90, "shake", 0.8, 2, 1.2, -1),
        Backchannel(130, "tilt", 1.0, 1, 2.0),
        Backchannel(140, "brow", 1.0, 1, 1.0),
    ]
    for attitude in ATTITUDES:
        whole = motion.gestures(plan, attitude, 0, 220)
        parts = [motion.gestures(plan, attitude, start, 11) for start in range(0, 220, 11)]
        for rows, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(rows, np.concatenate(pieces))
        assert not whole[1][:10].any() and not whole[1][185:].any() and not whole[0][185:].any()
        assert np.abs(np.diff(whole[1][:, :3], axis=0)).max() < np.radians(2), "no jerk"
    pitch = motion.gestures(plan[:1], "positive", 0, 60)[1][:, 0]
    assert len(nods(np.pad(pitch[:, None], ((20, 20), (0, 5))), least=np.radians(1))) == 3
    assert pitch.max() == pytest.approx(1.2 * np.radians(motion.config["nod_degrees"]), rel=0.1)


def test_brows_go_up_or_down_with_the_attitude(model, motion):
    brow = [Backchannel(0, "brow", 1.0, 1, 2.0)]
    nobody, mouth = np.zeros(model.identity_basis.shape[-1]), Mouth.of(model)
    height = {a: face_measures(model, mouth, nobody, motion.gestures(brow, a, 0, 30)[0])[[0, 25], 2] for a in ATTITUDES}
    assert np.ptp(height["positive"]) > 0.004 and height["positive"][1] > height["positive"][0]
    assert height["negative"][1] < height["negative"][0] - 0.004


def test_motion_is_saved_and_read(motion, tmp_path):
    motion.save(tmp_path / "motion")
    again = ListenerMotion.load(tmp_path / "motion")
    np.testing.assert_array_equal(again.smile, motion.smile)
    assert again.config == motion.config
    (tmp_path / "motion" / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(WeightsError, match="install the weights"):
        ListenerMotion.load(tmp_path / "motion")


def test_runs():
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [slice(0, 2), slice(3, 4), slice(6, 7)]

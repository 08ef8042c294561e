"""The attitude classifier: what it learned, that it works against a portrait's own rest, and its training by held-out
people."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipeline.attitudes import ATTITUDES
from pipeline.coefficients import Coefficients
from pipeline.errors import WeightsError
from pipeline.evaluation.attitude import GROUPS, AttitudeClassifier, Softmax, bones, clip_figures, means, measures
from pipeline.evaluation.pairs import FACE_MODEL
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.training import attitude_labels
from pipeline.training.attitude import Example, Faces, cross_validate, fit_attitude, report

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def model():
    return MorphableModel.load(FACE_MODEL)


@pytest.fixture(scope="module")
def classifier():
    return AttitudeClassifier.load(EMBEDDED / "attitude")


def clip(expression, frames=50):
    """A clip that holds an expression (64,) nearly still."""
    wobble = 0.05 * np.random.default_rng(0).normal(size=(frames, 64))
    return Coefficients(expression + wobble, np.zeros((frames, 6)), np.zeros((frames, 3)))


def faces(model):
    """Portraits of five sorts of people, none of them at rest: α (K,) and the portrait's coefficients."""
    rng = np.random.default_rng(7)
    for _ in range(5):
        yield rng.normal(size=model.identity_basis.shape[-1]), clip(0.5 * rng.normal(size=64), 1)


def test_a_portraits_own_face_is_neutral_whoever_it_is(model, classifier):
    for identity, portrait in faces(model):
        seen = classifier(clip(portrait.expression[0]), model, identity, portrait)
        assert seen.argmax() == ATTITUDES.index("neutral") and seen.sum() == pytest.approx(1)


def test_raised_corners_are_positive_and_lowered_brows_and_corners_are_not(model, classifier):
    smile = 0.5 * model.direction("smile") + model.direction("lip_width")  # as in the labelled clips
    for identity, portrait in faces(model):
        rest = portrait.expression[0]
        seen = [classifier(clip(rest + size * smile), model, identity, portrait) for size in (0, 0.02, 0.04, 0.06)]
        chances = [one[ATTITUDES.index("positive")] for one in seen]
        assert chances == sorted(chances) and chances[-1] > 0.7
        frown = clip(rest - 0.04 * smile - 0.02 * (model.direction("brow_right") + model.direction("brow_left")))
        seen = classifier(frown, model, identity, portrait)
        assert seen[ATTITUDES.index("negative")] > 10 * seen[ATTITUDES.index("positive")]


def test_an_open_mouth_is_no_attitude(model, classifier):
    identity, portrait = next(faces(model))
    rest = portrait.expression[0]
    opened = classifier(clip(rest + 0.05 * model.direction("lip_opening")), model, identity, portrait)
    assert opened.argmax() == ATTITUDES.index("neutral")


def test_pose_does_not_count(model, classifier):
    identity, portrait = next(faces(model))
    still = clip(portrait.expression[0])
    turned = Coefficients(still.expression, still.pose + 0.3, still.crop + 0.2)
    np.testing.assert_array_equal(classifier(still, model, identity), classifier(turned, model, identity))


def test_nothing_cannot_be_judged(model, classifier):
    identity, portrait = next(faces(model))
    with pytest.raises(ValueError, match="at least one frame"):
        classifier(portrait[:0], model, identity)
    with pytest.raises(ValueError, match="at least one frame"):
        classifier(portrait, model, identity, portrait[:0])


def test_bones_belong_to_the_person(model):
    identity, portrait = next(faces(model))
    other = RNG.normal(size=len(identity))
    still, smiling = (
        bones(model.shape(identity, portrait.expression + size * model.direction("smile"))) for size in (0, 0.05)
    )
    assert np.linalg.norm(still - smiling) < 0.3 * np.linalg.norm(
        still - bones(model.shape(other, portrait.expression))
    )


def test_saved_and_loaded_it_judges_the_same(model, classifier, tmp_path):
    classifier.save(tmp_path)
    identity, portrait = next(faces(model))
    again = AttitudeClassifier.load(tmp_path)
    np.testing.assert_allclose(classifier(portrait, model, identity), again(portrait, model, identity), atol=1e-6)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="install the weights again"):
        AttitudeClassifier.load(tmp_path)
    with pytest.raises(WeightsError):
        AttitudeClassifier.load(tmp_path / "nothing")


def test_weights_for_other_figures_are_refused(classifier, tmp_path):
    guessed = classifier.guessed
    other = replace(classifier, guessed=Softmax(guessed.mean[:-1], guessed.scale[:-1], guessed.weights[:-1]))
    other.save(tmp_path)
    with pytest.raises(WeightsError, match="install the weights again"):
        AttitudeClassifier.load(tmp_path)


def people(model, telling=True):
    """30 people with a neutral, a smiling and a frowning clip each (labels without meaning unless `telling`)."""
    rng = np.random.default_rng(5)
    moves = {
        "neutral": np.zeros(64),
        "smile": 0.05 * model.direction("smile"),
        "frown": -0.03 * (model.direction("brow_right") + model.direction("brow_left")),
    }
    for person in range(30):
        identity = rng.normal(size=model.identity_basis.shape[-1])
        for label in moves:
            move = moves[label] if telling else moves[rng.choice(list(moves))]
            talk = rng.uniform(0, 0.06, (20, 1)) * model.direction("lip_opening")
            vertices = model.shape(identity, move + talk + 0.1 * rng.normal(size=64))
            yield Example(
                f"{person} {label}", f"p{person}", list(GROUPS).index(label), measures(vertices), bones(vertices)
            )


def all_faces(examples):
    return Faces(
        [one.measured for one in examples],
        np.stack([one.shape for one in examples]),
        [one.person for one in examples],
        [True] * len(examples),
    )


def test_training_learns_what_labels_tell_and_nothing_where_they_tell_nothing(model):
    examples = list(people(model))
    truth = np.array([one.attitude for one in examples])
    guessed, own = cross_validate(examples, all_faces(examples))
    assert (guessed == truth).mean() > 0.75
    # Nobody's own neutral face is known where the only neutral clip is the one that is judged.
    assert ((own >= 0) == (truth != ATTITUDES.index("neutral"))).all()
    assert (own == truth)[own >= 0].mean() > 0.9
    chance = list(people(model, telling=False))
    guessed, _ = cross_validate(chance, all_faces(chance))
    assert (guessed == truth).mean() < 0.5
    assert report("held out", examples, truth).startswith("held out: 100.0 % of 90 right; positive [30, 0, 0]")


def test_training_frees_measures_from_the_lips_opening(model):
    examples = list(people(model))
    fitted = fit_attitude(examples, all_faces(examples))
    shut, opened = (
        clip_figures(measures(model.shape(np.zeros(model.identity_basis.shape[-1]), beta[None])), fitted.slope)
        for beta in (np.zeros(64), 0.05 * model.direction("lip_opening"))
    )
    raw = measures(model.shape(np.zeros(model.identity_basis.shape[-1]), 0.05 * model.direction("lip_opening")[None]))
    still = measures(model.shape(np.zeros(model.identity_basis.shape[-1]), np.zeros((1, 64))))
    freed = 3 * len(fitted.slope)
    assert np.abs(shut - opened)[:freed].max() < 0.35 * np.abs(raw - still)[:, :-1].max()


def test_moments_with_shut_lips_count_by_themselves(model):
    nobody = np.zeros(model.identity_basis.shape[-1])
    shut, opened = (measures(model.shape(nobody, size * model.direction("lip_opening")[None])) for size in (0.0, 0.05))
    slope = np.zeros(shut.shape[1] - 1)
    talking = np.concatenate([np.repeat(shut, 5, 0), np.repeat(opened, 5, 0)])
    figures = clip_figures(talking, slope)
    assert figures.shape == (4 * len(slope) + 1,)
    np.testing.assert_allclose(figures[3 * len(slope) :], shut[0])
    np.testing.assert_allclose(means(figures), talking[:, :-1].mean(0))


def names_of(labels):
    return [name for names in labels.values() for name in names]


def test_labels_name_each_clip_once_and_keep_the_splits_apart():
    parts = names_of(attitude_labels.TRAIN) + names_of(attitude_labels.VAL)
    assert len(parts) == len(set(parts)) > 300
    files = [
        {name.partition(":")[0] for name in names_of(labels)}
        for labels in (attitude_labels.TRAIN, attitude_labels.VAL, attitude_labels.VAL_FIRST)
    ]
    assert not files[0] & (files[1] | files[2])
    assert set(attitude_labels.TRAIN) == set(attitude_labels.VAL) == set(GROUPS)


def test_no_moment_has_two_labels():
    for labels in (attitude_labels.TRAIN, attitude_labels.VAL, attitude_labels.VAL_FIRST):
        spans = {}
        for part in names_of(labels):
            file, _, frames = part.partition(":")
            first, end = (int(number) for number in frames.split("-")) if frames else (0, 10**9)
            spans.setdefault(file, []).append((first, end))
        for one in spans.values():
            one.sort()
            assert all(earlier[1] <= later[0] for earlier, later in pairwise(one))


def test_labelled_clips_are_in_the_corpus(manifest):
    split = {f"{row['kind']}__{row['path'].rsplit('/', 1)[1].removesuffix('.mp4')}": row for row in manifest}
    labels = (("train", attitude_labels.TRAIN), ("val", attitude_labels.VAL), ("val", attitude_labels.VAL_FIRST))
    for name, groups in labels:
        for part in names_of(groups):
            row = split[part.partition(":")[0]]
            assert row["split"] == name and row["real_or_generated"] == "real"

"""Lessons for a listener: composed ones do what their plan and attitude say; ViCo's layout is read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.attitudes import ATTITUDES
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.drivers import turns
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.turns import Backchannel
from pipeline.errors import InputError
from pipeline.training.corpus import read_manifest
from pipeline.training.listener_composition import Composer
from pipeline.training.listening_figures import figures
from pipeline.training.listening_lessons import compose_lessons, load_lessons, make_lessons, real_lesson, save_lessons
from pipeline.training.listening_motion import SMILE, nods
from pipeline.training.quiet_faces import face_measures
from pipeline.training.vico import as_corpus, read_vico, vico_clips

SILENCE = np.zeros(24 * SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def composer(clips, model, motion) -> Composer:
    return Composer(clips, model, motion)


def compose(composer, attitude, given, seed=0):
    return composer.compose(turns.plan(SILENCE, 0, attitude, given), attitude, np.random.default_rng(seed))


def test_listener_nods_where_the_plan_says(composer):
    given = [Backchannel(frame, "nod", 1.3, 1, 0.56) for frame in (120, 300, 480)]
    still, nodding = (compose(composer, "neutral", plan) for plan in ([], given))
    np.testing.assert_array_equal(still.pose[:120], nodding.pose[:120])
    added = nodding.pose - still.pose
    np.testing.assert_allclose([one.peak for one in nods(added)], [127, 307, 487], atol=2)
    assert not nods(still.pose), "nobody nods to nobody"


def test_attitudes_are_seen_and_lips_stay_shut(composer, model):
    mouth = Mouth.of(model)
    corners, brows = {}, {}
    for attitude in ATTITUDES:
        away = []
        for seed in range(4):
            made = compose(composer, attitude, [], seed)
            opening = mouth.geometry(made.donor.identity, made.expression)[:, 0]
            assert opening.max() < 0.005 and opening.min() > -0.003
            rest = np.concatenate([made.donor.rest[None], made.expression])
            shown = face_measures(model, mouth, made.donor.identity, rest)
            away.append((shown[1:] - shown[:1]).mean(0))
        corners[attitude], brows[attitude] = np.mean(away, axis=0)[[SMILE, 2]]
    assert corners["positive"] > corners["neutral"] + 0.005
    assert corners["negative"] < corners["neutral"] - 0.002
    assert brows["negative"] < brows["neutral"] - 0.003


def test_same_draws_same_listener(composer):
    a, b, c = (compose(composer, "positive", [], seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(a.expression, b.expression)
    np.testing.assert_array_equal(a.pose, b.pose)
    assert np.abs(a.pose - c.pose).max() > 0.01


def test_composing_for_another_attitude_is_refused(composer):
    with pytest.raises(ValueError, match="attitude"):
        composer.compose(turns.plan(SILENCE, 0, "neutral"), "bored", np.random.default_rng(0))


def test_lessons_are_whole_balanced_and_kept(composer, clips, tmp_path):
    lessons = compose_lessons([], clips, composer, seed=1, minutes=0.5)
    assert [lesson.attitude for lesson in lessons[:3]] == [0, 1, 2] and len(lessons) % 3 == 0
    for lesson in lessons:
        frames = frame_count(len(lesson.sound))
        assert len(lesson.expression) == len(lesson.pose) == len(lesson.plan) == frames
        assert np.abs(np.diff(lesson.pose[:, :3], axis=0)).max() < np.radians(2.5), "no jump where stretches meet"
    save_lessons(lessons, tmp_path / "lessons.npz")
    again = load_lessons(tmp_path / "lessons.npz")
    for one, other in zip(lessons, again, strict=True):
        assert (one.name, one.attitude, one.source) == (other.name, other.attitude, other.source)
        assert one.plan.backchannels == other.plan.backchannels
        np.testing.assert_allclose(one.sound, other.sound, atol=1e-4)
        np.testing.assert_allclose(one.expression, other.expression, atol=0.01)
        np.testing.assert_allclose(one.plan.conditions(), other.plan.conditions(), atol=1e-3)
        np.testing.assert_array_equal(one.plan.since_phrase_end, other.plan.since_phrase_end)
    assert again[0].sound is again[2].sound, "each sound is read once"
    row = figures(lessons)
    assert row["share idle"] > 0.9 and row["nods /s while idle"] == 0
    assert row["variance of lower face"] > 1


def test_real_listener_is_planned_as_seen(clips, model):
    clip = clips[0]
    sound = np.zeros(400 * 640 - 100, np.float32)
    lesson = real_lesson(clip, clips[3], sound, None, model, Mouth.of(model))
    assert lesson is not None and lesson.source == "real"
    assert len(lesson) == len(lesson.speaker) == len(lesson.plan) == 400
    seen = [(one.kind, one.count) for one in lesson.plan.backchannels if one.kind in turns.HEAD_KINDS]
    assert seen == [("nod", 1), ("nods", 2), ("nod", 1)]
    assert real_lesson(clip, None, sound[:640], 0, model, Mouth.of(model)) is None


@pytest.fixture(scope="module")
def vico(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One conversation in ViCo's layout: a portrait that sways is the listener, a grey wall the other one's."""
    import cv2
    from heads import write_sound

    from pipeline.face.image import read_image
    from pipeline.video import VideoWriter

    folder = tmp_path_factory.mktemp("vico")
    (folder / "videos").mkdir()
    (folder / "audios").mkdir()
    face = read_image(repository / "examples" / "portraits" / "man_beard.jpg")
    face = cv2.resize(face, (224, round(224 * face.shape[0] / face.shape[1] / 2) * 2), interpolation=cv2.INTER_AREA)
    videos = {
        "a.listener": [np.roll(face, round(3 * np.sin(i / 4)), axis=1) for i in range(30)],
        "b.listener": [np.full_like(face, 120)] * 26,
    }
    for name, frames in videos.items():
        with VideoWriter(folder / "videos" / f"{name}.mp4", frames[0].shape[1::-1]) as video:
            for frame in frames:
                video.write(frame)
        write_sound(folder / "audios" / f"{name[0]}.wav", np.zeros(SAMPLE_RATE + 3000, np.float32))
    write_table(
        folder,
        [
            {
                "attitude": "negative",
                "audio": "a",
                "listener": "a.listener",
                "speaker": "a.speaker",
                "data_split": "train",
            },
            {"attitude": "positive", "audio": "b", "listener": "b.listener", "speaker": "", "data_split": "train"},
            {"attitude": "neutral", "audio": "c", "listener": "c.listener", "speaker": "", "data_split": "train"},
        ],
    )
    return folder


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "RLD_data.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def test_vico_is_read(vico, model, tmp_path):
    told: list[str] = []
    lessons = read_vico(vico, tmp_path, model=model, log=told.append)
    assert [(one.name, one.attitude, one.source) for one in lessons] == [("vico__a.listener", 2, "real")]
    assert len(lessons[0]) == frame_count(SAMPLE_RATE + 3000) and lessons[0].speaker is None
    assert any("no face" in line and "b.listener" in line for line in told)
    again = make_lessons(vico, tmp_path, log=told.append)
    np.testing.assert_array_equal(again[0].pose, lessons[0].pose)
    with pytest.raises(InputError, match="could be used"):
        read_vico(vico, tmp_path, split="val", model=model, log=told.append)


def test_the_challenges_form_of_the_table_is_read(vico, tmp_path):
    (tmp_path / "videos").symlink_to(vico / "videos")
    (tmp_path / "audios").symlink_to(vico / "audios")
    write_table(tmp_path, [{"video_id": "x", "uuid": "a", "speaker_id": "1", "listener_id": "7"}])
    (clip,) = vico_clips(tmp_path)
    assert clip.listener.name == "a.listener.mp4" and clip.attitude is None and clip.listener_id == "7"


def test_vico_becomes_a_corpus_to_measure_on(vico, tmp_path):
    from pipeline.audio.reading import read_audio
    from pipeline.video import VideoReader

    assert as_corpus(vico, tmp_path / "corpus", log=lambda line: None) == 2
    files = {file.path.relative_to(tmp_path / "corpus").as_posix(): file for file in read_manifest(tmp_path / "corpus")}
    assert set(files) == {
        *(f"listen/vico_{name}_listener.mp4" for name in "ab"),
        *(f"portraits/vico_{name}.png" for name in "ab"),
    }
    listener = files["listen/vico_a_listener.mp4"]
    assert (listener.kind, listener.split, listener.seconds) == ("listen", "train", 1.2)
    assert len(list(VideoReader(listener.path))) == 30
    assert abs(len(read_audio(listener.path)) - (SAMPLE_RATE + 3000)) < 3000


def test_what_is_not_vico_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="CSV"):
        vico_clips(tmp_path)
    write_table(tmp_path, [{"picture": "a"}])
    with pytest.raises(InputError, match="columns"):
        vico_clips(tmp_path)


def test_an_unknown_attitude_is_refused(vico, tmp_path):
    (tmp_path / "videos").symlink_to(vico / "videos")
    (tmp_path / "audios").symlink_to(vico / "audios")
    write_table(tmp_path, [{"attitude": "bored", "audio": "a", "listener": "a.listener", "speaker": ""}])
    with pytest.raises(InputError, match="bored"):
        vico_clips(tmp_path)

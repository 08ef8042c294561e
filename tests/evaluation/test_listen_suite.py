"""The suite `listen` on a small corpus, with a listener whose behaviour is known."""

from dataclasses import replace
from functools import lru_cache
from shutil import copyfile

import cv2
import numpy as np
import pytest
from evaluation_stubs import FRAMES, StubClip, make_corpus, write_wav

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS, SAMPLE_RATE, frame_count
from pipeline.coefficients import Coefficients
from pipeline.drivers.upper_face import UpperFace
from pipeline.errors import InputError
from pipeline.evaluation.corpus import read_manifest
from pipeline.evaluation.listening import SILENCE_SECONDS, fitted, joined, tasks
from pipeline.evaluation.nods import Speech
from pipeline.evaluation.pairs import FACE_MODEL
from pipeline.evaluation.sheets import listening_sheet
from pipeline.evaluation.suites import SuiteOptions, run_suite
from pipeline.evaluation.tracks import track_video
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait
from pipeline.face.tracker import FaceTracker
from pipeline.training.vico import as_corpus

SPOKEN = 13.0  # seconds of the speaker's sound


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory):
    """One portrait, one pair of speaker and listener (the same pictures), one longer speaker."""
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    (folder / "listen").mkdir()
    clip = (folder / "talk" / "clip.mp4").read_bytes()
    (folder / "listen" / "vico_a_listener.mp4").write_bytes(clip)
    (folder / "talk" / "vico_a_speaker.mp4").write_bytes(clip)
    write_wav(folder / "talk" / "long.wav", speech())
    with open(folder / "MANIFEST.csv", "a", encoding="utf-8", newline="") as file:
        for row in (
            f"listen/vico_a_listener.mp4,listen,val,{FRAMES / FPS},,",
            f"talk/vico_a_speaker.mp4,talk,val,{FRAMES / FPS},0,0.5",
            f"talk/long.wav,talk,val,{SPOKEN},0,0.5",
        ):
            file.write(row + "\r\n")
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return SuiteOptions(cache=str(tmp_path_factory.mktemp("cache")))


def speech():
    """Phrases of 2.4 s with pauses of 0.8 s."""
    t = np.arange(round(SPOKEN * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 25)) * (0.55 + 0.45 * np.sin(8 * np.pi * t))
    return 0.1 * buzz * (t % 3.2 < 2.4) + 1e-4 * np.random.default_rng(0).normal(size=len(t))


class Answering:
    """A listener: nods after phrase ends, blinks every four seconds, smiles or frowns as asked, sways with its seed."""

    def __init__(self, model):
        self.model = model

    def __call__(self, audio, reference, attitude="neutral", seed=0, identity=None, speaker=None):
        face = UpperFace.of(self.model, identity, reference.expression[0])
        frames = frame_count(len(audio))
        pose, closure = np.tile(reference.pose[0], (frames, 1)).astype(float), np.zeros(frames)
        for end in Speech.of(audio).phrase_ends:
            nod = np.radians(4) * (1 - np.cos(np.linspace(0, 2 * np.pi, 11))) / 2
            pose[end + 8 : end + 19, 0] += nod[: max(0, frames - end - 8)]
        for start in range(50, frames - 5, 4 * FPS):
            closure[start : start + 5] = (0.5, 1, 1, 0.6, 0.3)
        pose[:, 2] += 0.02 * np.sin(np.arange(frames) / 20 + seed)
        expression = reference.expression[0] + self.look(attitude) + closure[:, None] * face.blink
        half = frames // 2
        whole = Coefficients(expression, pose, np.tile(reference.crop[0], (frames, 1)))
        yield whole[:half]
        yield whole[half:]

    def look(self, attitude):
        model = self.model
        brows = model.direction("brow_right") + model.direction("brow_left")
        return {
            "positive": 0.03 * model.direction("smile") + 0.06 * model.direction("lip_width"),
            "neutral": np.zeros(64),
            "negative": -0.03 * brows - 0.03 * model.direction("smile"),
        }[attitude]

    def regression(self, audio, reference, attitude="neutral", seed=0, identity=None, speaker=None):
        frames = frame_count(len(audio))
        yield Coefficients(
            *(np.tile(getattr(reference, name)[0], (frames, 1)) for name in ("expression", "pose", "crop"))
        )


class ListeningPipeline:
    """What the suite needs of the pipeline; its clips show the portrait as it is."""

    def __init__(self):
        self.model = MorphableModel.load(FACE_MODEL)
        self.listener = Answering(self.model)
        self.asked = []

    def portrait(self, image, size=None):
        return _portrait(str(image))

    def listen(self, portrait, audio, attitude="neutral", seed=0, **options):
        self.asked.append((attitude, seed))
        image = portrait.image if isinstance(portrait, Portrait) else cv2.imread(portrait)[..., ::-1]
        return StubClip(lambda: (image for _ in range(12)), None)


@lru_cache
def _portrait(path):
    with FaceTracker() as tracker:
        return Portrait.read(path, tracker, MorphableModel.load(FACE_MODEL))


def factory(weights):
    return ListeningPipeline()


def test_tasks_are_portraits_by_attitude_pairs_and_real_listeners(small_corpus, options):
    found = tasks(read_manifest(small_corpus), options)
    assert [task.name for task in found] == [
        *(f"portrait/astronaut {attitude}" for attitude in ATTITUDES),
        "pair/vico_a_listener",
        "real/vico_a_listener",
    ]
    assert [clip.path.stem for clip in found[0].sounds] == ["long"]  # the short ones end no phrases
    assert found[3].sounds[0].path.stem == "vico_a_speaker"


def test_speakers_follow_one_another_and_silence_follows_them():
    sound, spoken = joined([np.full(SAMPLE_RATE, 0.5), np.full(2 * SAMPLE_RATE, -0.5)])
    assert len(sound) == (4 + SILENCE_SECONDS) * SAMPLE_RATE and spoken == 4 * FPS
    assert sound[SAMPLE_RATE // 2] == 0.5 and sound[3 * SAMPLE_RATE] == -0.5
    assert not sound[SAMPLE_RATE : 2 * SAMPLE_RATE].any() and not sound[spoken * 640 :].any()


def test_a_listener_that_answers_keeps_the_promises(small_corpus, options):
    table = run_suite("listen", small_corpus, replace(options, encode=False), factory=factory)
    assert not [row for row in table.rows if row.get("error")]
    assert all("listened" not in row and "speaker" not in row for row in table.rows)
    kept = {check.name: check for check in table.checks}
    assert kept["attitude recognised, driver"].value == 1
    assert 13 < kept["blinks a minute"].value < 18
    after = kept["nods within 1 s after phrase ends, times chance"]
    assert after.passed and table.extra["driver: nods after phrase ends"] == 1
    assert after.value == pytest.approx(1 / table.extra["driver: by chance"])
    assert kept["nods a second in silence"].value == 0
    assert table.extra["regression: attitude seen"] == pytest.approx(1 / 3)  # only who looks as before is seen rightly
    assert table.extra["regression: variance ratio pose"] == 0 < table.extra["driver: variance ratio pose"]
    assert table.extra["regression: nods /min"] == 0 and table.extra["driver: clips"] == 6
    row = table.rows[0]
    assert row["seconds"] == pytest.approx(2 * (SPOKEN + SILENCE_SECONDS), abs=0.1)
    assert row["seen"] == 1 and row["seen_regression"] == 0 and "seen_MP4" not in row
    assert "pairs, driver: P-FD expression" in table.extra and table.extra["pairs, regression: RPCC pose"] > 0
    assert "times chance" in table.text() and table.to_dict()["summary"]["clips"] == 5


def test_rendered_clips_are_tracked_again(small_corpus, options):
    table = run_suite("listen", small_corpus, replace(options, only="portrait", seed=4), factory=factory)
    assert table.extra["rendered MP4: clips"] == 3
    assert table.rows[ATTITUDES.index("neutral")]["seen_MP4"] == 1  # the pictures show the portrait as it is
    assert table.rows[ATTITUDES.index("positive")]["seen_MP4"] == 0 == table.rows[0]["lost"]
    assert table.extra["rendered MP4: attitude seen"] == pytest.approx(1 / 3)
    assert not any(key.startswith("pairs") for key in table.extra)
    assert [check.name for check in table.checks if "ratio" in check.name] == []  # there is nobody to compare with


@pytest.fixture(scope="module")
def vico(small_corpus, tmp_path_factory):
    """A folder in ViCo's layout with one conversation, of the split test."""
    folder = tmp_path_factory.mktemp("vico")
    for name in ("videos", "audios"):
        (folder / name).mkdir()
    for who in ("listener", "speaker"):
        copyfile(small_corpus / "talk" / "clip.mp4", folder / "videos" / f"x.{who}.mp4")
    write_wav(folder / "audios" / "x.wav", speech()[: FRAMES * 640])
    columns, row = "attitude,audio,listener,speaker,data_split", "positive,x,x.listener,x.speaker,test"
    (folder / "RLD_data.csv").write_text(f"{columns}\n{row}\n")
    return folder


def test_vicos_layout_is_measured_as_a_corpus_made_of_it(vico, options, tmp_path):
    as_corpus(vico, tmp_path / "corpus", log=lambda line: None)
    found = tasks(read_manifest(tmp_path / "corpus"), options)
    assert [task.kind for task in found] == ["portrait"] * 3 + ["pair", "real"]
    assert [task.face.path.name for task in found[2:]] == ["vico_x.png", *["vico_x_listener.mp4"] * 2]
    assert {clip.path.name for task in found[:4] for clip in task.sounds} == {"vico_x_speaker.mp4"}
    table = run_suite("listen", tmp_path / "corpus", replace(options, only="pair"), factory=factory)
    assert [row.get("error") for row in table.rows] == [None]
    assert np.isfinite(table.extra["pairs, driver: P-FD expression"])


def test_vicos_layout_itself_is_refused_in_a_sentence_that_helps(vico, options):
    with pytest.raises(InputError, match="has ViCo's layout; make a corpus of it"):
        run_suite("listen", vico, options, factory=factory)


def test_a_track_without_a_face_is_one_sentence(small_corpus, options):
    track = track_video(small_corpus / "silent" / "clip.mp4", options.cache)
    model = MorphableModel.load(FACE_MODEL)
    assert len(fitted(track, model)) == len(track)
    lost = replace(track, found=np.arange(len(track)) < 5)
    np.testing.assert_array_equal(fitted(lost, model).pose[4], fitted(lost, model).pose[-1])
    with pytest.raises(InputError, match="No face"):
        fitted(replace(track, found=np.zeros(len(track), bool)), model)


def test_sheet_has_a_row_for_each_attitude_and_seed(small_corpus, tmp_path):
    pipeline, seen = ListeningPipeline(), []
    sheet = listening_sheet(
        pipeline, small_corpus, frames=3, side=64, progress=lambda *step: seen.append(step), seeds=(0, 7)
    )
    assert sheet.shape == (6 * (64 + 22), 3 * 64, 3)
    assert pipeline.asked == [(attitude, seed) for attitude in ATTITUDES for seed in (0, 7)]
    assert seen[0] == ("sheet", 0, 6) and seen[-1] == ("sheet", 6, 6)
    with pytest.raises(InputError, match="no portrait with 'nobody'"):
        listening_sheet(pipeline, small_corpus, name="nobody")

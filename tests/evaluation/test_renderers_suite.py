"""The suite `renderers`: a perfect renderer, one that holds still and a blurred one, on clips whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from evaluation_stubs import make_corpus
from heads import one_sentence

from pipeline import cli, devices
from pipeline.devices import Runtime
from pipeline.errors import InputError, WeightsError
from pipeline.evaluation import renderers
from pipeline.evaluation.corpus import read_manifest
from pipeline.evaluation.suites import SuiteOptions, run_suite
from pipeline.face.mouth_inside import mouth_inside
from pipeline.hub import EMBEDDED, Weights
from pipeline.video import VideoReader


class Truthful:
    """Draws the real clip's frames, found again by their coefficients, through what is done to them."""

    def __init__(self, known: dict[bytes, np.ndarray], change) -> None:
        self.known, self.change = known, change

    def start(self):
        return lambda rows: (self.change(self.known[one.tobytes()]) for one in rows.expression)


@pytest.fixture(scope="module")
def corpus_here(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def table(corpus_here, pipe, tmp_path_factory):
    """As `mesh` the first frame is held; `refiner` draws the truth, and `headgan` a blurred truth."""
    patch = pytest.MonkeyPatch()
    read = renderers._read
    shown: dict[str, object] = {}

    def reading(*arguments):
        truth = read(*arguments)
        known = {truth.coefficients.expression[i].tobytes(): frame for i, frame in truth.real.items()}
        shown.update(
            mesh=Truthful(known, lambda _: truth.real[0]),
            refiner=Truthful(known, lambda frame: frame),
            headgan=Truthful(known, lambda frame: cv2.GaussianBlur(frame, (0, 0), 2)),
        )
        return truth

    patch.setattr(renderers, "_read", reading)
    patch.setattr(renderers, "RENDERERS", dict.fromkeys(("mesh", "refiner", "headgan")))
    patch.setattr(renderers, "renderers_with_weights", lambda weights: ["mesh", "refiner", "headgan"])
    patch.setattr(renderers, "load_renderer", lambda name, weights, portrait: shown[name])
    patch.setattr(renderers, "_embedder", lambda: lambda frame, landmarks: np.append(frame.mean((0, 1)), 0) / 255)
    options = SuiteOptions(cache=str(tmp_path_factory.mktemp("cache")), only="clip", size=256)
    patch.setattr(renderers, "RUN", 4)
    try:
        return run_suite("renderers", corpus_here, options, factory=lambda _: pipe)
    finally:
        patch.undo()


def test_the_truth_is_best_in_everything(table):
    mesh, refiner, headgan = table.rows
    assert [row["renderer"] for row in table.rows] == ["mesh", "refiner", "headgan"]
    assert all(row["clips"] == 2 and row["frames"] == 2 * renderers.RUNS * 4 for row in table.rows)
    assert refiner["psnr"] == refiner["psnr_face"] == refiner["psnr_mouth"] == 60
    assert refiner["ssim"] == refiner["ssim_face"] == pytest.approx(1, abs=1e-5)
    assert refiner["identity"] == 1 and refiner["perceptual"] == pytest.approx(0, abs=1e-5)
    assert refiner["flicker"] == refiner["flicker_real"] and refiner["cpbd"] == refiner["cpbd_real"]
    for other in (mesh, headgan):
        for key, sign in renderers._MEASURES.items():
            if (other is mesh and key in ("cpbd", "flicker")) or key == "flicker":
                continue  # what is held still is as sharp, and does not flicker
            assert sign * (refiner[key] - other[key]) > 0, key
    assert mesh["flicker"] == 0 < mesh["flicker_real"]
    assert headgan["cpbd"] < 0.5 * headgan["cpbd_real"]
    assert mesh["psnr_mouth"] < mesh["psnr_face"] < mesh["psnr"], "the mouth is what moves"


def test_promises_are_the_refiners_over_the_mesh(table):
    verdicts = {check.name.split(",")[0]: check.passed for check in table.checks}
    assert len(verdicts) == 1 + len(renderers._MEASURES)
    assert verdicts.pop("flicker of the refiner") is False  # none flickers less than a picture that is held
    verdicts.pop("cpbd of the refiner")
    assert all(verdicts.values())
    told = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert [row["clip"] for row in told["details"]] == ["talk/clip", "silent/clip"]
    assert told["details"][0]["refiner_psnr"] == 60
    assert "dlib_face_recognition_resnet_model_v1" in table.text()


def test_the_mesh_itself_beats_a_picture_held_still(table, corpus_here, pipe, monkeypatch):
    """And without an embedder there is a sentence in its place."""

    def missing():
        raise WeightsError("Identity similarity needs a package; install it.")

    monkeypatch.setattr(renderers, "_embedder", missing)
    monkeypatch.setattr(renderers, "RUN", 4)
    options = SuiteOptions(only="silent/clip", renderers=("mesh",), size=256)
    ours = run_suite("renderers", corpus_here, options, factory=lambda _: pipe)
    (row,) = ours.rows
    held = next(row for row in table.details if row["clip"] == "silent/clip")
    assert row["psnr_mouth"] > held["mesh_psnr_mouth"] + 1 and row["lmd"] < held["mesh_lmd"]
    assert "identity" not in row and row["cpu_fps"] > 1 and "gpu_fps" not in row
    assert "Identity similarity needs a package; install it." in ours.notes and not ours.checks


def test_runs_are_spread_over_a_clip_and_the_portrait_is_in_none():
    assert renderers._runs(20) == [range(1, 20)]
    long = renderers._runs(500)
    assert len(long) == renderers.RUNS and long[0].start == 1 and long[-1].stop == 500
    frames = [index for run in long for index in run]
    assert len(set(frames)) == renderers.RUNS * renderers.RUN
    tight = [index for run in renderers._runs(renderers.RUNS * renderers.RUN + 2) for index in run]
    assert len(set(tight)) == len(tight)


def test_frames_are_brought_to_the_size_asked_for(corpus_here, pipe, tmp_path):
    clip = SimpleNamespace(path=corpus_here / "silent" / "clip.mp4")
    truth = renderers._read(pipe, clip, SuiteOptions(size=160, cache=str(tmp_path)))
    assert truth.portrait.size == (160, 160) and all(frame.shape == (160, 160, 3) for frame in truth.real.values())
    assert np.abs(truth.landmarks[0] - truth.portrait.landmarks)[:, :2].max() < 2
    real = next(iter(VideoReader(clip.path)))
    assert np.abs(truth.real[0].astype(int) - cv2.resize(real, (160, 160), interpolation=cv2.INTER_AREA)).max() == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--suite", "renderers", "--renderer", "oil"], "no renderer 'oil'"),
        (["--suite", "renderers", "--renderer", "headgan"], "no weights for the renderer 'headgan'"),
        (["--suite", "renderers", "--size", "9000"], "--size must be between"),
        (["--suite", "talk", "--size", "256"], "go with --suite renderers"),
        (["--suite", "talk", "--heard"], "go with --suite renderers"),
        (["--suite", "talk", "--renderer", "mesh", "--renderer", "refiner"], "give one here"),
        (["--suite", "model", "--renderer", "mesh"], "has its own renderer"),
        (["--suite", "talk", "--renderer", "oil"], "no renderer 'oil'"),
        (["--suite", "talk", "--renderer", "headgan"], "no weights for the renderer 'headgan'"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(arguments, word, capsys):
    assert cli.main(["evaluate", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert word in said and one_sentence(said.removeprefix("error: "))


def test_all_that_have_weights_are_compared_by_default():
    embedded = renderers.choose(Weights(EMBEDDED, ()), ())
    assert embedded[0] == "mesh" and "headgan" not in embedded and "pirenderer" not in embedded
    with pytest.raises(InputError, match="choose one of: mesh"):
        renderers.choose(Weights(EMBEDDED, ()), ["mesh", "oil"])
    assert replace(SuiteOptions(), renderers=embedded).size is None


def test_where_there_is_a_gpu_both_speeds_are_told(monkeypatch):
    """Drawn twice: all runs where the renderer is, and a few frames on the processor."""
    drawn = []

    def load(name, weights, portrait):
        runtime = Runtime("cpu" if devices._processor_only.get() else "cuda")

        def draw(rows):
            drawn.append((runtime.device, len(rows)))
            return iter(rows)

        return SimpleNamespace(runtime=runtime, start=lambda: draw)

    monkeypatch.setattr(renderers, "load_renderer", load)
    truth = SimpleNamespace(portrait=None, coefficients=list(range(30)), runs=[range(1, 6), range(20, 25)])
    pace: dict[str, float] = {}
    frames = [frame for _, part in renderers._drawn("headgan", None, truth, pace) for frame in part]
    assert frames == [*range(1, 6), *range(20, 25)]
    assert drawn == [("cuda", 5), ("cuda", 5), ("cpu", 2)]
    assert pace["gpu_fps"] > 0 and pace["cpu_fps"] > 0


def test_what_shows_inside_is_told_unless_the_driving_person_is_only_heard(corpus_here, pipe, tmp_path):
    options = SuiteOptions(cache=str(tmp_path), only="clip", size=256)
    task = renderers.tasks(read_manifest(corpus_here), options)[0]
    seen, heard = (renderers._read(pipe, task, replace(options, heard=heard)) for heard in (False, True))
    assert heard.coefficients.inside is None
    assert np.array_equal(seen.coefficients.expression, heard.coefficients.expression)
    wanted = [mouth_inside(seen.real[index], seen.landmarks[index]) for index in seen.runs[0]]
    told = seen.coefficients.inside[seen.runs[0].start : seen.runs[0].stop]
    assert np.abs(told - wanted).mean() < 0.15

"""The public interface, frozen: a name or parameter that changes here is a change that users notice."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import pipeline
from pipeline import clip, coefficients, conversation, errors, portraits
from pipeline.face.portrait import Portrait

TALK = {
    "portrait": ...,
    "audio": ...,
    "seed": 0,
    "expression_scale": 1.0,
    "motion_scale": 1.0,
    "size": None,
    "renderer": "refiner",
    "restore": "none",
    "visible_tag": False,
    "progress": None,
}
LISTEN = {
    "portrait": ...,
    "audio": None,
    "attitude": "neutral",
    "speaker_video": None,
    "seed": 0,
    "attitude_scale": 1.0,
    "expression_scale": 1.0,
    "motion_scale": 1.0,
    "layout": "listener",
    "transcript": None,
    "language_model": None,
    "size": None,
    "renderer": "refiner",
    "restore": "none",
    "visible_tag": False,
    "progress": None,
}
REENACT = {
    "portrait": ...,
    "video": ...,
    "relative": True,
    "expression_scale": 1.0,
    "motion_scale": 1.0,
    "smoothing": 1,
    "size": None,
    "renderer": "refiner",
    "restore": "none",
    "visible_tag": False,
    "progress": None,
}


def public(thing: object) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def parameters(function: object) -> dict[str, object]:
    found = inspect.signature(function).parameters.values()
    return {p.name: ... if p.default is p.empty else p.default for p in found if p.name not in ("self", "cls")}


def test_the_packages_names():
    assert pipeline.__all__ == ["Cancelled", "Coefficients", "ConversationalHeadPipeline", "HeadClip", "InputError"]
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Sing'"):
        _ = pipeline.Sing
    assert all(part.isdigit() for part in pipeline.__version__.split("."))


def test_the_pipeline():
    kind = conversation.ConversationalHeadPipeline
    assert public(kind) | public(portraits.PortraitReading) == {
        "check", "driver", "from_pretrained", "listen", "listener", "model", "portrait", "reenact", "stream", "talk",
        "warm_up",
    }  # fmt: skip
    assert parameters(kind.from_pretrained) == {"source": None, "revision": None, "options": ...}
    assert parameters(kind.portrait) == {"image": ..., "size": None, "references": ()}
    assert parameters(kind.talk) == TALK
    assert parameters(kind.listen) == LISTEN
    assert parameters(kind.reenact) == REENACT
    assert list(parameters(kind.stream)) == ["portrait", "audio", "options"]


def test_the_clip():
    assert public(clip.HeadClip) == {"coefficients", "fps", "frames", "save"}
    assert parameters(clip.HeadClip.save) == {"path": ..., "progress": None, "live": None}


def test_coefficients_and_portrait():
    fields = [field.name for field in dataclasses.fields(coefficients.Coefficients)]
    assert fields == ["expression", "pose", "crop", "fps", "inside"]
    assert public(coefficients.Coefficients) >= {"concatenate", "load", "save"}
    assert [field.name for field in dataclasses.fields(Portrait)] == [
        "image", "landmarks", "alpha", "identity", "coefficients", "model", "warnings", "references"
    ]  # fmt: skip


def test_errors_are_value_errors_and_cancelling_is_none():
    kinds = [errors.PortraitError, errors.AudioError, errors.VideoError, errors.OutputError, errors.WeightsError]
    assert all(issubclass(kind, errors.InputError) and issubclass(kind, ValueError) for kind in kinds)
    assert not issubclass(errors.Cancelled, ValueError)


@pytest.mark.parametrize("name", ["talk", "listen", "reenact", "portrait", "stream", "from_pretrained", "warm_up"])
def test_every_method_is_explained(name):
    method = getattr(conversation.ConversationalHeadPipeline, name)
    text = inspect.getdoc(method)
    assert len(text) > 40
    wanted = {"talk": TALK, "listen": LISTEN, "reenact": REENACT}.get(name, {})
    assert all(f"{parameter}:" in text for parameter in wanted)


@pytest.mark.parametrize(("mode", "wanted"), [("talk", TALK), ("listen", LISTEN)])
def test_options_of_the_command_line_are_those_of_python(mode, wanted):
    from pipeline.cli import _parser

    made = vars(_parser().parse_args([mode, "a", "b", "-o", "c.mp4"]))
    for name in set(wanted) - {"progress", "audio"}:
        assert name in made and (wanted[name] is ... or made[name] == wanted[name]), name

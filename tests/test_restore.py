"""Restoration through the whole way: Python and the command line, and the conversion of foreign weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from heads import one_sentence

from pipeline.cli import main
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.errors import InputError, WeightsError
from pipeline.postprocess.gfpgan import Gfpgan, GfpganConfig

TINY = GfpganConfig(side=64, style_dim=8, mapping_layers=1, width=8, multiplier=2)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """0.4 s of speech: ten frames."""
    import soundfile

    from pipeline.audio.reading import read_audio

    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    soundfile.write(path, read_audio(repository / "examples" / "speech" / "lips_rms.flac")[8000:14400], 16000)
    return path


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> ConversationalHeadPipeline:
    """The pipeline on the embedded weights and a tiny random GFPGAN."""
    Gfpgan(TINY).save_pretrained(folder := tmp_path_factory.mktemp("restoring"))
    return ConversationalHeadPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", ["detail", "gfpgan"])
def test_a_clip_is_restored_in_the_face_alone_and_the_same_each_time(restoring, portraits, sound, name):
    portrait = portraits["man_beard"]
    plain = restoring.talk(portrait, sound, seed=1)
    clip = restoring.talk(portrait, sound, seed=1, restore=name)
    assert clip.settings["restore"] == name and plain.settings["restore"] == "none"
    assert all(one_sentence(text) for text in clip.warnings)
    first, again, before = list(clip.frames), list(clip.frames), list(plain.frames)
    assert len(first) == len(before) == 10
    assert all((a == b).all() for a, b in zip(first, again, strict=True)), "a second run differs"
    changed = [(a != b).any(-1).mean() for a, b in zip(first, before, strict=True)]
    assert np.mean(changed[2:]) > 0.001 and max(changed) < 0.5
    assert (clip.coefficients.expression == plain.coefficients.expression).all()


def test_what_cannot_be_restored_is_said_before_anything_is_read(pipe, tmp_path, sound):
    with pytest.raises(InputError, match="'sharpen'") as error:
        pipe.talk(tmp_path / "no.png", sound, restore="sharpen")
    assert one_sentence(error.value)
    with pytest.raises(WeightsError, match="convert gfpgan"):
        pipe.talk(tmp_path / "no.png", sound, restore="gfpgan")


def test_the_command_line_restores(restoring, repository, sound, tmp_path, capsys):
    portrait = next((repository / "examples" / "portraits").glob("statue.*"))
    command = ["talk", str(portrait), str(sound), "--size", "192", "-o", str(tmp_path / "out.mp4"), "--json"]
    assert main([*command, "--weights", str(restoring.weights.folder), "--restore", "gfpgan"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["settings"]["restore"] == "gfpgan" and result["frames"] == 10
    assert main([*command, "--restore", "gfpgan"]) == 2
    assert "convert gfpgan" in capsys.readouterr().err

"""`python -m pipeline convert`: the report on stdout, a sentence and exit code 2 where a checkpoint does not fit."""

from __future__ import annotations

import json

import torch
from heads import one_sentence
from test_converters import SMALL, checkpoint

from pipeline.cli import main
from pipeline.converters import gfpgan


def test_a_checkpoint_that_does_not_fit_is_reported_and_refused(tmp_path, capsys):
    source = checkpoint(tmp_path / "small.pth")
    assert main(["convert", "gfpgan", str(source), str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert "shape       final_conv.weight: (8, 8, 3, 3), wanted (256, 256, 3, 3)" in out
    assert "small.pth does not fit" in err and one_sentence(err.removeprefix("error: ").strip())
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_fits_becomes_a_folder(tmp_path, capsys, monkeypatch):
    published = gfpgan.convert
    monkeypatch.setattr(gfpgan, "convert", lambda source, folder: published(source, folder, SMALL))
    source = checkpoint(tmp_path / "small.pth", extra=torch.zeros(3))
    assert main(["convert", "gfpgan", str(source), str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["folder"] == str(tmp_path / "out") and report["unexpected"] == ["extra"]
    assert report["missing"] == [] and report["mismatched"] == {} and report["converted"] > 100
    assert (tmp_path / "out" / "gfpgan" / "model.safetensors").is_file()


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["convert", "gfpgan", str(tmp_path / "none.pth"), str(tmp_path / "out")]) == 2
    assert "none.pth" in capsys.readouterr().err

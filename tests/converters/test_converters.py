"""Foreign checkpoints: converted whole and reported key by key, or refused in one sentence with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import official_gfpgan
import pytest
import torch
from heads import one_sentence

from pipeline.converters import convert, read_checkpoint
from pipeline.converters.gfpgan import convert as convert_gfpgan
from pipeline.errors import InputError, OutputError, WeightsError
from pipeline.hub import find_weights
from pipeline.postprocess.gfpgan import Gfpgan, GfpganConfig

SMALL = GfpganConfig(side=32, style_dim=12, mapping_layers=2, width=16, multiplier=2)


class Foreign:
    """Something that a checkpoint may hold and the restricted reader must not make."""


def checkpoint(path: Path, key: str | None = "params_ema", **changes: object) -> Path:
    """A random checkpoint under the published names; a change to None takes a name out."""
    state = official_gfpgan.random_state() | changes
    state = {name: value for name, value in state.items() if value is not None}
    torch.save({key: state, "iter": 3} if key else state, path)
    return path


@pytest.mark.parametrize("key", ["params_ema", "params", None])
def test_a_checkpoint_becomes_a_folder_of_weights(tmp_path, key):
    result = convert_gfpgan(checkpoint(tmp_path / "GFPGANv1.4.pth", key), tmp_path / "out", SMALL)
    assert result.fits and result.folder == tmp_path / "out"
    assert result.lines() == [
        f"{len(official_gfpgan.random_state())} converted, 0 missing, 0 unexpected, 0 of wrong shape"
    ]
    weights = find_weights(tmp_path / "out")
    assert weights.components == ("gfpgan",)
    network = Gfpgan.load(weights.component("gfpgan"))
    faces = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = official_gfpgan.restore(official_gfpgan.random_state(), faces)
    assert torch.allclose(network(faces), wanted, atol=0.03), "half precision costs less than that"
    card = (weights.component("gfpgan") / "README.md").read_text()
    assert "GFPGANv1.4.pth" in card and "non-commercial" in card


def test_the_averaged_parameters_are_preferred(tmp_path):
    last, averaged = official_gfpgan.random_state(1), official_gfpgan.random_state(2)
    torch.save({"params": last, "params_ema": averaged}, tmp_path / "both.pth")
    result = convert_gfpgan(tmp_path / "both.pth", tmp_path / "out", SMALL)
    weight = Gfpgan.load(result.folder / "gfpgan").final_conv.weight
    assert torch.allclose(weight, averaged["final_conv.weight"], atol=1e-2)


def test_what_does_not_fit_is_named_key_by_key_and_nothing_is_written(tmp_path):
    changes = {"final_conv.bias": None, "final_conv.weight": torch.zeros(8, 9, 3, 3), "optimizer": torch.zeros(2)}
    result = convert_gfpgan(checkpoint(tmp_path / "a.pth", **changes), tmp_path / "out", SMALL)
    assert not result.fits and result.folder is None
    assert result.lines()[:3] == [
        "missing     final_conv.bias",
        "unexpected  optimizer",
        "shape       final_conv.weight: (8, 9, 3, 3), wanted (8, 8, 3, 3)",
    ]
    assert not (tmp_path / "out").exists()


def test_what_is_not_needed_is_named_and_left_out(tmp_path):
    result = convert_gfpgan(checkpoint(tmp_path / "a.pth", extra=torch.zeros(2)), tmp_path / "out", SMALL)
    assert result.fits and result.lines()[0] == "unexpected  extra"
    Gfpgan.load(tmp_path / "out" / "gfpgan")


def test_a_folder_of_weights_gets_one_component_more(tmp_path):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "ConversationalHeadPipeline", "mesh": ["a", "B"]}))
    convert_gfpgan(checkpoint(tmp_path / "a.pth"), tmp_path, SMALL)
    assert json.loads(index.read_text()) == {
        "_class_name": "ConversationalHeadPipeline",
        "mesh": ["a", "B"],
        "gfpgan": ["pipeline.postprocess.gfpgan", "Gfpgan"],
    }


def test_the_published_sizes_are_wanted_unless_others_are_given(tmp_path):
    result = convert("gfpgan", checkpoint(tmp_path / "small.pth"), tmp_path / "out")
    assert not result.fits and len(result.mismatched) > 50
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_checkpoints(tmp_path):
    (tmp_path / "text.pth").write_text("not a checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"params_ema": Foreign()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name in ("text", "empty", "code", "list", "none", "absent"):
        with pytest.raises(WeightsError, match=f"{name}.pth") as error:
            read_checkpoint(tmp_path / f"{name}.pth")
        assert one_sentence(error.value)


def test_values_that_are_no_numbers(tmp_path):
    path = checkpoint(tmp_path / "a.pth", **{"final_conv.bias": torch.full((8,), float("nan"))})
    with pytest.raises(WeightsError, match="no numbers") as error:
        convert_gfpgan(path, tmp_path / "out", SMALL)
    assert one_sentence(error.value) and not (tmp_path / "out").exists()


def test_places_and_names_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as error:
        convert_gfpgan(checkpoint(tmp_path / "a.pth"), tmp_path / "file", SMALL)
    assert one_sentence(error.value)
    with pytest.raises(InputError, match="gfpgan") as error:
        convert("nothing", tmp_path / "a.pth", tmp_path / "out")
    assert one_sentence(error.value)

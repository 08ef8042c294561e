"""GFPGAN in plain torch: the published names, shapes and count, and what the published network computes."""

from __future__ import annotations

import json

import official_gfpgan
import pytest
import torch
from heads import one_sentence
from safetensors.torch import load_file

from pipeline.errors import WeightsError
from pipeline.hub import find_weights
from pipeline.postprocess.gfpgan import Gfpgan, GfpganConfig

SMALL = GfpganConfig(side=32, style_dim=12, mapping_layers=2, width=16, multiplier=2)


@pytest.fixture(scope="module")
def small() -> Gfpgan:
    network = Gfpgan(SMALL)
    network.load_state_dict(official_gfpgan.random_state(), strict=True)
    return network.eval().requires_grad_(False)


def faces(count: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_it_has_the_parameters_of_the_published_checkpoint():
    with torch.device("meta"):
        network = Gfpgan()
    assert sum(value.numel() for value in network.parameters()) == 86_444_252
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == official_gfpgan.shapes()
    # The published file of version 1.4 has 348,632,874 bytes: four for each value, and its table of contents.
    assert 0 < 348_632_874 - 4 * sum(value.numel() for value in network.state_dict().values()) < 100_000


def test_it_computes_what_the_published_network_computes(small):
    state = official_gfpgan.random_state()
    ours, theirs = small(faces()), official_gfpgan.restore(state, faces())
    assert ours.shape == (2, 3, 32, 32)
    assert theirs.std() > 0.3, "the comparison would say nothing"
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


def test_a_face_comes_out_the_same_alone_and_among_others(small):
    together = small(faces(3))
    alone = torch.cat([small(face[None]) for face in faces(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(small(faces(3)), together), "noise was drawn anew"


def test_strong_styles_do_not_overflow_in_half_precision():
    state = official_gfpgan.random_state()
    state["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"] *= 3e4
    network = Gfpgan(SMALL)
    network.load_state_dict(state)
    whole, half = network(faces()), network.half()(faces().half())
    assert half.isfinite().all()
    assert (whole - half.float()).abs().mean() < 0.02 * whole.std()


def test_what_is_saved_is_loaded(small, tmp_path):
    small.save(tmp_path)
    loaded = Gfpgan.load(tmp_path)
    assert loaded.config == SMALL and not loaded.training
    assert torch.allclose(loaded(faces()), small(faces()), atol=0.02)
    kinds = {value.dtype for value in load_file(tmp_path / "model.safetensors").values()}
    assert kinds == {torch.float16}


def test_it_is_shared_as_other_components_are(small, tmp_path):
    small.save_pretrained(tmp_path)
    again = Gfpgan.from_pretrained(tmp_path)
    assert torch.equal(again(faces()), Gfpgan.load(tmp_path / "gfpgan")(faces()))
    assert find_weights(tmp_path).components == ("gfpgan",)


@pytest.mark.parametrize("damage", ["no file", "other sizes", "no config", "wrong side", "a list"])
def test_damaged_weights_are_one_sentence(small, tmp_path, damage):
    small.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if damage == "no file":
        (tmp_path / "model.safetensors").unlink()
    elif damage == "no config":
        (tmp_path / "config.json").unlink()
    else:
        wrong = {"other sizes": config | {"width": 32}, "wrong side": config | {"side": 100}, "a list": [config]}
        (tmp_path / "config.json").write_text(json.dumps(wrong[damage]))
    with pytest.raises(WeightsError, match="convert gfpgan") as error:
        Gfpgan.load(tmp_path)
    assert one_sentence(error.value)

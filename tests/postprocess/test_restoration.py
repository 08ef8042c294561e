"""Restorations by name, and the sentences where one cannot be had."""

from __future__ import annotations

import json

import numpy as np
import pytest
from heads import one_sentence

from pipeline.errors import InputError, WeightsError
from pipeline.hub import find_weights
from pipeline.postprocess.detail import DetailRestoration
from pipeline.postprocess.gfpgan import Gfpgan, GfpganConfig
from pipeline.postprocess.restoration import RESTORATIONS, load_restoration

TINY = GfpganConfig(side=64, style_dim=8, mapping_layers=1, width=8, multiplier=2)


@pytest.fixture
def with_gfpgan(tmp_path):
    Gfpgan(TINY).save(tmp_path / "gfpgan")
    (tmp_path / "model_index.json").write_text(json.dumps({"gfpgan": ["pipeline.postprocess.gfpgan", "Gfpgan"]}))
    return find_weights(tmp_path)


def test_by_name(astronaut, with_gfpgan):
    assert RESTORATIONS == ("none", "detail", "gfpgan")
    assert load_restoration("none", with_gfpgan, astronaut) is None
    assert isinstance(load_restoration("detail", with_gfpgan, astronaut), DetailRestoration)
    assert load_restoration("detail", with_gfpgan, astronaut).warnings == ()
    with pytest.raises(InputError, match="'sharpen'") as error:
        load_restoration("sharpen", with_gfpgan, astronaut)
    assert one_sentence(error.value)


def test_gfpgan_restores_frames_with_weights_from_a_folder(astronaut, motion, with_gfpgan):
    restoration = load_restoration("gfpgan", with_gfpgan, astronaut)
    assert all(one_sentence(text) for text in restoration.warnings)
    frames = [astronaut.image.copy() for _ in range(2)]
    out = list(restoration.start()(iter(frames), motion[:2]))
    changed = (out[0] != astronaut.image).any(-1)
    assert 0.005 < changed.mean() < 0.2, "the face, and not much more"
    again = load_restoration("gfpgan", with_gfpgan, astronaut)
    frames = [astronaut.image.copy() for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(again.start()(iter(frames), motion[:2]), out, strict=True))


def test_without_weights_a_sentence_says_how_to_get_them(astronaut, with_gfpgan):
    with pytest.raises(WeightsError, match="python -m pipeline convert gfpgan") as error:
        load_restoration("gfpgan", find_weights(), astronaut)
    assert "detail" in str(error.value) and one_sentence(error.value)


def test_damaged_weights_are_one_sentence(astronaut, with_gfpgan):
    (with_gfpgan.component("gfpgan") / "config.json").write_text("{}")
    with pytest.raises(WeightsError) as error:
        load_restoration("gfpgan", with_gfpgan, astronaut)
    assert one_sentence(error.value)

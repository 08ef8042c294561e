"""Every renderer through the same tests: what a clip may rely on whichever draws it."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, WeightsError
from pipeline.hub import EMBEDDED, Weights, find_weights
from pipeline.renderers import RENDERERS, load_renderer
from pipeline.renderers.headgan import HeadGAN
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.renderers.pirenderer import PIRendererNetwork
from pipeline.renderers.pirenderer_networks import PIRendererConfig


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    """Tiny random networks for the renderers that have no embedded weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("renderers")
    HeadGAN(HeadGANConfig(size=32, width=4, sound_dim=4, hidden=8)).save(folder / "headgan")
    small = PIRendererConfig(size=64, descriptor=8, warping_width=4, editing_width=4, most=8)
    PIRendererNetwork(small).save(folder / "pirenderer")
    (folder / "model_index.json").write_text(json.dumps({"headgan": [], "pirenderer": []}))
    return find_weights(folder)


@pytest.fixture(params=sorted(RENDERERS))
def name(request) -> str:
    return request.param


@pytest.fixture
def clip(portraits) -> Coefficients:
    """Six frames: the head turns, the mouth opens."""
    own = portraits["woman_curls"].coefficients
    line = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    opening = portraits["woman_curls"].model.direction("lip_opening").astype(np.float32)
    pose = own.pose + line * np.array([0.05, 0.2, 0.05, 0.02, 0, 0.03], np.float32)
    return Coefficients(own.expression + 0.08 * line * opening, pose, np.repeat(own.crop, 6, 0))


def test_frames_are_as_many_and_as_large_as_they_should_be(name, weights, portraits, clip):
    portrait = portraits["woman_curls"]
    before = portrait.image.copy()
    frames = list(load_renderer(name, weights, portrait).render(clip))
    assert len(frames) == len(clip)
    assert all(frame.shape == portrait.image.shape and frame.dtype == np.uint8 for frame in frames)
    assert len({frame.ctypes.data for frame in frames}) == len(frames), "frames should not share memory"
    assert np.array_equal(portrait.image, before), "the portrait was drawn on"
    assert frames[-1].std() > 5, "no black frame"
    assert not np.array_equal(frames[0], frames[-1])


def test_the_same_coefficients_give_the_same_frames(name, weights, portraits, clip):
    portrait = portraits["woman_curls"]
    renderer = load_renderer(name, weights, portrait)
    first, second = (list(renderer.render(clip)) for _ in range(2))
    other = list(load_renderer(name, weights, portrait).start()(clip))
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(first, second, other, strict=True))


def test_no_frame_is_lost_between_chunks(name, weights, portraits, clip):
    draw = load_renderer(name, weights, portraits["woman_curls"]).start()
    counts = [len(list(draw(clip[a:b]))) for a, b in ((0, 1), (1, 1), (1, 6))]
    assert counts == [1, 0, 5]


def test_what_is_far_from_the_head_stays(name, weights, portraits, clip):
    portrait = portraits["astronaut"]
    own = portrait.coefficients
    moved = Coefficients(*(np.repeat(part, 6, 0) for part in (own.expression, own.pose, own.crop)))
    frame = list(load_renderer(name, weights, portrait).render(moved))[-1]
    height, width = frame.shape[:2]
    x, y = own.crop[0, :2] * (width, height)
    reach = 1.3 * own.crop[0, 2] * height
    rows, columns = np.mgrid[:height, :width]
    far = np.maximum(abs(rows - y), abs(columns - x)) > reach
    assert far.sum() > 1000 and np.array_equal(frame[far], portrait.image[far])


def test_a_renderer_without_weights_and_one_that_is_none(portraits, tmp_path):
    for name in ("headgan", "pirenderer"):
        with pytest.raises(WeightsError, match=name) as error:
            load_renderer(name, Weights(EMBEDDED, ()), portraits["statue"])
        assert one_sentence(error.value)
    with pytest.raises(InputError, match="no renderer 'oil'") as error:
        load_renderer("oil", Weights(EMBEDDED, ()), portraits["statue"])
    assert one_sentence(error.value)


def test_damaged_weights_are_one_sentence(weights, portraits, tmp_path):
    for name in ("headgan", "pirenderer"):
        shutil.copytree(weights.folder / name, tmp_path / name)
        (tmp_path / name / "model.safetensors").write_bytes(b"broken")
        with pytest.raises(WeightsError) as error:
            load_renderer(name, Weights(tmp_path, ()), portraits["statue"])
        assert one_sentence(error.value)


def test_the_pipeline_talks_with_every_renderer(name, weights, portraits, voice):
    """By name, and as often as one likes: what a renderer remembers of one run does not reach the next."""
    from pipeline.conversation import ConversationalHeadPipeline

    clip = ConversationalHeadPipeline(weights).talk(portraits["statue"], voice, renderer=name)
    assert clip.settings["renderer"] == name
    first, second = (list(itertools.islice(clip.frames, 4)) for _ in range(2))
    assert len(first) == 4 and first[0].shape == portraits["statue"].image.shape
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

"""Every renderer through the same tests: what a clip may rely on whichever draws it."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.devices import MOST_FRAMES, Runtime
from pipeline.errors import Cancelled, InputError, WeightsError
from pipeline.face.portrait import Portrait
from pipeline.hub import EMBEDDED, Weights, find_weights
from pipeline.renderers import RENDERERS, load_renderer, mesh, renderers_with_weights
from pipeline.renderers.headgan import HeadGAN
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.renderers.pirenderer import PIRendererNetwork
from pipeline.renderers.pirenderer_networks import PIRendererConfig

ROUNDING = 3  # grey levels: batches add up in another order, and random networks with normalisations make much of it


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    """Tiny random networks for the renderers that have no embedded weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("renderers")
    HeadGAN(HeadGANConfig(size=32, width=4, sound_dim=4, hidden=8)).save(folder / "headgan")
    small = PIRendererConfig(size=64, descriptor=8, warping_width=4, editing_width=4, most=8)
    PIRendererNetwork(small).save(folder / "pirenderer")
    names = ["headgan", "pirenderer"]
    if "refiner" in RENDERERS:
        names.append("refiner")
        _lively_refiner().save(folder / "refiner")
    (folder / "model_index.json").write_text(json.dumps({key: [] for key in names}))
    return find_weights(folder)


def _lively_refiner():
    """Random too, and such that it corrects something: as it is made, it changes nothing."""
    from pipeline.renderers.refiner import Refiner
    from pipeline.renderers.refiner_network import RefinerNetwork

    network = RefinerNetwork(seen=4, made=6, hidden=8, members=1)
    torch.nn.init.normal_(network.answer_basis, std=0.02)
    return Refiner(network)


@pytest.fixture(scope="module")
def talker(weights) -> ConversationalHeadPipeline:
    """The pipeline with those networks."""
    return ConversationalHeadPipeline(weights)


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


def batched(monkeypatch, frames: int, renderer) -> None:
    """Have a renderer work on so many frames at once."""
    monkeypatch.setattr(mesh, "_BATCH", frames)
    if hasattr(renderer, "runtime"):
        monkeypatch.setattr(renderer.runtime, "batch", lambda bytes_each: frames)


def far_apart(one: list[np.ndarray], other: list[np.ndarray]) -> int:
    """The largest difference of any pixel, in grey levels."""
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(one, other, strict=True))


def test_one_frame_at_a_time_is_the_same_as_many(name, weights, portraits, clip, monkeypatch):
    """Long enough that what a renderer remembers of the first frames is no longer there at the last."""
    long = Coefficients.concatenate([clip, clip])
    renderer = load_renderer(name, weights, portraits["woman_curls"])
    frames = []
    for size in (1, 5, MOST_FRAMES):
        batched(monkeypatch, size, renderer)
        frames.append(list(renderer.render(long)))
    assert far_apart(frames[0], frames[1]) <= ROUNDING and far_apart(frames[0], frames[2]) <= ROUNDING


@pytest.mark.parametrize("size", [(64, 96), (130, 90), (320, 320)])
def test_portraits_of_any_size_and_shape(name, size, weights, portraits, pipe):
    portrait = portraits["statue"]
    width, height = size
    picture = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA)
    stretch = np.float32([width / portrait.size[0], height / portrait.size[1], height / portrait.size[1]])
    other = Portrait.fit(picture, portrait.landmarks * stretch, cv2.resize(portrait.alpha, size), pipe.model)
    (frame,) = load_renderer(name, weights, other).render(other.coefficients)
    assert frame.shape == (height, width, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous
    assert np.ptp(frame) > 20


def test_a_clip_that_is_stopped_leaves_nothing_and_the_next_one_is_whole(name, talker, portraits, voice, tmp_path):
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "rendering" and done == 3:
            raise Cancelled

    before = threading.active_count()
    with pytest.raises(Cancelled):
        talker.talk(portraits["statue"], voice, renderer=name, progress=stop).save(tmp_path / "clip.mp4")
    gc.collect()  # what drew it goes with it
    assert not list(tmp_path.iterdir()) and threading.active_count() <= before + 1
    renderer = load_renderer(name, talker.weights, portraits["statue"])
    own = portraits["statue"].coefficients
    still = Coefficients(*(np.repeat(part, 12, 0) for part in (own.expression, own.pose, own.crop)))
    (whole, part) = (renderer.render(still) for _ in range(2))
    first = next(part)
    part.close()
    assert np.array_equal(next(whole), first) and len(list(whole)) == 11


def networks(weights, portraits, monkeypatch, runtime: Runtime) -> list:
    """The renderers that draw by a network alone, with a given runtime."""
    monkeypatch.setattr(Runtime, "best", lambda: replace(runtime))
    found = [load_renderer(name, weights, portraits["woman_curls"]) for name in sorted(RENDERERS)]
    return [renderer for renderer in found if hasattr(renderer, "runtime")]


def test_half_precision_looks_the_same_and_its_overflow_is_not_seen(weights, portraits, clip, monkeypatch):
    full, half, broken = (
        networks(weights, portraits, monkeypatch, Runtime(dtype=dtype))
        for dtype in (torch.float32, torch.float16, torch.float16)
    )
    assert len(full) >= 2
    for exact, rough, overflowing in zip(full, half, broken, strict=True):
        wanted = list(exact.render(clip))
        close = list(rough.render(clip))
        assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(wanted, close, strict=True)]) < 1

        last = [part for part in overflowing._network.modules() if isinstance(part, torch.nn.Conv2d)][-1]
        redone = []

        def overflow(x, forward=last.forward, redone=redone):
            redone.append(not torch.is_autocast_enabled("cpu"))
            return forward(x) if redone[-1] else forward(x) * float("inf")

        last.forward = overflow  # what follows squashes it, so that no infinite value comes out
        assert far_apart(wanted, list(overflowing.render(clip))) <= ROUNDING
        assert redone.count(True) >= len(clip), "each frame should have been computed again"


def test_a_clip_goes_on_when_memory_runs_out(weights, portraits, clip, monkeypatch):
    for renderer in networks(weights, portraits, monkeypatch, Runtime()):
        wanted = list(renderer.render(clip))
        made = renderer.runtime._finite

        def finite(part, network, made=made):
            if part.stop - part.start > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return made(part, network)

        monkeypatch.setattr(renderer.runtime, "_finite", finite)
        assert far_apart(wanted, list(renderer.render(clip))) <= ROUNDING


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
    embedded = Weights(EMBEDDED, ())
    lacking = sorted(set(RENDERERS) - set(renderers_with_weights(embedded)))
    assert {"headgan", "pirenderer"} <= set(lacking) and "mesh" not in lacking
    for name in lacking:
        with pytest.raises(WeightsError, match=name) as error:
            load_renderer(name, embedded, portraits["statue"])
        assert one_sentence(error.value)
    with pytest.raises(InputError, match="no renderer 'oil'") as error:
        load_renderer("oil", embedded, portraits["statue"])
    assert one_sentence(error.value)


def test_damaged_weights_are_one_sentence(weights, portraits, tmp_path):
    for name in ("headgan", "pirenderer"):
        shutil.copytree(weights.folder / name, tmp_path / name)
        (tmp_path / name / "model.safetensors").write_bytes(b"broken")
        with pytest.raises(WeightsError) as error:
            load_renderer(name, Weights(tmp_path, ()), portraits["statue"])
        assert one_sentence(error.value)


def test_the_pipeline_talks_with_every_renderer(name, talker, portraits, voice):
    """By name, and as often as one likes: what a renderer remembers of one run does not reach the next."""
    clip = talker.talk(portraits["statue"], voice, renderer=name)
    assert clip.settings["renderer"] == name
    first, second = (list(itertools.islice(clip.frames, 4)) for _ in range(2))
    assert len(first) == 4 and first[0].shape == portraits["statue"].image.shape
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

"""PIRenderer: names and shapes of the published checkpoint, the converter, the bridge to Basel, and training."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import one_sentence
from scipy.io import savemat

from pipeline.coefficients import Coefficients
from pipeline.converters.pirenderer import PUBLISHED, convert
from pipeline.devices import Runtime
from pipeline.errors import WeightsError
from pipeline.face import topology
from pipeline.face.geometry import rotation_matrices
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED, find_weights
from pipeline.renderers.basel import PAIRS, BaselBridge, BaselModel
from pipeline.renderers.neural import HeadWindow
from pipeline.renderers.pirenderer import BRIDGE, PIRenderer, PIRendererNetwork, own_rows
from pipeline.renderers.pirenderer_networks import PIRendererConfig, PIRendererNetworks, moved
from pipeline.training.perceptual import Perceptual
from pipeline.training.pirenderer import PIRendererCourse, Settings, draw, lesson_rows, sheet
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.renderer_training import Options, train

SMALL = PIRendererConfig(size=64, descriptor=8, warping_width=4, editing_width=4, most=8)
CPU = Runtime()
PLACE = np.array([10.0, 8.0, 80.0, 100.0, 100.0])


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def turning(coefficients: Coefficients, frames: int) -> Coefficients:
    """The head turns and nods, the face moves."""
    line = np.linspace(0, 1, frames).astype(np.float32)[:, None]
    pose = coefficients.pose[:1] + line * np.array([0.1, 0.25, -0.1, 0.05, -0.03, 0.08], np.float32)
    beta = coefficients.expression[:1] + line * np.random.default_rng(4).normal(0, 0.6, 64).astype(np.float32)
    return Coefficients(beta, pose, np.repeat(coefficients.crop[:1], frames, 0))


# --- networks -------------------------------------------------------------------------------------------------------


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes as RenYurui/PIRender's config/face.yaml makes them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0],)

    def adain(name: str, channels: int) -> None:
        layer(f"{name}.mlp_shared.0", 128, 256)
        layer(f"{name}.mlp_gamma", channels, 128)
        layer(f"{name}.mlp_beta", channels, 128)

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels, 1, 1)

    layer("mapping_net.first.0", 256, 73, 7)
    for i in range(3):
        layer(f"mapping_net.encoder{i}.1", 256, 256, 3)
    way = "warpping_net.hourglass"
    layer(f"{way}.encoder.input_layer", 32, 3, 7, 7)
    for i, (a, b) in enumerate(((32, 64), (64, 128), (128, 256), (256, 256), (256, 256))):
        block = f"{way}.encoder.encoder{i}"
        layer(f"{block}.conv_0", b, a, 4, 4)
        layer(f"{block}.conv_1", b, b, 3, 3)
        adain(f"{block}.norm_0", a)
        adain(f"{block}.norm_1", b)
    for i, a, b in ((4, 256, 256), (3, 512, 256), (2, 512, 128)):
        block = f"{way}.decoder.decoder{i}"
        layer(f"{block}.conv_0", b, a, 3, 3)
        for name, inputs in (("conv_1", b), ("conv_s", a)):  # transposed: inputs come first
            shapes[f"{block}.{name}.weight"], shapes[f"{block}.{name}.bias"] = (inputs, b, 3, 3), (b,)
        for name, channels in (("norm_0", a), ("norm_1", b), ("norm_s", a)):
            adain(f"{block}.{name}", channels)
    norm("warpping_net.flow_out.0", 256)
    layer("warpping_net.flow_out.2", 2, 256, 7, 7)
    layer("editing_net.encoder.first.model.0", 64, 6, 7, 7)
    norm("editing_net.encoder.first.model.1", 64)
    for i, (a, b) in enumerate(((64, 128), (128, 256), (256, 256))):
        layer(f"editing_net.encoder.down{i}.model.0", b, a, 3, 3)
        norm(f"editing_net.encoder.down{i}.model.1", b)
    for i, a, b in ((2, 256, 256), (1, 256, 128), (0, 128, 64)):
        decoder = "editing_net.decoder"
        for name, inputs in ((f"up{i}", a), (f"jump{i}", b)):
            layer(f"{decoder}.{name}.model.0", b, inputs, 3, 3)
            norm(f"{decoder}.{name}.model.1", b)
        for block in (f"{decoder}.res{i}.res0", f"{decoder}.res{i}.res1"):
            for part in ("1", "2"):
                layer(f"{block}.conv{part}", a, a, 3, 3)
                adain(f"{block}.norm{part}", a)
    layer("editing_net.decoder.final.model.0", 3, 64, 7, 7)
    return shapes


def test_parameters_have_the_published_names_and_shapes():
    with torch.device("meta"):
        network = PIRendererNetworks(PUBLISHED)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == published_shapes()


def test_sizes_on_the_way():
    with torch.device("meta"):
        network = PIRendererNetworks()
        portrait, windows = torch.empty(2, 3, 256, 256), torch.empty(2, 73, 27)
        descriptor = network.mapping_net(windows)
        features = network.warpping_net.hourglass.encoder(portrait, descriptor)
        flow = network.warpping_net.flow_out(network.warpping_net.hourglass(portrait, descriptor))
    assert descriptor.shape == (2, 256) and flow.shape == (2, 2, 64, 64)
    assert [tuple(f.shape[1:]) for f in features] == [
        (32, 256, 256), (64, 128, 128), (128, 64, 64), (256, 32, 32), (256, 16, 16), (256, 8, 8)
    ]  # fmt: skip


def test_what_is_moved_in_goes_on_at_the_rim():
    """Huang 2022 §4.3: holes at the border are filled with the border, not with black."""
    picture = torch.ones(1, 3, 32, 32)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = -4
    assert moved(picture, flow).min() > 0.99
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    still, shifted = moved(ramp, torch.zeros_like(flow)), moved(ramp, flow)
    assert (still - ramp).abs().max() < 0.15, "as published: the corners of flow and picture differ by half a pixel"
    assert shifted.mean() < still.mean() - 0.5 and shifted.min() >= -1, "from further left, and never beyond"


def test_the_published_blocks_forget_their_first_convolution():
    torch.manual_seed(0)
    for plain in (False, True):
        network = PIRendererNetworks(replace(SMALL, plain_blocks=plain))
        inputs = torch.rand(1, 3, 64, 64), torch.rand(1, 73, 27)
        with torch.no_grad():
            before = network(*inputs).image
            network.editing_net.decoder.res1.res0.conv1.weight.add_(1.0)
            changed = (network(*inputs).image - before).abs().max() > 1e-6
        assert changed == plain


# --- renderer -------------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(1)
    return PIRendererNetwork(SMALL).eval().requires_grad_(False)


def test_frames_follow_the_coefficients_around_them(portraits, network):
    portrait = portraits["statue"]
    clip = turning(portrait.coefficients, 30)
    frames = list(PIRenderer(portrait, network, CPU).render(clip))
    assert len(frames) == 30 and all(f.shape == portrait.image.shape and f.dtype == np.uint8 for f in frames)
    assert not np.array_equal(frames[0], frames[29])
    draw = PIRenderer(portrait, network, replace(CPU, memory=1)).start()
    parts = [*draw(clip[:20]), *draw(clip[20:])]
    difference = [np.abs(a.astype(int) - b).max() for a, b in zip(frames, parts, strict=True)]
    assert max(difference[:7]) <= 1, "13 frames ahead are seen, and no more"
    assert max(difference[20:]) <= 1, "what went before is remembered"
    assert list(draw(clip[:0])) == []


def test_our_coefficients_are_told_as_in_the_window(portraits):
    portrait = portraits["astronaut"]
    window = HeadWindow.of(portrait, 64)
    rows = own_rows(turning(portrait.coefficients, 3), window, portrait.size)
    assert rows.shape == (3, 73) and rows.dtype == np.float32
    own = portrait.coefficients.crop[0] * (*portrait.size, portrait.size[1])
    wanted = [*((own[:2] - (window.left, window.top)) / window.side), own[2] / window.side]
    assert np.allclose(rows[:, 70:], wanted, atol=1e-4) and 0.3 < rows[0, 70] < 0.7
    assert np.array_equal(rows[:, :64], turning(portrait.coefficients, 3).expression)


def test_weights_come_back_with_their_bridge(network, tmp_path):
    network.bridge = BaselBridge(*(np.eye(64),) * 2, *(np.ones(2),) * 6)
    network.save(tmp_path)
    again = PIRendererNetwork.from_pretrained(tmp_path)
    assert again.config == SMALL and np.array_equal(again.bridge.forward, np.eye(64))
    inputs = torch.rand(1, 3, 64, 64), torch.rand(1, 73, 27)
    assert (again(*inputs).image - network(*inputs).image).abs().max() < 0.02
    (tmp_path / BRIDGE).write_bytes(b"no")
    with pytest.raises(WeightsError, match="solve it again") as error:
        PIRendererNetwork.load(tmp_path)
    assert one_sentence(error.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="PIRenderer's weights") as error:
        PIRendererNetwork.load(tmp_path)
    assert one_sentence(error.value)


# --- the published checkpoint ---------------------------------------------------------------------------------------


def checkpoint(path, change=lambda state: state, key: str = "net_G_ema", prefix: str = "") -> PIRendererNetworks:
    """A checkpoint in the published one's layout, of small networks."""
    torch.manual_seed(2)
    network = PIRendererNetworks(replace(SMALL, basis="basel", plain_blocks=False))
    state = change(OrderedDict((prefix + name, value) for name, value in network.state_dict().items()))
    torch.save({key: state, "opt_G": {"step": 3}, "current_epoch": 190, "current_iteration": 400_000}, path)
    return network


@pytest.mark.parametrize(("key", "prefix"), [("net_G_ema", ""), ("net_G", "module.")])
def test_a_checkpoint_is_converted_strictly(tmp_path, key, prefix):
    source = checkpoint(tmp_path / "face.pt", key=key, prefix=prefix)
    config = replace(SMALL, basis="basel", plain_blocks=False)
    report = convert(tmp_path / "face.pt", tmp_path / "weights", config)
    assert report.fits and not report.unexpected and len(report.converted) == len(source.state_dict())
    folder = find_weights(tmp_path / "weights").component("pirenderer")
    loaded = PIRendererNetwork.load(folder)
    assert loaded.config == config
    inputs = torch.rand(1, 3, 64, 64), torch.rand(1, 73, 27)
    with torch.no_grad():
        assert (loaded(*inputs).image - source.eval()(*inputs).image).abs().max() < 0.02
    assert "non-commercial" in (folder / "README.md").read_text()
    assert json.loads((tmp_path / "weights/model_index.json").read_text())["pirenderer"][1] == "PIRendererNetwork"


def test_a_checkpoint_that_does_not_fit_is_reported_key_by_key(tmp_path):
    def change(state):
        state["extra.weight"] = torch.zeros(1)
        state["mapping_net.first.0.bias"] = torch.zeros(3)
        del state["editing_net.decoder.final.model.0.bias"]
        return state

    checkpoint(tmp_path / "face.pt", change)
    report = convert(tmp_path / "face.pt", tmp_path / "weights", replace(SMALL, plain_blocks=False))
    assert not report.fits and report.unexpected == ("extra.weight",)
    assert report.missing == ("editing_net.decoder.final.model.0.bias",)
    assert report.mismatched == {"mapping_net.first.0.bias": ((3,), (8,))}
    assert not (tmp_path / "weights").exists()
    checkpoint(tmp_path / "nan.pt", lambda state: {name: value * float("nan") for name, value in state.items()})
    with pytest.raises(WeightsError, match="no numbers") as error:
        convert(tmp_path / "nan.pt", tmp_path / "weights", replace(SMALL, plain_blocks=False))
    assert one_sentence(error.value)


# --- the bridge to Basel --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(EMBEDDED / "face")


@pytest.fixture(scope="module")
def basel_folder(model, tmp_path_factory):
    """A model like Basel's made of ours: another frame and unit, a finer mesh, expressions mixed."""
    folder = tmp_path_factory.mktemp("BFM")
    random = np.random.default_rng(0)
    triangles = topology.triangles()

    def finer(points: np.ndarray) -> np.ndarray:
        points = points[: topology.MESH_POINTS]
        return np.concatenate([points, points[triangles].mean(1), points[triangles[:, :2]].mean(1)])

    frame = rotation_matrices(np.array([0.12, 0.0, 0.0])) @ np.diag([1.0, -1, -1])
    mean = 1.9 * finer(model.mean.astype(float)) @ frame.T + (0.1, 0.3, -0.2)
    mixing = np.linalg.qr(random.normal(size=(64, 64)))[0] * random.uniform(0.6, 1.5, 64)
    moves = 1.9 * np.einsum("ij,vjk->vik", frame, finer(model.expression_basis.astype(float))) @ mixing
    landmarks = np.zeros(68, int)
    landmarks[PAIRS[:, 0]] = PAIRS[:, 1]
    arrays = {"meanshape": mean.reshape(1, -1), "exBase": moves.reshape(-1, 64), "keypoints": landmarks[None] + 1}
    savemat(folder / "BFM_model_front.mat", arrays)
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": (mean - mean.mean(0))[landmarks]})
    return folder


def test_a_face_bridged_to_basel_lies_where_ours_does(model, basel_folder, portraits):
    """Basel's face, seen through its own camera and alignment, falls on ours."""
    basel = BaselModel.read(basel_folder)
    bridge = BaselBridge.solve(model, basel)
    portrait = portraits["statue"]
    window = HeadWindow.of(portrait, 256)
    clip = turning(portrait.coefficients, 4)
    rows = bridge.to_basel(clip, window, portrait.size).astype(float)
    assert rows.shape == (4, 73)
    ours = model.project(model.mean + model.offsets(clip.expression), clip.pose, clip.crop, portrait.size)
    ours = window.points(ours[:, : topology.MESH_POINTS, :2])
    for row, wanted in zip(rows, ours, strict=True):
        shape = basel.mean + basel.expression @ row[:64]
        seen = shape @ rotation_matrices(row[64:67]).T + row[67:70]
        crop = 1015 * seen[:, :2] / (10 - seen[:, 2:]) + 112
        picture = (crop - 112) / row[70] + row[71:73]
        picture[:, 1] = 255 - picture[:, 1]
        error = np.linalg.norm(picture[: topology.MESH_POINTS] - wanted, axis=1)
        # The camera is a perspective one, ours is not: what lies nearer is a little larger.
        assert error.mean() < 2.5 and error.max() < 9


def test_expressions_go_to_basel_and_back(model, basel_folder, portraits, tmp_path):
    bridge = BaselBridge.solve(model, BaselModel.read(basel_folder))
    bridge.save(tmp_path / BRIDGE)
    bridge = BaselBridge.load(tmp_path / BRIDGE)
    portrait = portraits["woman_curls"]
    window = HeadWindow.of(portrait, 256)
    clip = turning(portrait.coefficients, 5)
    rows = bridge.to_basel(clip, window, portrait.size)
    back = bridge.from_basel(rows, window, portrait.size, clip.crop[0])
    assert np.abs(back.pose - clip.pose).max() < 2e-3
    moved_by = model.offsets(clip.expression)[:, : topology.MESH_POINTS]
    error = np.abs(model.offsets(back.expression)[:, : topology.MESH_POINTS] - moved_by).mean()
    assert error < 0.1 * np.abs(moved_by).mean()
    turned = bridge.to_basel(turning(portrait.coefficients, 2), window, portrait.size)[:, 64:67]
    # Basel's axes: y up and z towards the viewer, so yaw and roll change their sign.
    assert np.allclose(np.diff(turned, axis=0)[0], [0.1, -0.25, 0.1], atol=0.06)


def test_published_weights_need_the_bridge(portraits, basel_folder, model, tmp_path):
    network = PIRendererNetwork(replace(SMALL, basis="basel")).eval()
    with pytest.raises(WeightsError, match="Basel") as error:
        PIRenderer(portraits["statue"], network, CPU)
    assert one_sentence(error.value)
    network.bridge = BaselBridge.solve(model, BaselModel.read(basel_folder))
    renderer = PIRenderer(portraits["statue"], network, CPU)
    assert len(list(renderer.render(turning(portraits["statue"].coefficients, 2)))) == 2
    with pytest.raises(WeightsError, match="Basel") as error:
        BaselModel.read(tmp_path)
    assert one_sentence(error.value)


# --- training -------------------------------------------------------------------------------------------------------


def lesson_of_squares(size: int = 64, frames: int = 12) -> RendererLesson:
    """A bright square on grey whose place the pose tells."""
    pictures = np.full((frames, size, size, 3), 90, np.uint8)
    rows = [np.zeros((frames, width), np.float32) for width in (64, 6, 3)]
    for i in range(frames):
        pictures[i, 16:40, 8 + 2 * i : 32 + 2 * i] = (230, 180, 40)
        rows[1][i, 3] = 0.06 * (i - frames / 2)
    rows[2][:] = (0.5, 0.5, 0.4)
    faces, mouth = np.zeros((frames, 3, size, size), np.uint8), np.zeros((frames, 2), np.float32)
    return RendererLesson("squares", pictures, faces, mouth, Coefficients(*rows), np.zeros((0, 1), np.float32), PLACE)


def test_pairs_go_both_ways():
    lesson, random = lesson_of_squares(), np.random.default_rng(0)
    assert np.allclose(lesson_rows(lesson)[:, 70:], [0.5, 0.525, 0.5])
    for _ in range(3):
        pair = draw(lesson, random)
        source, target = pair["source"], pair["target"]
        assert source.shape == (2, 64, 64, 3) and pair["windows"].shape == (2, 73, 27)
        assert np.array_equal(source[0], target[1]) and np.array_equal(source[1], target[0])
        for picture, told in zip(target, pair["windows"], strict=True):
            frame = round(float(told[67, 13]) / 0.6 + 6)
            assert np.flatnonzero(picture[20, :, 0] > 191)[0] == 8 + 2 * frame, "the window's middle is the frame"


def test_training_learns_to_move_the_square(tmp_path):
    torch.manual_seed(0)
    lesson, history = lesson_of_squares(), []
    course = PIRendererCourse(PIRendererNetwork(SMALL), Settings(learning_rate=4e-3, warping_share=0.2), Perceptual())
    options = Options(tmp_path, steps=30, batch=3, log_every=1, device="cpu")
    train(course, [lesson], options, lambda step, losses: history.append(losses))
    assert "painted" not in history[0] and history[-1]["style"] == 0, "the warping learns first"
    painted = [losses["painted"] for losses in history if "painted" in losses]
    assert len(painted) == 24 and np.mean(painted[-3:]) < 0.6 * np.mean(painted[:2])
    assert sheet(course.network, lesson, [0, 11]).shape == (128, 4 * 64, 3)

"""HeadGAN: the paper's tables, its driving pictures, the renderer's manners, and training that learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime
from pipeline.errors import WeightsError
from pipeline.face import topology
from pipeline.renderers.headgan import HeadGAN, HeadGANRenderer
from pipeline.renderers.headgan_networks import Block, Encoder, HeadGANConfig, HeadGANNetwork, warp
from pipeline.renderers.neural import FaceImages, HeadWindow, to_pictures, to_tensor
from pipeline.training import discriminators
from pipeline.training.headgan import HeadGANCourse, Settings, draw, mouth_crop, pixels, sheet
from pipeline.training.perceptual import VGG19, Perceptual
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.renderer_training import Options, train

SMALL = HeadGANConfig(size=32, width=4, sound_dim=6, hidden=8)
CPU = Runtime()
PLACE = np.array([10.0, 8.0, 80.0, 100.0, 100.0])


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def moved(coefficients: Coefficients, frames: int, **change: float) -> Coefficients:
    """Frames from the portrait's own coefficients to changed ones; `yaw`, `right` or `jaw` (β along its direction)."""
    line = np.linspace(0, 1, frames)[:, None].astype(np.float32)
    expression = np.repeat(coefficients.expression[:1], frames, 0)
    pose, crop = (np.repeat(part[:1], frames, 0) for part in (coefficients.pose, coefficients.crop))
    pose[:, 1:2] += line * change.get("yaw", 0)
    pose[:, 3:4] += line * change.get("right", 0)
    expression += line * change.get("beta", np.zeros(64, np.float32))
    return Coefficients(expression, pose, crop)


# --- networks -------------------------------------------------------------------------------------------------------


def test_blocks_have_the_sizes_of_tables_2_and_3():
    with torch.device("meta"):
        network = HeadGANNetwork()
        inputs = [torch.empty(1, channels, 256, 256) for channels in (9, 3, 3)]
        sound = torch.empty(1, 300)
    sizes: dict[str, list[tuple[int, ...]]] = {"flow": [], "rendering": []}
    for part, seen in sizes.items():
        modules = list(getattr(network, part).modules())
        layers = [layer for module in modules if isinstance(module, Encoder) for layer in module.layers]
        for module in [*layers, *(module for module in modules if isinstance(module, Block))]:
            module.register_forward_hook(lambda *a, seen=seen: seen.append(tuple(a[2].shape[1:])))
    made = network(*inputs, sound)
    down = [(32, 256, 256), (128, 128, 128), (512, 64, 64)]
    assert sizes["flow"] == [*down, *[(512, 64, 64)] * 3, (128, 128, 128)]
    assert sizes["rendering"] == [*down, *[(512, 64, 64)] * 2, *[(128, 128, 128)] * 2, *[(32, 256, 256)] * 3]
    assert made.flow.shape == (1, 2, 256, 256) and made.image.shape == made.warped.shape == (1, 3, 256, 256)
    assert network.flow.encoder.layers[0][0].weight.shape == (32, 6, 7, 7)
    assert network.rendering.encoder.layers[0][0].weight.shape == (32, 9, 7, 7)
    assert network.rendering.leave.weight.shape == (3, 32, 7, 7) and network.flow.leave.weight.shape == (2, 32, 7, 7)


def test_a_flow_says_where_pixels_come_from():
    picture = torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    assert torch.allclose(warp(picture, flow), picture, atol=1e-4)
    flow[:, 0] = 3
    shifted = warp(picture, flow)
    assert torch.allclose(shifted[..., :5], picture[..., 3:], atol=1e-4)
    assert torch.allclose(shifted[..., 5:], picture[..., 7:].expand(1, 1, 8, 3), atol=1e-4), "the rim goes on"
    flow[:, 0], flow[:, 1] = 0, -2
    assert torch.allclose(warp(picture, flow)[..., 2:, :], picture[..., :6, :], atol=1e-4)


def test_the_picture_depends_on_every_input():
    torch.manual_seed(0)
    network = HeadGANNetwork(SMALL).eval()
    faces, reference, face, sound = torch.rand(1, 9, 32, 32), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), None
    with torch.no_grad():
        base = network(faces, reference, face, sound).image
        assert torch.equal(base, network(faces, reference, face, network.sound_mean[None]).image), (
            "no sound is the mean"
        )
        past = torch.cat([1 - faces[:, :3], faces[:, 3:]], 1)
        others = [
            (past, reference, face, sound),
            (faces, 1 - reference, face, sound),
            (faces, reference, 1 - face, sound),
        ]
        others.append((faces, reference, face, torch.ones(1, 6)))
        for inputs in others:
            assert (network(*inputs).image - base).abs().max() > 1e-5
    assert base.abs().max() <= 1


# --- driving pictures -----------------------------------------------------------------------------------------------


def test_a_part_of_the_face_keeps_its_colour(portraits):
    portrait = portraits["statue"]
    faces = FaceImages(portrait, HeadWindow.of(portrait, 128))
    turned = moved(portrait.coefficients, 2, yaw=-0.35, right=0.1)
    drawn, points = faces(turned), faces.points(turned)
    assert drawn.shape == (2, 3, 128, 128) and drawn.min() == 0 and 0.9 < drawn.max() <= 1
    nose = np.rint(points[:, 4]).astype(int)
    assert np.linalg.norm(nose[1] - nose[0]) > 5
    colours = [drawn[i, :, y, x] for i, (x, y) in enumerate(nose)]
    assert np.abs(colours[0] - colours[1]).max() < 0.06
    assert drawn[:, :, :4].max() == 0, "where no face is, it is black"
    # x grows to the right of the face, y downwards, as on the mean face; the nose is nearest.
    left, right = (
        drawn[0, 0, y, x] for x, y in np.rint(points[0, [234 + 0, 454]] * 0.9 + points[0, 4] * 0.1).astype(int)
    )
    assert left < 0.35 < 0.65 < right


def test_the_drawn_face_fits_the_portrait_and_shows_mouth_and_gaze(portraits):
    portrait = portraits["woman_curls"]
    window = HeadWindow.of(portrait, 128)
    faces = FaceImages(portrait, window)
    own = faces.points(portrait.coefficients)[0]
    assert np.abs(own - window.points(portrait.landmarks[:, :2])).max() < 0.05, "its own coefficients give its own face"
    model = portrait.model
    opened = moved(portrait.coefficients, 2, beta=0.12 * model.direction("lip_opening"))
    drawn, points = faces(opened), faces.points(opened)
    x, y = np.rint(points[1, topology.INNER_LIPS].mean(0)).astype(int)
    assert drawn[1, :, y, x].max() == 0, "an open mouth is a hole"
    looks = moved(portrait.coefficients, 2, beta=0.02 * model.direction("gaze_right"))
    drawn, points = faces(looks), faces.points(looks)
    iris = np.rint(points[:, topology.RIGHT_IRIS[0]]).astype(int)
    assert iris[1, 0] != iris[0, 0]
    there = [drawn[i, :, y, x] for i, (x, y) in enumerate(iris)]
    assert min(there[0].min(), there[1].min()) > 0 and np.abs(there[0] - there[1]).max() < 0.05, "irises show the gaze"


def test_a_window_is_cut_and_laid_back(portraits):
    portrait = portraits["man_smiling"]
    window = HeadWindow.of(portrait, 128)
    picture = portrait.image.copy()
    x, y = np.rint(portrait.landmarks[4, :2]).astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = (255, 0, 255)
    marked = window.points(np.array([x, y], float))
    cut = window.cut(picture).astype(int)
    ys, xs = np.nonzero((cut[..., 0] - cut[..., 1] > 90) & (cut[..., 2] - cut[..., 1] > 90))
    assert np.abs(np.array([xs.mean(), ys.mean()]) - marked).max() < 0.7
    out = portrait.image.copy()
    window.paste(window.cut(out), out)
    assert np.abs(out.astype(int) - portrait.image).mean() < 2.5
    assert window.left >= 0 and window.top >= 0 and window.left + window.side <= portrait.size[0]
    bright = portrait.image.copy()
    window.paste(np.full((128, 128, 3), 255, np.uint8), bright)
    height, width = bright.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    inside = (np.abs(rows + 0.5 - window.top - window.side / 2) < window.side / 2) & (
        np.abs(columns + 0.5 - window.left - window.side / 2) < window.side / 2
    )
    assert np.array_equal(bright[~inside], portrait.image[~inside])
    assert (bright[y, x] == 255).all()


# --- renderer -------------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(3)
    return HeadGAN(SMALL).eval().requires_grad_(False)


def test_frames_are_the_portraits_size_and_do_not_depend_on_chunks(portraits, network):
    portrait = portraits["statue"]
    clip = moved(portrait.coefficients, 7, yaw=0.3)
    sound = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    whole = list(HeadGANRenderer(portrait, network, CPU).render(clip, sound))
    assert len(whole) == 7 and all(f.shape == portrait.image.shape and f.dtype == np.uint8 for f in whole)
    renderer = HeadGANRenderer(portrait, network, replace(CPU, memory=1))
    draw = renderer.start()
    parts = [frame for a, b in ((0, 2), (2, 3), (3, 7)) for frame in draw(clip[a:b], sound[a:b])]
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(whole, parts, strict=True)) <= 1
    assert np.abs(whole[6].astype(int) - whole[0]).max() > 2, "the head moved"
    silent = list(HeadGANRenderer(portrait, network, CPU).render(clip))
    assert any(not np.array_equal(a, b) for a, b in zip(silent, whole, strict=True))
    with pytest.raises(ValueError, match="3 rows of sound for 7 frames"):
        next(renderer.render(clip, sound[:3]))


def test_weights_come_back_and_damage_is_one_sentence(network, tmp_path):
    network.save(tmp_path)
    again = HeadGAN.from_pretrained(tmp_path)
    assert again.config == SMALL
    faces, picture = torch.rand(1, 9, 32, 32), torch.rand(1, 3, 32, 32)
    a, b = (one(faces, picture, picture, None).image for one in (network, again))
    assert (a - b).abs().max() < 0.02, "half precision"
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="HeadGAN's weights") as error:
        HeadGAN.load(tmp_path)
    assert one_sentence(error.value)


# --- losses and training --------------------------------------------------------------------------------------------


def lesson_of_squares(size: int = 32, frames: int = 12) -> RendererLesson:
    """A bright square on grey whose place the drawn face shows."""
    pictures = np.full((frames, size, size, 3), 90, np.uint8)
    faces = np.zeros((frames, 3, size, size), np.uint8)
    places = 4 + np.arange(frames)
    for i, x in enumerate(places):
        pictures[i, 8:20, x : x + 12] = (230, 180, 40)
        faces[i, :, 8:20, x : x + 12] = np.linspace(60, 255, 12).astype(np.uint8)
    mouth = np.stack([places + 6, np.full(frames, 14)], 1).astype(np.float32)
    rows = [np.zeros((frames, width), np.float32) for width in (64, 6, 3)]
    rows[2][:] = (0.5, 0.5, 0.4)
    sound = np.random.default_rng(1).normal(2, 3, (frames, 6)).astype(np.float32)
    return RendererLesson("squares", pictures, faces, mouth, Coefficients(*rows), sound, PLACE)


def test_lessons_pair_frames_with_their_own_faces():
    lesson, random = lesson_of_squares(), np.random.default_rng(0)
    drawn = [draw(lesson, random, past=2, references=1, sound_dim=6) for _ in range(8)]
    for one in drawn:
        assert one["faces"].shape == (12, 32, 32) and one["reference_face"].shape == (3, 32, 32)
        assert ((one["faces"][-3] > 0) == (one["target"][..., 0] > 100)).all()
        assert ((one["reference_face"][0] > 0) == (one["reference"][..., 0] > 100)).all()
        assert one["heard"] == np.any(one["sound"]), "what is left out is not there"
    assert 0 < sum(one["heard"] for one in drawn) < 8
    target = pixels(torch.from_numpy(np.stack([one["target"] for one in drawn])))
    assert target.shape == (8, 3, 32, 32) and target.min() >= -1 and target.max() <= 1
    crops = mouth_crop(target, torch.from_numpy(np.stack([one["mouth"] for one in drawn])))
    assert crops.shape == (8, 3, 8, 8) and (crops[:, 0] > 0).all()


def test_the_judges_losses_are_the_hinge():
    def verdict(value: float) -> discriminators.Judged:
        return [[torch.zeros(1, 2, 3, 3), torch.full((1, 1, 3, 3), value)]] * 2

    loss = discriminators.discriminator_loss
    assert loss(verdict(1.5), verdict(-2.0)).item() == 0
    assert loss(verdict(0.0), verdict(0.5)).item() == pytest.approx(1 + 1.5)
    assert discriminators.generator_loss(verdict(0.7)).item() == pytest.approx(-0.7)
    a, b = verdict(3.0), verdict(-3.0)
    assert discriminators.feature_matching(a, b).item() == 0, "verdicts are no features"
    judge = discriminators.Discriminator(3 + 5, width=4)
    judged = judge(torch.rand(2, 3, 32, 32), torch.rand(2, 5))
    assert len(judged) == 2 and all(len(scale) == 5 for scale in judged)
    assert judged[0][-1].shape[-1] > judged[1][-1].shape[-1]


def test_eq_9_weighs_the_losses():
    course = HeadGANCourse(HeadGAN(SMALL), Settings(judge_width=4), Perceptual())
    one = torch.ones(())
    names = ("adversarial", "pixels", "perceptual", "matching", "flow_pixels", "flow_perceptual", "temporal")
    shares = {name: course._total({n: one * (n == name) for n in names}).item() for name in names}
    assert list(shares.values()) == [1, 50, 10, 10, 50, 10, 30]


def test_perceptual_distance(tmp_path):
    from safetensors.torch import save_file

    truth = torch.rand(1, 3, 32, 32) * 2 - 1
    plain = Perceptual()
    assert plain(truth, truth).item() == 0
    assert plain(truth * 0.5, truth) > plain(truth * 0.9, truth) > 0
    with torch.device("meta"):
        network = VGG19()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["features.0.weight"] == (64, 3, 3, 3) and shapes["features.28.bias"] == (512,)
    assert network.taps == [1, 6, 11, 20, 29]
    save_file({"features.0.weight": torch.zeros(1)}, str(tmp_path / "vgg.safetensors"))
    with pytest.raises(WeightsError, match="VGG-19") as error:
        Perceptual(tmp_path / "vgg.safetensors")
    assert one_sentence(error.value)


def test_training_learns_to_move_the_square(tmp_path):
    lesson, history = lesson_of_squares(), []
    settings = Settings(judge_width=4, learning_rate=3e-3)
    course = HeadGANCourse.of([lesson], SMALL, settings, Perceptual())
    assert course.network.sound_spread.min() > 1, "sound is brought to its own scale"
    options = Options(tmp_path, steps=18, batch=3, log_every=1, device="cpu")
    network = train(course, [lesson], options, lambda step, losses: history.append(losses))
    start, end = ({k: np.mean([h[k] for h in part]) for k in history[0]} for part in (history[:3], history[-3:]))
    assert end["pixels"] < 0.6 * start["pixels"]
    assert all(np.isfinite(list(h.values())).all() for h in history)
    assert not network.training
    picture = sheet(course.network.eval(), lesson, [0, 11])
    assert picture.shape == (64, 5 * 32, 3)
    made, real = picture[32:, 96:128].astype(int), picture[32:, 128:].astype(int)
    still = np.abs(lesson.frames[0].astype(int) - real).mean()
    assert np.abs(made - real).mean() < 0.6 * still, "closer to the moved square than the reference is"


def test_pictures_and_tensors():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    tensor = to_tensor(pictures)
    assert tensor.shape == (2, 3, 4, 6) and tensor.min() >= -1 and tensor.max() <= 1
    assert np.array_equal(to_pictures(tensor), pictures)

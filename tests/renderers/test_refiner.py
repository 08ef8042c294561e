"""The refiner: mouths laid out on a grid, a network that corrects them there, and the mesh's frames but for that."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED, Weights
from pipeline.renderers import load_renderer
from pipeline.renderers.mouth_grid import COLUMNS, CROP, PARTS, ROWS, MouthGrid
from pipeline.renderers.patches import PatchFrame
from pipeline.renderers.refiner import Refiner
from pipeline.renderers.refiner_network import RefinerNetwork
from pipeline.training.corpus import CorpusFile
from pipeline.training.refiner import Pairs, judge, train
from pipeline.training.refiner_lessons import RefinerLesson, choose

SKIN, UPPER, INSIDE, LOWER = (200, 150, 130), (180, 60, 60), (20, 10, 10), (150, 50, 80)
BOUNDS = np.cumsum((0, *PARTS))


def mouth(opening: int, left: int = 30, right: int = 82) -> tuple[np.ndarray, np.ndarray]:
    """A drawn crop and its openings: lips ten rows thick each, so many rows apart."""
    crop = np.full((CROP.height, CROP.width, 3), SKIN, np.uint8)
    openings = np.zeros((CROP.height, CROP.width, 2), np.uint8)
    crop[30:40, left:right], crop[40 + opening : 50 + opening, left:right] = UPPER, LOWER
    crop[40 : 40 + opening, left:right] = INSIDE
    openings[40 : 40 + opening, left:right, 0] = openings[30 : 50 + opening, left:right, 1] = 255
    return crop, openings


def motion_of(portrait, amount: float) -> Coefficients:
    """Two frames: the portrait's own, and a mouth opened."""
    own = portrait.coefficients
    opening = portrait.model.direction("lip_opening").astype(np.float32)
    expression = np.concatenate([own.expression, own.expression + amount * opening])
    return Coefficients(expression, np.repeat(own.pose, 2, 0), np.repeat(own.crop, 2, 0))


# --- the grid -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [4, 12, 24])
def test_lips_are_at_the_same_place_however_wide_a_mouth_is_open(opening):
    crop, openings = mouth(opening)
    taken = MouthGrid.of(openings).take(crop)
    assert taken.shape == (ROWS, COLUMNS, 3)
    middle = taken[:, COLUMNS // 2].astype(int)
    for part, colour in enumerate((SKIN, UPPER, INSIDE, LOWER, SKIN)):
        inner = middle[BOUNDS[part] + 1 : BOUNDS[part + 1] - 1]
        assert np.abs(inner - colour).max() < 25, part
    assert np.abs(taken[ROWS // 2, [1, -2]].astype(int) - SKIN).max() < 5


def test_what_was_taken_is_laid_back_where_it_was():
    crop, openings = mouth(14)
    grid = MouthGrid.of(openings)
    laid = grid.lay(grid.take(crop).astype(np.float32))
    for rows, colour in ((slice(32, 38), UPPER), (slice(43, 51), INSIDE), (slice(56, 62), LOWER)):
        assert np.abs(laid[rows, 36:76] - colour).max() < 30
    assert not laid[[0, -1]].any() and not laid[:, [0, -1]].any()
    assert not laid[:12].any(), "nothing reaches far beyond the lips"


def test_shut_lips_and_no_lips():
    crop, openings = mouth(0)
    taken = MouthGrid.of(openings).take(crop)
    assert np.abs(taken[BOUNDS[1] + 1, COLUMNS // 2].astype(int) - UPPER).max() < 25
    assert np.abs(taken[BOUNDS[4] - 2, COLUMNS // 2].astype(int) - LOWER).max() < 25
    assert MouthGrid.of(np.zeros_like(openings)) is None


def test_rows_stand_for_their_share_of_the_mouth():
    narrow, wide = (MouthGrid.of(mouth(opening)[1]).weights() for opening in (2, 20))
    inside = slice(BOUNDS[2], BOUNDS[3])
    assert narrow.sum() == pytest.approx(1) and wide.sum() == pytest.approx(1)
    assert wide[inside].sum() > 4 * narrow[inside].sum()


# --- the network ----------------------------------------------------------------------------------------------------


def small_network() -> RefinerNetwork:
    torch.manual_seed(0)
    network = RefinerNetwork(seen=4, made=6, hidden=8, members=2)
    for name in ("change_basis", "portrait_basis", "answer_basis"):
        torch.nn.init.normal_(getattr(network, name), std=0.05)
    return network.eval()


def test_nothing_is_added_where_nothing_moved_and_twice_as_much_in_twice_the_light():
    network = small_network()
    drawn, portrait = torch.rand(2, ROWS, COLUMNS, 3) * 0.3 + 0.1, torch.rand(2, ROWS, COLUMNS, 3) * 0.3 + 0.1
    told = torch.randn(2, 70), torch.rand(2, 20), torch.rand(2, 27), torch.rand(2, 27)
    told[0][0] = 0
    added = network(drawn, portrait, *told)
    assert not added[0].any() and added[1].abs().mean() > 1e-3
    assert torch.allclose(network(2 * drawn, 2 * portrait, *told), 2 * added, atol=1e-5)


def test_an_inside_that_was_not_seen_is_guessed_for_those_rows_alone():
    network = small_network()
    pictures = torch.rand(2, 2, ROWS, COLUMNS, 3)
    told = torch.randn(2, 70), torch.rand(2, 20), torch.rand(2, 27)
    inside = torch.rand(2, 27)
    seen = network(*pictures, *told, inside)
    half = network(*pictures, *told, torch.stack([inside[0], torch.full((27,), torch.nan)]))
    assert torch.equal(half[0], seen[0])
    assert torch.isfinite(half).all() and not torch.allclose(half[1], seen[1])


def synthetic(pairs: int, random: np.random.Generator) -> Pairs:
    """Mouths that should darken inside as far as was seen, which the first coefficient tells too, of many speakers."""
    portrait = torch.from_numpy(random.uniform(0.4, 0.6, (2 * pairs, ROWS, COLUMNS, 3)).astype(np.float32))
    motion = torch.from_numpy(random.normal(0, 1, (2 * pairs, 70)).astype(np.float32))
    truth = portrait.clone()
    truth[:, BOUNDS[2] : BOUNDS[3]] += 0.1 * motion[:, :1, None, None].clamp(-2, 2)
    rows = torch.full((2 * pairs, ROWS), 1 / ROWS)
    shown = torch.ones(2 * pairs, 27)
    inside = shown + 0.1 * motion[:, :1].clamp(-2, 2)
    speaker = np.array([f"speaker {index}" for index in range(pairs)])
    told = motion, torch.rand(2 * pairs, 20), shown, inside, rows
    return Pairs(portrait.clone(), truth, portrait, *told, speaker, np.ones(pairs))


def test_what_can_be_learned_is_learned_and_holds_of_others():
    pairs = synthetic(80, np.random.default_rng(0))
    assert 3 < pairs.held_out().sum() < 30
    network = RefinerNetwork(seen=4, made=4, hidden=8, members=1)
    trained = train(pairs, np.eye(70, dtype=np.float32), network, epochs=250, log=lambda line: None)
    figures = judge(trained, pairs)
    assert figures["won dB"] > 1 and figures["drawn dB"] < 35
    assert judge(trained, pairs, unseen=True)["won dB"] > 0.5, "what was not seen is guessed from the motion"


def test_pairs_in_a_mirror_are_pairs_and_twice_mirrored_the_same():
    pairs = synthetic(3, np.random.default_rng(1))
    inside = torch.rand(6, 27)
    pairs = dataclasses.replace(pairs, inside=inside)
    flip = np.diag([1.0] * 66 + [-1.0] * 4).astype(np.float32)
    once = pairs.mirrored(flip)
    assert torch.equal(once.inside.view(6, 3, 3, 3)[:, :, 0], inside.view(6, 3, 3, 3)[:, :, 2])
    assert torch.equal(once.truth, pairs.truth.flip(2))
    twice = once.mirrored(flip)
    for name in ("drawn", "truth", "motion", "inside", "shown"):
        assert torch.equal(getattr(twice, name), getattr(pairs, name)), name


def test_the_network_comes_back_from_disk_and_damage_is_one_sentence(tmp_path):
    network = small_network()
    Refiner(network).save(tmp_path / "refiner")
    again = Refiner.load(tmp_path / "refiner").network
    inputs = [torch.rand(1, ROWS, COLUMNS, 3), torch.rand(1, ROWS, COLUMNS, 3), torch.randn(1, 70)]
    inputs += [torch.rand(1, 20), torch.rand(1, 27), torch.rand(1, 27)]
    assert torch.allclose(network(*inputs), again(*inputs), atol=5e-3)  # kept in half precision
    (tmp_path / "refiner" / "model.safetensors").write_bytes(b"broken")
    for folder in (tmp_path / "refiner", tmp_path / "nowhere"):
        with pytest.raises(WeightsError, match=r"refiner.* cannot be read") as error:
            Refiner.load(folder)
        assert one_sentence(error.value)


# --- the renderer ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(portraits):
    """A portrait's own frame and one with its mouth open, by the mesh and by the refiner that ships."""
    portrait, weights = portraits["woman_curls"], Weights(EMBEDDED, ())
    clip = motion_of(portrait, 0.08)
    renderers = [load_renderer(name, weights, portrait) for name in ("mesh", "refiner")]
    scene = renderers[0].scene
    points, _, placed = scene.place(clip.expression[1], clip.pose[1], clip.crop[1])
    crop = PatchFrame(CROP, scene.unposed).to_picture(*placed)
    return [list(renderer.render(clip)) for renderer in renderers], points, crop


def test_the_portraits_own_coefficients_are_left_to_the_mesh(drawn):
    (mesh, refined), _, _ = drawn
    assert np.array_equal(mesh[0], refined[0])


def test_only_the_mouth_is_changed(drawn):
    (mesh, refined), points, to_picture = drawn
    changed = np.maximum(np.abs(mesh[1].astype(int) - refined[1]).max(-1) - 1, 0)  # one level may be held back
    corners = np.array([[0, 0], [CROP.width, CROP.height]]) @ to_picture[:, :2].T + to_picture[:, 2]
    (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int) - 2, np.ceil(corners.max(0)).astype(int) + 2
    assert changed[top:bottom, left:right].max() > 5
    changed[top:bottom, left:right] = 0
    assert not changed.any()
    lips = points[CROP.outer]
    assert left < lips[:, 0].min() and lips[:, 0].max() < right and top < lips[:, 1].min()


def test_a_mouth_is_corrected_and_not_drawn_anew(drawn):
    """Detail of the portrait stays: what is added is smooth, and small but inside the lips."""
    (mesh, refined), _, to_picture = drawn
    x, y = (to_picture @ np.array([CROP.width / 2, 8, 1])).astype(int)
    beside = np.s_[y - 6 : y + 6, x - 20 : x + 20]
    change = refined[1][beside].astype(int) - mesh[1][beside]
    assert np.abs(change).max() < 40 and np.abs(np.diff(change, axis=1)).max() < 12


def test_the_inside_shows_what_the_driving_mouth_shows(portraits):
    """The same open lips, driven by a mouth that showed teeth and by one that was dark inside."""
    portrait, weights = portraits["woman_curls"], Weights(EMBEDDED, ())
    clip = motion_of(portrait, 0.08)
    renderer = load_renderer("refiner", weights, portrait)
    points = renderer.scene.place(clip.expression[1], clip.pose[1], clip.crop[1])[0]
    hole = np.zeros(portrait.image.shape[:2], np.uint8)
    cv2.fillPoly(hole, [np.rint(points[CROP.inner]).astype(np.int32)], 1)
    light = []
    for share in (0.25, 0.6, 1.1):
        driven = dataclasses.replace(clip, inside=np.full((2, 27), share, np.float32))
        light.append(list(renderer.render(driven))[1][hole > 0].mean())
    assert light[0] + 8 < light[1] < light[2] - 8


def test_a_run_holds_its_smallest_changes_back_and_cuts_do_not_show(portraits):
    portrait, weights = portraits["man_beard"], Weights(EMBEDDED, ())
    own = portrait.coefficients
    sway = 0.002 * np.sin(np.arange(20))[:, None] * np.eye(6)[3]
    clip = Coefficients(np.repeat(own.expression, 20, 0), own.pose + sway, np.repeat(own.crop, 20, 0))
    mesh, refined = (load_renderer(name, weights, portrait) for name in ("mesh", "refiner"))
    loose, held = (np.stack(list(renderer.render(clip))).astype(int) for renderer in (mesh, refined))
    assert np.abs(np.diff(held, axis=0)).mean() < 0.9 * np.abs(np.diff(loose, axis=0)).mean()
    away = np.ones(loose.shape[1:3], bool)
    middle, reach = portrait.landmarks[CROP.outer, :2].mean(0), 0.3 * portrait.scale
    left, top = np.maximum(middle - reach, 0).astype(int)
    away[top : int(middle[1] + reach), left : int(middle[0] + reach)] = False
    assert np.abs(held - loose)[:, away].max() <= 1, "a level, and nothing that trails"
    draw = refined.start()
    parts = [frame for part in (clip[:3], clip[3:11], clip[11:]) for frame in draw(part)]
    assert np.array_equal(np.stack(parts), held)


# --- lessons --------------------------------------------------------------------------------------------------------


def test_lessons_come_back_from_disk(tmp_path):
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (3, ROWS, COLUMNS, 3), dtype=np.uint8)
    numbers = (random.normal(size=size) for size in (70, 20, 27, 27))
    sample = (*picture, *numbers, np.full(ROWS, 1 / ROWS), 210.0)
    lesson = RefinerLesson.of([sample, sample])
    lesson.save(tmp_path / "clip.npz")
    again = RefinerLesson.load(tmp_path / "clip.npz")
    assert again.drawn.dtype == np.uint8 and again.motion.dtype == np.float32
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(lesson).items())


def test_no_speaker_teaches_with_more_than_three_clips_and_nobody_of_val(tmp_path):
    def file(speaker: str, split: str, seconds: float) -> CorpusFile:
        return CorpusFile(tmp_path / f"{speaker}{seconds}.mp4", "talk", split, speaker, seconds, 0, 1.0, False)

    files = [file("a", "train", seconds) for seconds in (1, 2, 3, 4)] + [file("b", "train", 9), file("c", "val", 9)]
    assert [(one.speaker, one.seconds) for one in choose(files)] == [("b", 9), ("a", 4), ("a", 3), ("a", 2)]

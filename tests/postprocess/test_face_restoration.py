"""A network restores the face in each frame: in place, without a seam, without flicker, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime
from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED
from pipeline.postprocess.face_restoration import FaceNetwork, FaceRestoration
from pipeline.postprocess.moving_face import MovingFace
from pipeline.renderers.mesh import MeshRenderer
from pipeline.renderers.scene import Scene
from pipeline.renderers.surroundings import Surroundings

SIDE = 128


class StandIn(torch.nn.Module):
    """Restores nothing: gives faces back brighter, and with noise drawn anew each time."""

    def __init__(self, brighter: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.brighter, self.noise, self.seen = brighter, noise, []
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen.append(faces.clone())
        return faces + self.brighter + self.noise * torch.randn(faces.shape, generator=self.generator).to(faces)


@pytest.fixture(scope="module")
def frames(pipe, astronaut, motion) -> list[np.ndarray]:
    return list(MeshRenderer.load(pipe.weights, astronaut).render(motion))


def restored(astronaut, motion, frames, network, steady=True, cuts=(8,), batch=1) -> list[np.ndarray]:
    engine = FaceNetwork(network, SIDE, Runtime())
    engine.batch = batch
    restore = FaceRestoration(astronaut, engine, steady).start()
    out, first = [], 0
    for end in cuts:
        out += restore(iter([frame.copy() for frame in frames[first:end]]), motion[first:end])
        first = end
    return out


def outside(astronaut, motion: Coefficients, index: int) -> np.ndarray:
    face = MovingFace(astronaut).points(motion.expression[index], motion.pose[index], motion.crop[index])
    hull = np.zeros(astronaut.image.shape[:2], np.uint8)
    cv2.fillConvexPoly(hull, np.rint(cv2.convexHull(face[:, :2].copy())[:, 0]).astype(np.int32), 1)
    return hull == 0


def test_the_moving_face_is_the_portraits_own_and_moves_as_the_renderer_moves_it(astronaut, motion):
    face = MovingFace(astronaut)
    own = astronaut.coefficients
    points = face.points(own.expression[0], own.pose[0], own.crop[0])
    assert np.abs(points - astronaut.landmarks)[:, :2].max() < 0.01

    row = motion.expression[5], motion.pose[5], motion.crop[5]
    target, _, _ = Scene(astronaut, Surroundings.load(EMBEDDED / "mesh")).place(*row)
    assert np.abs(face.points(*row)[:, :2] - target[:478]).max() < 0.01


def test_a_network_that_changes_nothing_leaves_every_pixel(astronaut, motion, frames):
    for ours, frame in zip(restored(astronaut, motion, frames, StandIn()), frames, strict=True):
        assert (ours == frame).all()


def test_the_face_is_restored_and_the_rest_untouched(astronaut, motion, frames):
    out = restored(astronaut, motion, frames, StandIn(brighter=0.2))
    for index, (ours, frame) in enumerate(zip(out, frames, strict=True)):
        change = ours.astype(int) - frame
        assert not change[outside(astronaut, motion, index)].any()
        face = MovingFace(astronaut).points(motion.expression[index], motion.pose[index], motion.crop[index])
        nose = np.rint(face[1, :2]).astype(int)
        wanted = np.minimum(frame[nose[1], nose[0]].astype(int) + 25.5, 255)
        assert np.abs(ours[nose[1], nose[0]] - wanted).max() <= 2


def test_the_network_sees_one_steady_place_whatever_head_and_mouth_do(astronaut, motion, frames):
    network = StandIn()
    restored(astronaut, motion, frames, network)
    first, last = network.seen[0], network.seen[-1]
    around = (slice(None), slice(None), slice(45, 70), slice(40, 90))  # eyes and nose
    assert (first[around] - last[around]).abs().mean() < 0.15, "the head turned, yet the face did not stay in place"


def test_flicker_is_held_down(astronaut, motion, frames):
    """A network that paints noise anew on each frame flickers; steadied, less than half as much."""
    still = Coefficients(*(np.repeat(part[:1], 8, 0) for part in (motion.expression, motion.pose, motion.crop)))
    same = [frames[0]] * 8

    def flicker(steady: bool) -> float:
        out = restored(astronaut, still, same, StandIn(noise=0.03), steady)
        return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairwise(out[3:])]))

    assert flicker(True) < 0.5 * flicker(False)


def test_parts_and_batches_make_no_difference(astronaut, motion, frames):
    network = StandIn(brighter=0.1)
    whole = restored(astronaut, motion, frames, network)
    for cuts, batch in (((3, 4, 8), 1), ((8,), 5), ((5, 8), 3)):
        other = restored(astronaut, motion, frames, network, cuts=cuts, batch=batch)
        assert all((a == b).all() for a, b in zip(whole, other, strict=True))


def test_each_run_through_a_clip_starts_anew(astronaut, motion, frames):
    engine = FaceNetwork(StandIn(brighter=0.1), SIDE, Runtime())
    restoration = FaceRestoration(astronaut, engine)
    runs = [list(restoration.start()(iter([f.copy() for f in frames]), motion)) for _ in range(2)]
    assert all((a == b).all() for a, b in zip(*runs, strict=True))


def test_no_black_faces_where_half_precision_overflows():
    """What it multiplies by is beyond half precision's 65,504; divided again, faces come out as they were."""
    layer = torch.nn.Conv2d(3, 3, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    layer.weight.data[range(3), range(3)] = 1e5
    kinds = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            out = self.layer(faces)
            kinds.append(out.dtype)
            return out / 1e5

    faces = np.full((2, 8, 8, 3), 100, np.uint8)
    assert np.abs(FaceNetwork(Network(), 8, Runtime(dtype=torch.float16))(faces) - 100).max() < 0.01
    assert kinds == [torch.float16, torch.float32, torch.float32]
    torch.nn.init.constant_(layer.weight, float("nan"))
    with pytest.raises(WeightsError, match="no numbers") as error:
        FaceNetwork(Network(), 8, Runtime())(faces)
    assert one_sentence(error.value)

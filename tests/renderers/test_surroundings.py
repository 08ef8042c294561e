"""Rings of hair, neck and shoulders: near ones follow the head, far ones rest."""

from __future__ import annotations

import numpy as np
import pytest
from heads import moved

from pipeline.errors import WeightsError
from pipeline.face import topology
from pipeline.hub import EMBEDDED
from pipeline.renderers.scene import Scene
from pipeline.renderers.surroundings import RAYS, Surroundings


@pytest.fixture(scope="module")
def embedded() -> Surroundings:
    return Surroundings.load(EMBEDDED / "mesh")


def circle(radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    return 200 + radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def test_rings_lie_at_their_distances_from_the_outline(embedded):
    rings = embedded.points(circle(50), 100.0)
    distances = np.linalg.norm(rings - 200, axis=-1)
    assert distances == pytest.approx(np.tile(50 + 100 * embedded.radii[:, None], (1, RAYS)), abs=1e-6)


def test_triangles_close_the_gaps_between_rings():
    """Every edge between two rings' neighbours belongs to two triangles: there is no hole."""
    triangles = Surroundings.triangles(1000, 3)
    edges: dict[tuple[int, int], int] = {}
    for triangle in triangles:
        for a, b in zip(triangle, np.roll(triangle, 1), strict=True):
            edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    single = {edge for edge, count in edges.items() if count == 1}
    outer = set(range(1000 + 2 * RAYS, 1000 + 3 * RAYS))
    assert len(single) == 2 * RAYS
    assert all(set(edge) <= set(topology.OUTLINE.tolist()) or set(edge) <= outer for edge in single)


def test_near_rings_follow_and_the_last_rests(embedded, portraits):
    portrait = portraits["woman_curls"]
    scene = Scene(portrait, embedded)
    count = topology.LANDMARKS_COUNT
    rings = slice(count, count + len(embedded.radii) * RAYS)

    def shifts(pose) -> np.ndarray:
        made = moved(portrait.coefficients, pose=pose)
        target, _, _ = scene.place(made.expression[0], made.pose[0], made.crop[0])
        offset = (target - scene.source)[rings].reshape(len(embedded.radii), RAYS, 2)
        return np.linalg.norm(offset, axis=-1) / portrait.scale

    still = shifts(np.zeros(6))
    assert still.max() < 1e-4
    shifted = shifts(np.array([0, 0, 0, 0.1, 0, 0]))
    assert shifted[0].mean() > 0.06 and shifted.max() < 0.15
    assert shifted[-1].max() < 1e-6, "the outermost ring is the window's border: it must rest"
    upper = shifted[:, np.r_[0:6, 30:36]].mean(1)  # above and beside the crown
    assert (np.diff(upper) < 0.01).all()


def test_surroundings_come_back_from_disk(embedded, tmp_path):
    embedded.save(tmp_path)
    again = Surroundings.load(tmp_path)
    assert again.radii == pytest.approx(embedded.radii, abs=1e-4)
    assert again.follow == pytest.approx(embedded.follow, abs=1e-3)
    assert embedded.follow.shape == (len(embedded.radii), RAYS, 4) and (np.diff(embedded.radii) > 0).all()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"radii": ["a"], "follow": 1}'])
def test_damaged_surroundings_are_one_sentence(tmp_path, text):
    (tmp_path / "surroundings.json").write_text(text)
    with pytest.raises(WeightsError, match=r"cannot be read; install the weights again\.$"):
        Surroundings.load(tmp_path)

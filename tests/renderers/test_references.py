"""Several references: the nearest is found, each place takes from what is like it, more are more to go by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import one_sentence

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime
from pipeline.errors import InputError, PortraitError, VideoError
from pipeline.hub import EMBEDDED, Weights
from pipeline.references import MOST, read_references
from pipeline.renderers import load_renderer
from pipeline.renderers.headgan import HeadGAN, HeadGANRenderer
from pipeline.renderers.headgan_networks import HeadGANConfig, HeadGANNetwork
from pipeline.renderers.headgan_references import head_motion, match, spread_out
from pipeline.renderers.neural import FaceImages, HeadWindow

SMALL = HeadGANConfig(size=32, width=4, sound_dim=6, hidden=8, references=2)
CPU = Runtime()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def turned(own: Coefficients, *yaws: float) -> Coefficients:
    pose = np.repeat(own.pose[:1], len(yaws), 0)
    pose[:, 1] += np.array(yaws, np.float32)
    return Coefficients(np.repeat(own.expression[:1], len(yaws), 0), pose, np.repeat(own.crop[:1], len(yaws), 0))


def inputs(count: int, references: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    faces, pictures, drawn = (torch.rand(count, *shape, 32, 32) for shape in ((9,), (references, 3), (references, 3)))
    return faces, pictures, drawn


# --- the motion matcher, eq. 2 --------------------------------------------------------------------------------------


def test_the_reference_whose_head_stands_most_alike_is_matched(portraits):
    portrait = portraits["statue"]
    window = HeadWindow.of(portrait, 64)
    references = head_motion(turned(portrait.coefficients, -0.4, 0, 0.5), window, portrait.size)
    frames = head_motion(turned(portrait.coefficients, -0.5, -0.15, 0.2, 0.3), window, portrait.size)
    assert match(frames, references).tolist() == [0, 1, 1, 2]
    left = portrait.coefficients.crop[0] * (*portrait.size, portrait.size[1])
    assert np.allclose(frames[0, 3:5], (left[:2] - (window.left, window.top)) / window.side, atol=0.15)
    chances = [match(frames, references, np.random.default_rng(i)).tolist() for i in range(60)]
    best = np.mean([chance == [0, 1, 1, 2] for chance in chances])
    assert 0.1 < best < 0.9, "in training the nearest is not always taken"


def test_views_of_a_video_are_spread_out():
    yaws = np.array([0.3, 0.31, 0.02, 0.6, -0.5, -0.48])
    motion = np.zeros((6, 6), np.float32)
    motion[:, 1] = yaws
    assert spread_out(motion, 1).tolist() == [2], "the most frontal"
    assert sorted(yaws[spread_out(motion, 3)]) == [-0.5, 0.02, 0.6]
    assert spread_out(motion, 2, first=1).tolist() == [1, 4] and len(spread_out(motion, 9)) == 6


# --- attention and composition, eqs. 3 to 7 -------------------------------------------------------------------------


def test_attention_prefers_the_nearer_pose(portraits):
    """Even before it has learned anything: what is drawn alike has like features."""
    portrait = portraits["statue"]
    faces = FaceImages(portrait, HeadWindow.of(portrait, 64))
    drawn = torch.from_numpy(faces(turned(portrait.coefficients, -0.4, 0.4)))
    frames = torch.from_numpy(faces(turned(portrait.coefficients, -0.3, 0.3)))
    torch.manual_seed(0)
    embedding = HeadGANNetwork(SMALL).embedding
    with torch.no_grad():
        energy = embedding.energy(drawn)[None].expand(2, -1, -1, -1, -1)
        attention = embedding.attention(energy, frames)
    assert attention.shape == (2, 2, 64, 16, 16) and (attention.sum(1) - 1).abs().max() < 1e-5
    face = torch.nn.functional.avg_pool2d(frames[:, :1], 4).expand(-1, 64, -1, -1) > 0
    nearer = [attention[frame, frame][face[frame]].mean() for frame in range(2)]
    assert min(nearer) > 0.53


def test_references_are_a_set_and_the_same_one_twice_is_one():
    torch.manual_seed(0)
    network = HeadGANNetwork(SMALL).eval()
    faces, pictures, drawn = inputs(2, 3)
    matched = torch.tensor([2, 0])
    with torch.no_grad():
        made = network(faces, pictures, drawn, None, matched)
        order = torch.tensor([2, 0, 1])
        again = network(faces, pictures[:, order], drawn[:, order], None, torch.tensor([0, 1]))
        assert (made.image - again.image).abs().max() < 1e-5
        assert made.warped.shape == (2, 3, 3, 32, 32) and made.attention.shape == (2, 3, 64, 8, 8)
        first = torch.zeros(2, dtype=torch.long)
        one, two = (network(faces, *(x[:, [0] * k] for x in (pictures, drawn)), None, first).image for k in (1, 2))
        assert (one - two).abs().max() < 1e-5
        for other in (
            network(faces, pictures, drawn, None, torch.tensor([1, 0])).image[:1],
            network(faces, torch.cat([pictures[:, :1], 1 - pictures[:, 1:]], 1), drawn, None, matched).image[:1],
            network(faces, pictures, 1 - drawn, None, matched).image[:1],
        ):
            assert (other - made.image[:1]).abs().max() > 1e-4


def test_what_the_references_say_together_sets_gains():
    """θ of eq. 7 begins at 1, and then each frame has its own."""
    torch.manual_seed(0)
    network = HeadGANNetwork(SMALL).eval()
    faces, pictures, drawn = inputs(2, 2)
    with torch.no_grad():
        features = network.features(pictures, drawn)
        _, moved, warped = network.moved(pictures, features, faces)
        gains = network.gathered(faces, features, moved, warped, None).gains
        assert [[tuple(g.shape) for g in three] for three in gains] == [[(2, 8), (2, c), (2, c)] for c in (64, 16, 4)]
        assert all((gain == 1).all() for three in gains for gain in three)
        torch.nn.init.normal_(network.embedding.fuse.weight, std=0.1)
        gains = network.gathered(faces, features, moved, warped, None).gains
    assert all((gain[0] != gain[1]).any() for three in gains for gain in three)


def test_one_reference_is_the_papers_network():
    with torch.device("meta"):
        plain, several = HeadGANNetwork(), HeadGANNetwork(HeadGANConfig(references=8))
    assert not [name for name in plain.state_dict() if "embedding" in name or "spades" in name]
    assert set(dict(plain.flow.named_parameters())) == set(dict(several.flow.named_parameters()))


# --- the renderer ---------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(3)
    return HeadGAN(SMALL).eval().requires_grad_(False)


def test_the_renderer_sees_further_views(portraits, network):
    portrait, other = portraits["statue"], portraits["woman_curls"]
    clip = turned(portrait.coefficients, 0, 0.1, 0.2)
    alone = list(HeadGANRenderer(portrait, network, CPU).render(clip))
    seen = HeadGANRenderer(replace(portrait, references=(other,)), network, CPU)
    both = list(seen.render(clip))
    assert any(not np.array_equal(a, b) for a, b in zip(alone, both, strict=True))
    same = HeadGANRenderer(replace(portrait, references=(portrait,)), network, CPU)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(alone, same.render(clip), strict=True)) <= 1
    many = HeadGANRenderer(replace(portrait, references=(other, portrait, other)), network, CPU)
    assert len(many._motion) == 2, "no more than it learned to take"


def test_a_renderer_that_takes_one_picture_says_so(portraits):
    portrait = replace(portraits["statue"], references=(portraits["woman_curls"],))
    with pytest.raises(InputError, match="takes one picture") as error:
        load_renderer("mesh", Weights(EMBEDDED, ()), portrait)
    assert one_sentence(error.value)


def test_references_are_asked_for_from_python_and_the_command_line(pipe, repository, voice):
    from pipeline.cli import _parser

    command = ["talk", "me.jpg", "me.wav", "-o", "out.mp4", "--reference", "one.jpg", "two.mp4"]
    assert _parser().parse_args(command).reference == ["one.jpg", "two.mp4"]
    picture = repository / "examples" / "portraits" / "drawing.png"
    portrait = pipe.portrait(picture, 128, references=[picture])
    assert portrait.size[0] <= 128 and len(portrait.references) == 1
    assert portrait.references[0].size != portrait.size, "references keep their own pixels"
    with pytest.raises(InputError, match="takes one picture"):
        pipe.talk(portrait, voice)


def test_views_are_read_from_pictures_and_from_a_short_video(pipe, repository, tmp_path):
    video = repository / "examples" / "driving" / "woman_asking.mp4"
    picture = repository / "examples" / "portraits" / "drawing.png"
    views = read_references([picture, video], pipe._tracker(), pipe.model)
    assert len(views) == MOST
    identities = np.stack([view.identity for view in views])
    assert np.array_equal(identities[1:], np.repeat(identities[1:2], MOST - 1, 0)) and views[0].size != views[1].size
    poses = np.stack([view.coefficients.pose[0] for view in views[1:]])
    assert np.abs(poses[:, None] - poses[None]).max(-1)[~np.eye(MOST - 1, dtype=bool)].min() > 0.003
    with pytest.raises(PortraitError):
        read_references([repository / "README.md"], pipe._tracker(), pipe.model)
    (tmp_path / "no.mp4").write_bytes(b"no")
    with pytest.raises(VideoError):
        read_references([tmp_path / "no.mp4"], pipe._tracker(), pipe.model)

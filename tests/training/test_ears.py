"""The ears' schooling: what the teacher says is in step with the sound, and who learns from it comes to hear it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.drivers.ears import Ears
from pipeline.errors import InputError
from pipeline.training import ears as schooling
from pipeline.training.pieces import Piece, batch
from pipeline.training.speech_teacher import LAYER_DIM, Axes, SpeechTeacher


class Loudness:
    """Stands for the encoder: answers how loud each 24 ms are, at the places where the encoder's fields lie."""

    def run(self, _names, feed):
        sound = feed["input_values"][0]
        count = (len(sound) - 895) // 384 + 1
        loud = np.array([np.abs(sound[384 * i + 447 - 192 : 384 * i + 447 + 192]).mean() for i in range(count)])
        answer = np.repeat(loud[None, :, None], LAYER_DIM, 2).astype(np.float32)
        return [answer, 2 * answer]


@pytest.fixture
def teacher() -> SpeechTeacher:
    made = SpeechTeacher.__new__(SpeechTeacher)
    made._session = Loudness()
    return made


@pytest.mark.parametrize("seconds", [1.0, 47.3])
def test_the_teacher_is_in_step_with_the_sound_however_long_it_is(teacher, seconds):
    sound = np.zeros(int(16_000 * seconds), np.float32)
    clicks = np.arange(4_000, len(sound), 8_000)
    for click in clicks:
        sound[click - 160 : click + 160] = 1
    rows = teacher(sound)
    assert rows.shape == (2 * -(-len(sound) // 640), 2 * LAYER_DIM)
    np.testing.assert_allclose(rows[:, LAYER_DIM:], 2 * rows[:, :LAYER_DIM], rtol=1e-5)
    loud = rows[:, 0]
    for click in clicks:
        step = click / 320 - 0.5
        around = np.arange(max(0, int(step) - 4), min(len(loud), int(step) + 6))
        assert abs((around * loud[around]).sum() / loud[around].sum() - step) < 0.6


def test_a_missing_teacher_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"pip install|Moonshine"):
        SpeechTeacher(tmp_path / "teacher.onnx")


def test_axes_even_out_what_is_strong_and_do_not_blow_up_what_is_weak():
    rng = np.random.default_rng(0)
    strength = np.geomspace(10, 1e-4, LAYER_DIM)
    rows = np.concatenate([rng.normal(size=(2000, LAYER_DIM)) * strength + 5, rng.normal(size=(2000, LAYER_DIM))], 1)
    axes = Axes.of(rows, 96)
    spread = axes(rows).astype(np.float64).std(0)
    assert spread[:4].min() > 0.95
    assert spread.max() < 1.05
    assert spread[95] < 0.6
    weights = axes.weights
    assert weights.shape == (192,)
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert weights[0] > 2 * weights[60]


def pieces(count: int) -> list[Piece]:
    """What is taught is what two of the mel bands do, one of them a little later."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        mel = rng.normal(size=(400, 64)).cumsum(0)
        mel = (mel - mel.mean(0)) / mel.std(0)
        late = np.roll(mel[:, 40], 4)
        made.append(Piece(mel.astype(np.float16), np.stack([mel[::2, 10], late[::2]], 1).astype(np.float16)))
    return made


def test_cuts_stay_in_step():
    mel, taught, there = batch(pieces(3), 40, np.random.default_rng(0))
    assert mel.shape == (3, 160, 64)
    np.testing.assert_allclose(mel[:, ::2, 10], taught[..., 0], atol=1e-2)
    assert there.min() == 1
    short = Piece(np.ones((40, 64), np.float16), np.ones((20, 2), np.float16))
    mel, _, there = batch([short], 40, np.random.default_rng(0))
    assert there.sum() == 20
    assert mel[0, 40:].max() == 0


def test_ears_learn_what_the_teacher_hears():
    torch.manual_seed(0)
    new = Ears(channels=16, hidden=8, dilations=(1, 2))
    said: list[str] = []
    some = pieces(48)
    ears = schooling.teach(some, np.ones(2, np.float32), new, steps=150, log=said.append)
    assert isinstance(ears, Ears)
    hidden = ears(torch.from_numpy(some[0].mel.astype(np.float32))[None])
    assert hidden.shape == (1, 200, 8)
    # What the band does can be read from the hidden units by a straight line.
    rows = np.c_[hidden[0].detach().numpy(), np.ones(200)]
    wanted = some[0].taught[:, 0].astype(np.float64)
    left = wanted - rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
    assert left.var() < 0.3 * wanted.var()


def test_ears_depend_on_no_more_than_their_context():
    ears = Ears(channels=8, hidden=4, dilations=(1, 2)).eval()
    mel = torch.randn(1, 200, 64)
    changed = mel.clone()
    changed[:, 120:] = 0
    same = (ears(mel) - ears(changed)).abs().amax((0, 2)) < 1e-6
    assert same[: 60 - ears.context].all()
    assert not same[60:].any()

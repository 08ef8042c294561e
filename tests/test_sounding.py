"""Sound for renderers that hear it: beside its frames, however they are cut, and left out where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from pipeline.audio.reading import read_audio
from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.devices import Runtime
from pipeline.drivers.sound_window import SOUND_VECTOR_DIM, stream_sound_vectors
from pipeline.hub import find_weights
from pipeline.renderers.headgan import HeadGAN, HeadGANRenderer
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.sounding import with_sound


class Listening:
    """Notes what it is given instead of drawing."""

    def __init__(self, sound_dim: int | None = SOUND_VECTOR_DIM) -> None:
        if sound_dim:
            self.sound_dim = sound_dim
        self.heard = []

    def start(self):
        def draw(coefficients, sound=None):
            self.heard.append(sound)
            return iter([np.zeros((2, 2, 3), np.uint8)] * len(coefficients))

        return draw

    def render(self, coefficients):
        return self.start()(coefficients)


def frames(count: int) -> Coefficients:
    return Coefficients(*(np.zeros((count, width), np.float32) for width in (64, 6, 3)))


def test_sound_vectors_do_not_depend_on_how_sound_comes(pipe, voice):
    samples, net = read_audio(voice), pipe.driver.phone_net
    whole = np.concatenate(list(stream_sound_vectors([samples], net)))
    pieces = np.concatenate(list(stream_sound_vectors(np.array_split(samples, 7), net)))
    assert whole.shape == (50, SOUND_VECTOR_DIM) and np.array_equal(whole, pieces)
    assert np.abs(whole[5:20] - whole[-15:]).mean() > 0.1, "speech and what follows it are not the same"


def test_each_part_gets_the_sound_of_its_frames(pipe, voice):
    net = pipe.driver.phone_net
    whole, parts = Listening(), Listening()
    list(with_sound(whole, voice, lambda: net).render(frames(70)))
    draw = with_sound(parts, voice, lambda: net).start()
    for count in (1, 0, 40, 29):
        list(draw(frames(count)))
    assert [len(part) for part in parts.heard] == [1, 0, 40, 29]
    assert np.array_equal(np.concatenate(parts.heard), whole.heard[0])
    assert whole.heard[0].shape == (70, SOUND_VECTOR_DIM), "the frames go on, the sound has ended: it is silent"
    assert np.abs(whole.heard[0][60:] - whole.heard[0][69]).max() < 0.5


def test_what_does_not_hear_is_left_as_it_is(voice):
    def nobody():
        raise AssertionError("the recogniser is not needed")

    for renderer, audio in ((Listening(None), voice), (Listening(300), voice), (Listening(), None)):
        assert with_sound(renderer, audio, nobody) is renderer


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("hearing")
    network = HeadGAN(HeadGANConfig(size=32, width=4, sound_dim=SOUND_VECTOR_DIM, hidden=8))
    network.save(folder / "headgan")
    (folder / "model_index.json").write_text(json.dumps({"headgan": []}))
    return find_weights(folder)


def test_other_sound_is_another_picture_where_weights_use_it(weights, portraits, pipe, voice, tmp_path):
    """The same motion: with speech, with silence, without any sound, and by weights that do not care for sound."""
    portrait, network = portraits["statue"], HeadGAN.load(weights.component("headgan"))
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000, np.float32), 16000)
    still = Coefficients(*(np.repeat(p, 8, 0) for p in vars_of(portrait.coefficients)))

    def drawn(audio):
        renderer = with_sound(HeadGANRenderer(portrait, network, Runtime()), audio, lambda: pipe.driver.phone_net)
        return np.stack(list(renderer.render(still))).astype(int)

    speech, silence, none = drawn(voice), drawn(tmp_path / "silence.wav"), drawn(None)
    assert np.abs(speech - silence).max() > 1 and np.abs(speech - none).max() > 1
    assert np.abs(np.diff(speech, axis=0)).max() > 1, "the sound alone moves the picture"
    assert np.abs(np.diff(none[2:], axis=0)).max() == 0
    for block in network.rendering.sounds:
        for norm in block.norms:
            norm.affine.weight.zero_()
    assert np.array_equal(drawn(voice), drawn(None))


def vars_of(coefficients: Coefficients) -> tuple[np.ndarray, ...]:
    return coefficients.expression, coefficients.pose, coefficients.crop


def test_talk_and_reenact_are_heard_and_listening_is_not(weights, pipe, portraits, voice, repository, monkeypatch):
    """A listener's lips do not follow the speaker's sound."""
    heard = []
    plain = HeadGANRenderer._render
    monkeypatch.setattr(
        HeadGANRenderer, "_render", lambda self, c, sound, memory: heard.append(sound) or plain(self, c, sound, memory)
    )
    hearing = ConversationalHeadPipeline(weights)
    vars(hearing).update(model=pipe.model, driver=pipe.driver, listener=pipe.listener)  # loaded once for all tests
    driving = repository / "examples" / "driving" / "woman_asking.mp4"
    for clip in (
        hearing.talk(portraits["statue"], voice, renderer="headgan"),
        hearing.reenact(portraits["statue"], driving, renderer="headgan"),
        hearing.listen(portraits["statue"], voice, renderer="headgan"),
    ):
        next(clip.frames)
    assert [sound is not None for sound in heard] == [True, True, False]
    assert all(sound.shape[1] == SOUND_VECTOR_DIM and np.ptp(sound) > 0 for sound in heard[:2])

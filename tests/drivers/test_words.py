"""Words: placed where they are said, masked where nobody knows their meaning, and never a reason to fail."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.audio.reading import read_audio
from pipeline.audio.voice import voice_activity
from pipeline.drivers.phonetics import PAUSE, PHONES
from pipeline.drivers.words import Word, WordTrack, align, embedded_words, recognised, word_track
from pipeline.errors import InputError, WeightsError

TEXT = "Bob and Pam bought a bowl of plum jam. My mother may be home by Monday morning."


def heard(*runs: tuple[str, int]) -> np.ndarray:
    """Probabilities of phones, each sure for some 20 ms steps."""
    labels = [PHONES.index(phone) for phone, steps in runs for _ in range(steps)]
    return np.eye(len(PHONES), dtype=np.float32)[labels]


def test_words_are_where_their_sounds_are() -> None:
    phones = heard((PAUSE, 10), ("b", 6), ("ih", 6), ("g", 4), (PAUSE, 20), ("m", 8), ("ae", 8), ("p", 4), (PAUSE, 10))
    assert align("Big map.", phones) == (Word("Big", 5, 13), Word("map.", 23, 33))


def test_a_silent_letter_and_a_lone_sign_do_no_harm() -> None:
    phones = heard(("n", 6), ("ow", 8), ("t", 4), (PAUSE, 6), ("k", 4), ("ae", 8), ("t", 4))
    assert align("note — cat", phones) == (Word("note", 0, 9), Word("cat", 12, 20))


def test_long_text_is_followed_from_end_to_end() -> None:
    sounds = {"big": ("b", "ih", "g"), "map": ("m", "ae", "p"), "soon": ("s", "uw", "n"), "leaf": ("l", "iy", "f")}
    words = np.random.default_rng(0).choice(list(sounds), 400).tolist()
    words_heard = align(" ".join(words), heard(*((phone, 4) for word in words for phone in sounds[word])))
    assert [word.text for word in words_heard] == words
    assert max(abs(word.start - 6 * index) for index, word in enumerate(words_heard)) <= 2


@pytest.mark.parametrize("text", ["", " \n", "— … !", "one two three four five six seven eight nine ten"])
def test_text_that_does_not_fit_gives_words_that_do(text: str) -> None:
    found = align(text, heard(("ow", 6)))
    assert all(0 <= word.start < word.stop <= 3 for word in found)
    assert all(before.stop <= after.start for before, after in pairwise(found))
    assert align(text, np.zeros((0, len(PHONES)), np.float32)) == ()


def test_a_transcript_meets_the_speech(repository: Path) -> None:
    samples = read_audio(repository / "examples" / "speech" / "lips_rms.flac")
    track = word_track(samples, TEXT)
    assert [word.text for word in track.words] == TEXT.split()
    assert track.vectors is None
    voice = voice_activity(samples)
    assert np.mean([voice[word.start : word.stop].mean() for word in track.words]) > 0.8
    pause = int(np.argmin(np.convolve(voice, np.ones(9) / 9, "same")[20:-20])) + 20
    jam, my = track.words[8], track.words[9]
    assert jam.stop <= pause + 3 and my.start >= pause - 3


def test_rows_are_those_of_the_word_being_said() -> None:
    track = WordTrack((Word("a", 2, 4), Word("b", 4, 6)), np.array([[1, 2], [3, 4]], np.float32))
    rows, mask = track.rows(3, 8, 2)
    assert rows.tolist() == [[1, 2], [3, 4], [3, 4], [0, 0], [0, 0]]
    assert mask.tolist() == [True, True, True, False, False]
    assert not track.rows(20, 30, 2)[1].any() and not track.rows(0, 2, 2)[1].any()
    with pytest.raises(ValueError, match="vectors must be"):
        track.rows(0, 3, 5)


def test_words_without_vectors_are_masked() -> None:
    for track in (WordTrack.nothing(), WordTrack((Word("a", 0, 4),))):
        rows, mask = track.rows(0, 4, 768)
        assert rows.shape == (4, 768) and not rows.any() and not mask.any()
    assert word_track(np.zeros(16_000, np.float32)) == WordTrack.nothing()
    assert word_track(np.zeros(0, np.float32), "hello there").words == ()


@pytest.mark.parametrize("ask", [{"transcript": "oh", "language_model": "some/bert"}, {"recogniser": "some/asr"}])
def test_without_transformers_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, ask: dict[str, str]) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"need the package transformers; install it .* leave this out\.$"):
        word_track(np.zeros(32_000, np.float32), **ask)


def test_without_network_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the Hub")

    absent = SimpleNamespace(pipeline=unreachable, AutoTokenizer=SimpleNamespace(from_pretrained=unreachable))
    monkeypatch.setitem(sys.modules, "transformers", absent)
    for call in (lambda: recognised(np.zeros(640), "some/asr"), lambda: embedded_words(["a"], "some/bert")):
        with pytest.raises(WeightsError, match=r"'some/\w+' could not be fetched .* leave it out\.$"):
            call()


class FakeTransformers:
    """The two interfaces of `transformers` that are used, with answers that can be told apart."""

    def __init__(self) -> None:
        self.AutoTokenizer = SimpleNamespace(from_pretrained=lambda _: self._pieces)
        self.AutoModel = SimpleNamespace(from_pretrained=lambda _, use_safetensors: self)

    def pipeline(self, task: str, model: str, chunk_length_s: int, model_kwargs: dict):
        assert task == "automatic-speech-recognition" and model_kwargs == {"use_safetensors": True}

        def hear(sound: dict, return_timestamps: str) -> dict:
            assert sound["sampling_rate"] == 16_000 and return_timestamps == "word"
            times = ((0.2, 0.6), (0.5, 0.9), (1.0, None), (9.0, 9.5))
            names = (" Good", " day", " you", " late")
            return {"chunks": [{"text": n, "timestamp": t} for n, t in zip(names, times, strict=True)]}

        return hear

    def _pieces(self, words: list[str], **options: object):
        """Two pieces a word, between a first and a last sign."""
        assert options == {"is_split_into_words": True, "return_tensors": "pt", "truncation": True}

        class Pieces(dict):
            def word_ids(self, _: int) -> list[int | None]:
                return [None, *(index for index in range(len(words)) for _ in range(2)), None]

        return Pieces(lengths=torch.tensor([0.0, *(len(word) + d for word in words for d in (0, 1)), 99.0]))

    def eval(self) -> FakeTransformers:
        return self

    def __call__(self, lengths: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=lengths[None, :, None].expand(1, -1, 3))


def test_recognised_words_get_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", FakeTransformers())
    track = word_track(np.zeros(32_000, np.float32), recogniser="some/asr", language_model="some/bert")
    assert track.words == (Word("Good", 5, 15), Word("day", 15, 22), Word("you", 25, 32))
    assert track.vectors.tolist() == [[4.5] * 3, [3.5] * 3, [3.5] * 3]
    many = embedded_words(["a" * (1 + index % 7) for index in range(400)], "some/bert")
    assert many[:, 0].tolist() == [1.5 + index % 7 for index in range(400)]

"""The talking driver: speech to the portrait's coefficients, frame by frame, for sound of any length.

An ensemble of networks (`pipeline.drivers.networks`) predicts the mouth; what averaging took from the motion is
given back by gains; lips that would run through one another, stay apart on p, b and m, or move in silence are put
right; blinks, gaze, brows and head motion come from `pipeline.drivers.liveliness`.

Sound is worked on in windows that overlap and are faded into one another. They lie at fixed places of the sound,
so the result does not depend on how it was cut into blocks, and memory does not grow with its length.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pipeline.audio.features import FEATURE_DIM, LOUDNESS, extract_features
from pipeline.audio.voice import CONTEXT_FRAMES, voice_activity
from pipeline.clock import FPS, SAMPLES_PER_FRAME, frame_count
from pipeline.coefficients import EXPRESSION_DIM, Coefficients
from pipeline.drivers.hearing import heard, sense, viseme_in
from pipeline.drivers.level import QUIETEST, normalised, speech_level
from pipeline.drivers.liveliness import Liveliness, LivelinessFrames
from pipeline.drivers.mouth import LEAST_GAP, MOUTH, MOUTH_DIM, Mouth, above
from pipeline.drivers.networks import Member
from pipeline.drivers.phonetics import PhoneNet
from pipeline.errors import WeightsError
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.hub_share import HubComponent
from pipeline.threads import one_thread

WINDOW_FRAMES = 15 * FPS
_CONTEXT = CONTEXT_FRAMES + 5  # voice activity looks furthest
_FADE = 10  # frames in which a window's frames give way to the next one's
_LEVEL_FALL = 3.0  # dB that the level may fall from window to window: a pause is not quiet speech
_ONSET, _RELEASE = 5, 8  # frames in which the mouth leaves its rest and comes back to it
_SHORTEST_PAUSE = 18  # frames; between words the network knows better
_QUIETER = 14.0  # dB between speech and what counts as a pause in it
_EASE = 6  # frames in which the portrait's own mouth turns into the driven one, once something is said


@dataclass(frozen=True)
class Finish:
    """What is done to the networks' answer; chosen on held-out people of the training split.

    Attributes:
        gains: (44,) of each mouth coefficient about the window's mean.
        opening_gain: of what remains in the lips' opening, about `opening_centre` face heights.
        opening_centre: see there.
        closing: share of the opening that is taken away where the recogniser is sure of p, b or m.
    """

    gains: np.ndarray = field(default_factory=lambda: np.ones(MOUTH_DIM, np.float32))
    opening_gain: float = 1.0
    opening_centre: float = 0.04
    closing: float = 0.4


class TalkingDriver(HubComponent):
    """Speech in, coefficients out. Make it with `from_pretrained`; calls share nothing and may run in threads."""

    component = "talking"
    companions = ("face", "liveliness")

    def __init__(
        self,
        members: list[Member],
        phone_net: PhoneNet,
        mouth: Mouth,
        finish: Finish,
        liveliness: Liveliness | None,
        model: MorphableModel,
    ) -> None:
        self.members = [member.eval() for member in members]
        self.phone_net = phone_net.eval()
        self.mouth = mouth
        self.finish = finish
        self.liveliness = liveliness
        self.model = model

    @classmethod
    def load(cls, folder: str | Path) -> TalkingDriver:
        """Read the weights that `save` wrote; liveliness and face model from the folders beside, or the embedded.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
            tensors = {name: value.float() for name, value in load_file(str(folder / "model.safetensors")).items()}
            phone_net = PhoneNet(**config["phonetics"])
            phone_net.load_state_dict(_under("phonetics", tensors), strict=False)
            finish = Finish(gains=_under("finish", tensors)["gains"].numpy(), **config["finish"])
            names = [str(name) for name in config["members"]]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The talking driver in {folder} cannot be read; install the weights again.") from error
        members = [Member.load(folder / name) for name in names]
        model = MorphableModel.load(_beside(folder, "face"))
        return cls(members, phone_net, Mouth.of(model), finish, Liveliness.load(_beside(folder, "liveliness")), model)

    def heard(self, raw: torch.Tensor) -> list[torch.Tensor]:
        """What each network hears (1, T, its sound_dim), of what was sensed (1, T, RAW_DIM)."""
        with _LOCK, torch.inference_mode(), one_thread():
            return [member.heard(raw) for member in self.members]

    @cached_property
    def silence(self) -> list[torch.Tensor]:
        """What each network hears of three seconds of silence: the same for every clip."""
        return self.heard(torch.from_numpy(sense(np.zeros(3 * FPS * SAMPLES_PER_FRAME, np.float32)))[None])

    def parts(self) -> dict[str, HubComponent]:
        """The driver, and the model and the liveliness that it needs beside it."""
        needed = {"talking": self, "face": self.model, "liveliness": self.liveliness}
        return {name: part for name, part in needed.items() if part is not None}

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision), `config.json`, and a folder for each network, into `folder`."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"member{index}" for index in range(len(self.members))]
        for name, member in zip(names, self.members, strict=True):
            member.save(folder / name)
        tensors = {
            f"phonetics.{name}": value.half().contiguous()
            for name, value in self.phone_net.state_dict().items()
            if value.is_floating_point()
        }
        tensors["finish.gains"] = torch.from_numpy(np.asarray(self.finish.gains, np.float32))
        save_file(tensors, str(folder / "model.safetensors"))
        config = {
            "_class_name": "TalkingDriver",
            "members": names,
            "phonetics": {"channels": self.phone_net.channels},
            "finish": {
                name: float(getattr(self.finish, name)) for name in ("opening_gain", "opening_centre", "closing")
            },
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def __call__(
        self,
        audio: Iterable[np.ndarray] | np.ndarray,
        reference: Coefficients,
        seed: int = 0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        identity: np.ndarray | None = None,
    ) -> Iterator[Coefficients]:
        """Coefficients of a head that says `audio`.

        Args:
            audio: (N,) sound at 16 kHz, or blocks of it in order, of any length.
            reference: the portrait's coefficients; the first frame counts.
            seed: chooses blinks, gaze, brows and head motion; the lips don't depend on it. 0 or more.
            expression_scale: 0 (the mouth rests) to 2; scales mouth and brows.
            motion_scale: 0 (the head is still) to 2.
            identity: (K,) the portrait's α; without it nobody knows how open its mouth is, and lips close less
                exactly.

        Yields:
            consecutive chunks, `frame_count(N)` frames in all; the same for the same seed, to the byte.

        Raises:
            ValueError: if the reference is empty, or a scale or the seed is negative.
        """
        if len(reference) == 0:
            raise ValueError("The reference needs at least one frame.")
        if not (0 <= expression_scale < np.inf and 0 <= motion_scale < np.inf):
            raise ValueError("expression_scale and motion_scale must be 0 or more.")
        if seed < 0:
            raise ValueError("seed must be 0 or more.")
        blocks = [audio] if isinstance(audio, np.ndarray) else audio
        return self._run(blocks, reference[0], seed, expression_scale, motion_scale, identity)

    def _run(
        self,
        blocks: Iterable[np.ndarray],
        reference: Coefficients,
        seed: int,
        expression_scale: float,
        motion_scale: float,
        identity: np.ndarray | None,
    ) -> Iterator[Coefficients]:
        lips = _Lips(self, reference, identity, expression_scale)
        life = None
        if self.liveliness is not None:
            life = self.liveliness.start(reference, self.model, identity, seed, motion_scale, expression_scale)
        mouths = np.zeros((0, EXPRESSION_DIM), np.float32)  # frames whose liveliness is not settled yet
        for window in _windows(blocks):
            mouths = np.concatenate([mouths, lips(window)])
            features = extract_features(window.samples)[window.core]
            frames = None if life is None else life(features)
            settled = len(mouths) if frames is None else len(frames)
            if settled:
                yield _combined(reference, mouths[:settled], frames)
                mouths = mouths[settled:]
        if len(mouths):
            frames = None if life is None else life(np.zeros((0, FEATURE_DIM), np.float32), last=True)
            yield _combined(reference, mouths, frames)


@dataclass(frozen=True)
class _Window:
    """Sound with what surrounds it; `core` are the rows that count, among the rows of `samples`."""

    samples: np.ndarray
    core: slice


def _windows(blocks: Iterable[np.ndarray]) -> Iterator[_Window]:
    """Cut sound at fixed places, whatever its blocks, into `WINDOW_FRAMES` with `_CONTEXT` frames on both sides."""
    size, context = WINDOW_FRAMES * SAMPLES_PER_FRAME, _CONTEXT * SAMPLES_PER_FRAME
    held: list[np.ndarray] = []
    length = before = 0  # samples held, and how many of them are context
    for block in blocks:
        held.append(np.asarray(block, np.float32))
        length += len(block)
        while length > before + size + context:
            sound = np.concatenate(held)
            first = before // SAMPLES_PER_FRAME
            yield _Window(sound[: before + size + context], slice(first, first + WINDOW_FRAMES))
            cut = max(0, before + size - context)
            held, before = [sound[cut:]], before + size - cut
            length = len(held[0])
    # What is left is at most one window and one context long.
    if length > before:
        sound = np.concatenate(held)
        yield _Window(sound, slice(before // SAMPLES_PER_FRAME, frame_count(len(sound))))


class _Lips:
    """One clip's mouth, window by window."""

    def __init__(
        self, driver: TalkingDriver, reference: Coefficients, identity: np.ndarray | None, scale: float
    ) -> None:
        self._driver, self._scale = driver, scale
        mouth = driver.mouth
        beta = reference.expression[0]
        geometry = mouth.geometry(identity, beta)
        self._identity = identity
        self._own = beta[MOUTH]
        self._base = mouth.opened(beta, -geometry[0])
        self._reference = torch.from_numpy(reference_row(reference, geometry))[None]
        rest = self._base[None, MOUTH] + self._residual(driver.silence)[FPS : 2 * FPS].mean(0)
        self._rest = mouth.opened(_full(rest), LEAST_GAP - self._opening(rest))[0, MOUTH]
        self._level = QUIETEST
        self._tail: np.ndarray | None = None
        self._begun = False

    def __call__(self, window: _Window) -> np.ndarray:
        """β (T, 64) of the window's core, zero above the mouth."""
        mouth, speaking = self._mouth(window.samples)
        if not self._begun:
            mouth = self._until_speech(mouth, speaking, window.core)
        core = mouth[window.core]
        if self._tail is not None:
            share = _ramp(len(core), 0, _FADE)[: len(self._tail)]
            core[: len(share)] = self._tail[: len(core)] * (1 - share) + core[: len(share)] * share
        self._tail = mouth[window.core.stop : window.core.stop + _FADE]
        out = np.zeros((len(core), EXPRESSION_DIM), np.float32)
        out[:, MOUTH] = core
        return out

    def _until_speech(self, mouth: np.ndarray, speaking: np.ndarray, core: slice) -> np.ndarray:
        """The mouth (T, 44) stays the portrait's own until something is said: a smile doesn't fade in silence."""
        said = np.flatnonzero(speaking[core] > 0)
        self._begun = len(said) > 0
        onset = core.start + said[0] if self._begun else len(mouth)
        share = np.zeros((len(mouth), 1), np.float32)
        share[onset:] = _ramp(len(mouth) - onset, 0, _EASE)
        return self._own + share * (mouth - self._own)

    def _mouth(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """β[20:] (T, 44) of a whole window, and how far (T,) speech has it."""
        self._level = max(speech_level(samples), self._level - _LEVEL_FALL)
        raw = torch.from_numpy(sense(normalised(samples, self._level)))[None]
        with torch.inference_mode():
            rows = heard(raw, self._driver.phone_net)[0].numpy()
        residual = self._residual(self._driver.heard(raw))
        opening = self._opening(self._base[MOUTH] + residual)
        mouth = self._finished(self._base[MOUTH] + self._with_gains(residual), opening, viseme_in(rows, "lips"))
        speaking = speaking_share(voice_activity(samples), viseme_in(rows, "silence"), rows[:, LOUDNESS])
        return self._rest + self._scale * speaking[:, None] * (mouth - self._rest), speaking

    def _residual(self, heard: list[torch.Tensor]) -> np.ndarray:
        """The ensemble's mean answer (T, 44) to what each of its networks heard (1, T, its sound_dim)."""
        total = np.zeros((heard[0].shape[1], MOUTH_DIM), np.float32)
        with _LOCK, torch.inference_mode(), one_thread():
            for member, rows in zip(self._driver.members, heard, strict=True):
                total += member.net(rows, self._reference)[0, :, MOUTH].numpy()
        return total / len(self._driver.members)

    def _with_gains(self, residual: np.ndarray) -> np.ndarray:
        middle = residual.mean(0)
        return middle + self._driver.finish.gains * (residual - middle)

    def _opening(self, mouth: np.ndarray) -> np.ndarray:
        """Signed opening (T,) of mouths (T, 44), in face heights."""
        return self._driver.mouth.geometry(self._identity, _full(mouth))[:, 0]

    def _finished(self, mouth: np.ndarray, opening: np.ndarray, closing: np.ndarray) -> np.ndarray:
        """Give mouths (T, 44) their opening: with its spread, shut on p, b and m, and lips not through one another.

        The opening is taken from the networks' plain answer (T,), which knows it better than the gained
        coefficients do.
        """
        finish = self._driver.finish
        wanted = finish.opening_centre + finish.opening_gain * (opening - finish.opening_centre)
        wanted = np.where(wanted > 0, wanted * (1 - finish.closing * sure(closing)), wanted)
        return self._driver.mouth.opened(_full(mouth), above(wanted) - self._opening(mouth))[:, MOUTH]


def reference_row(reference: Coefficients, geometry: np.ndarray) -> np.ndarray:
    """(REFERENCE_DIM,) what the networks are told of the portrait: its coefficients and its mouth's measures (4,)."""
    return np.concatenate([reference.expression[0], reference.pose[0], reference.crop[0], geometry]).astype(np.float32)


def speaking_share(voice: np.ndarray, silence: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """How far (T,) the mouth has left its rest: 0 in pauses, 1 in speech, with smooth ways between.

    Args:
        voice: (T,) voice activity.
        silence: (T,) the recogniser's probability that nothing is said.
        loudness: (T,) dB. What is hardly quieter than the speech around it may be speech in noise: there the
            networks, which heard such noise in training, know better.
    """
    speech = (voice > 0.5) | (silence < 0.3)
    speech &= voice > 0.1
    edges = np.flatnonzero(np.diff(np.concatenate([[1], speech.astype(int), [1]])))
    share = np.ones(len(speech))
    t = np.arange(len(speech))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        first, final = start == 0, stop == len(speech)
        if stop - start < _SHORTEST_PAUSE and not (first or final):
            continue
        if speech.any() and np.median(loudness[start:stop]) > np.median(loudness[speech]) - _QUIETER:
            continue
        into = np.ones(len(t)) if first else np.clip((t - start + 1) / _RELEASE, 0, 1)
        out = np.ones(len(t)) if final else np.clip((stop - t) / _ONSET, 0, 1)
        rest = 0.5 - 0.5 * np.cos(np.pi * np.minimum(into, out))
        share = np.where((t >= start) & (t < stop), 1 - rest, share)
    return share.astype(np.float32)


def _full(mouth: np.ndarray) -> np.ndarray:
    """β (T, 64) of mouths (T, 44), the upper face at nought."""
    return np.pad(mouth, ((0, 0), (MOUTH.start, 0)))


def sure(probability: np.ndarray) -> np.ndarray:
    """0 up to even chances, 1 from 0.8."""
    return np.clip((probability - 0.5) / 0.3, 0, 1)


def _ramp(count: int, start: int, length: int) -> np.ndarray:
    """(count, 1) rising from 0 at `start` to 1 in `length` frames, as half a cosine."""
    part = np.clip((np.arange(count) - start) / length, 0, 1)[:, None]
    return (0.5 - 0.5 * np.cos(np.pi * part)).astype(np.float32)


def _combined(reference: Coefficients, mouths: np.ndarray, life: LivelinessFrames | None) -> Coefficients:
    count = len(mouths)
    expression = np.repeat(reference.expression, count, 0)
    expression[:, MOUTH] = mouths[:, MOUTH]
    pose, crop = np.repeat(reference.pose, count, 0), np.repeat(reference.crop, count, 0)
    if life is not None:
        expression[:, : MOUTH.start] += life.expression[:, : MOUTH.start]
        pose, crop = pose + life.pose, crop + life.crop
    return Coefficients(expression, pose, crop)


_LOCK = threading.Lock()


def _under(part: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(part + ".")}


def _beside(folder: Path, component: str) -> Path:
    own = folder.parent / component
    return own if own.is_dir() else EMBEDDED / component

"""The listening driver: a speaker's sound to the coefficients of a portrait that listens, for sound of any length.

The audio encoder and the turn-taking rules say what is heard; the network (`listening_networks`) answers with one of
many fitting motions, which the seed chooses; `listening_eyes` adds blinks and gaze. The mouth stays as open as the
portrait's: expressions that part the lips are not in the space of motion.

All is worked on in windows at fixed places of the sound that overlap and are faded into one another, and noise
belongs to frames: the result does not depend on how the sound was cut into blocks, and memory does not grow.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.clock import FPS, SAMPLES_PER_FRAME
from pipeline.coefficients import Coefficients
from pipeline.drivers.audio_encoder import CAUSAL, AudioEncoder, LiveEncoder, encode, encode_stream
from pipeline.drivers.listener import Finish, Listener, Parts, ease
from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.drivers.listening_flow import scheduler_class
from pipeline.drivers.listening_live import LiveListener
from pipeline.drivers.listening_networks import ListenerConfig, ListenerNet
from pipeline.drivers.liveliness import Liveliness
from pipeline.drivers.motion_space import MotionSpace
from pipeline.drivers.turns import TURN_DIM, TurnPlan
from pipeline.errors import WeightsError
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.hub_share import HubComponent

if TYPE_CHECKING:
    from pipeline.drivers.words import WordTrack

WINDOW_FRAMES = 18 * FPS
_CONTEXT = 76  # frames on both sides of a window that are worked on with it: 3 s, in whole pairs
_FADE = 12  # frames in which a window's motion gives way to the next one's
_BLOCK = 10 * FPS * SAMPLES_PER_FRAME
MOTION = "motion"
"""Folder of the gestures' curves there."""


class ListeningDriver(HubComponent):
    """Speech in, a listener's coefficients out. Make it with `from_pretrained`; calls share nothing."""

    component = "listening"
    companions = ("audio_encoder", "face", "liveliness")

    def __init__(
        self,
        net: ListenerNet,
        encoder: AudioEncoder,
        space: MotionSpace,
        liveliness: Liveliness | None,
        model: MorphableModel,
        causal: ListeningDriver | None = None,
        finish: Finish | None = None,
        gestures: ListenerMotion | None = None,
    ) -> None:
        if net.config.causal != encoder.config.causal:
            raise ValueError("The network and the encoder must both be causal, or neither.")
        self.encoder = encoder.eval()
        finish = finish or Finish(np.ones(space.size, np.float32), {})
        self._shared = Parts(net.eval(), space, finish, model, gestures, liveliness)
        self.causal = self if net.config.causal else causal

    @property
    def uses_words(self) -> bool:
        """Whether the encoder was trained with vectors of words; where it was not, they change nothing."""
        return any(bool(weights.any()) for weights in self.encoder.words_in[-1].parameters())

    @classmethod
    def load(cls, folder: str | Path) -> ListeningDriver:
        """Read the weights that `save` wrote, and those of the causal variant in `causal/`, if it is there.

        Encoder, liveliness and face model come from the folders beside, or the embedded ones.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        threading.Thread(target=scheduler_class, daemon=True).start()  # while the portrait is looked at
        folder = Path(folder)
        causal = cls._one(folder / CAUSAL, folder.parent, None) if (folder / CAUSAL).is_dir() else None
        return cls._one(folder, folder.parent, causal)

    @classmethod
    def _one(cls, folder: Path, root: Path, causal: ListeningDriver | None) -> ListeningDriver:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            config = json.loads((folder / "config.json").read_text())
            network = {k: tuple(v) if isinstance(v, list) else v for k, v in config["network"].items()}
            tensors = {name: value.float() for name, value in load_file(str(folder / "model.safetensors")).items()}
            space = MotionSpace(tensors.pop("space.basis").numpy(), tensors.pop("space.scale").numpy())
            finish = Finish(tensors.pop("finish.gains").numpy(), dict(config["finish"]))
            net = ListenerNet(ListenerConfig(**network))
            net.load_state_dict(tensors)
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"The listening driver in {folder} cannot be read; install the weights again."
            ) from error
        encoder = AudioEncoder.load(_beside(root, "audio_encoder", *([CAUSAL] if net.config.causal else [])))
        liveliness = Liveliness.load(_beside(root, "liveliness"))
        gestures = ListenerMotion.load(_beside(root, "listening", MOTION))
        model = MorphableModel.load(_beside(root, "face"))
        return cls(net, encoder, space, liveliness, model, causal, finish, gestures)

    @property
    def space(self) -> MotionSpace:
        """In which the network's motion is."""
        return self._shared.space

    def without_finish(self) -> ListeningDriver:
        """The network's plain motion, without gestures and eyes added."""
        return ListeningDriver(self._shared.net, self.encoder, self.space, None, self._shared.model)

    def answer(
        self, samples: np.ndarray, reference: Coefficients, plan: TurnPlan, attitude: str, seed: int
    ) -> np.ndarray:
        """Motion (T, M) of the generative head for a whole sound (N,) and given turns, in one window."""
        listener = Listener(self._shared, reference, attitude, seed, 0.8, 1.0, 1.0, None)
        sound = encode(samples, self.encoder)
        return listener.motion(listener.rows(sound, plan.conditions()[: len(sound)], None))

    def parts(self) -> dict[str, HubComponent]:
        """The driver, and the model and the liveliness that it needs beside it; encoders are the embedded ones."""
        needed = {"listening": self, "face": self._shared.model, "liveliness": self._shared.liveliness}
        return {name: part for name, part in needed.items() if part is not None}

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json`; the causal variant into `folder/causal`."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().half().contiguous() for name, value in self._shared.net.state_dict().items()}
        tensors["space.basis"] = torch.from_numpy(np.ascontiguousarray(self._shared.space.basis, np.float16))
        tensors["space.scale"] = torch.from_numpy(self._shared.space.scale.astype(np.float32))
        finish = self._shared.finish
        tensors["finish.gains"] = torch.from_numpy(np.asarray(finish.gains, np.float32))
        save_file(tensors, str(folder / "model.safetensors"))
        network = asdict(self._shared.net.config)
        config = {"_class_name": "ListeningDriver", "network": network, "finish": finish.shares}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        if self._shared.gestures is not None and not self._shared.net.config.causal:
            self._shared.gestures.save(folder / MOTION)
        if self.causal not in (None, self):
            self.causal.save(folder / CAUSAL)

    def __call__(
        self,
        audio: Iterable[np.ndarray] | np.ndarray,
        reference: Coefficients,
        attitude: str = "neutral",
        seed: int = 0,
        attitude_scale: float = 1.0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        identity: np.ndarray | None = None,
        speaker: Coefficients | Iterable[Coefficients] | None = None,
        words: WordTrack | None = None,
    ) -> Iterator[Coefficients]:
        """Coefficients of a head that listens to `audio`.

        Args:
            audio: (N,) the speaker's sound at 16 kHz, or blocks of it in order, of any length.
            reference: the portrait's coefficients; the first frame counts.
            attitude: one of `ATTITUDES`.
            seed: chooses among the reactions that fit. 0 or more.
            attitude_scale: 0 (as neutral) to 2; see `listening_flow.guidance`.
            expression_scale: 0 (only blinks and gaze) to 2.
            motion_scale: 0 (the head is still) to 2.
            identity: (K,) the portrait's α; lids close exactly only with it.
            speaker: β and p of the speaker's face, frame by frame from the sound's begin, whole or in chunks that
                are taken as they are needed; where it ends before the sound, the speaker is unseen.
            words: what is said, if it is known.

        Yields:
            consecutive chunks, `frame_count(N)` frames in all; the same for the same seed, to the byte.

        Raises:
            ValueError: if the reference is empty, the attitude unknown, or a scale or the seed negative.
        """
        listener = Listener(
            self._shared, reference, attitude, seed, attitude_scale, expression_scale, motion_scale, identity
        )
        return self._run(listener, audio, speaker, words, generative=True)

    def regression(
        self,
        audio: Iterable[np.ndarray] | np.ndarray,
        reference: Coefficients,
        attitude: str = "neutral",
        seed: int = 0,
        attitude_scale: float = 1.0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        identity: np.ndarray | None = None,
        speaker: Coefficients | Iterable[Coefficients] | None = None,
        words: WordTrack | None = None,
    ) -> Iterator[Coefficients]:
        """As a call, but the plain answer of Chang 2023's decoder (eq. 5): no generative head, no blinks and gaze.

        Here for comparison; the seed matters only as far as it decides when the listener reacts.
        """
        listener = Listener(
            self._shared, reference, attitude, seed, attitude_scale, expression_scale, motion_scale, identity
        )
        return self._run(listener, audio, speaker, words, generative=False)

    def live(
        self,
        reference: Coefficients,
        attitude: str = "neutral",
        seed: int = 0,
        attitude_scale: float = 1.0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        identity: np.ndarray | None = None,
    ) -> LiveListener:
        """Listen to somebody who speaks now, frame by frame, with the causal variant. Arguments as for a call.

        Raises:
            WeightsError: if there is no causal variant.
            ValueError: as for a call.
        """
        if self.causal is None:
            raise WeightsError("There are no weights for listening live; install the weights again.")
        listener = Listener(
            self.causal._shared, reference, attitude, seed, attitude_scale, expression_scale, motion_scale, identity
        )
        return LiveListener(listener, LiveEncoder(self.causal.encoder), reference)

    def _run(
        self,
        listener: Listener,
        audio: Iterable[np.ndarray] | np.ndarray,
        speaker: Coefficients | Iterable[Coefficients] | None,
        words: WordTrack | None,
        generative: bool,
    ) -> Iterator[Coefficients]:
        blocks = [audio] if isinstance(audio, np.ndarray) else audio
        tail: np.ndarray | None = None
        for rows, core in _windows(self._rows(listener, blocks, speaker, words)):
            motion = listener.motion(rows, generative)
            made = motion[core].copy()
            if tail is not None:
                share = _fade(len(tail))[: len(made)]
                made[: len(share)] = tail[: len(made)] * (1 - share) + made[: len(share)] * share
            tail = motion[core.stop : core.stop + _FADE]
            yield listener.show(made, rows[core], generative)

    def _rows(
        self,
        listener: Listener,
        blocks: Iterable[np.ndarray],
        speaker: Coefficients | Iterable[Coefficients] | None,
        words: WordTrack | None,
    ) -> Iterator[np.ndarray]:
        """All that frames are told, as columns, piece by piece."""
        waiting = [np.zeros((0, TURN_DIM), np.float32)]  # turn rows whose sound is not encoded yet

        def heard_by_both() -> Iterator[np.ndarray]:
            for block in _even(blocks):
                waiting.append(listener.hear(block))
                yield block

        faces = _Faces(speaker)
        for sound in encode_stream(heard_by_both(), self.encoder, words):
            turns = np.concatenate(waiting)
            waiting[:] = [turns[len(sound) :]]
            yield listener.rows(sound, turns[: len(sound)], faces.take(len(sound)))


class _Faces:
    """The speaker's face, taken a piece at a time of coefficients, or of chunks of them."""

    def __init__(self, speaker: Coefficients | Iterable[Coefficients] | None) -> None:
        self._chunks = iter([speaker] if isinstance(speaker, Coefficients) else speaker or ())
        self._held: list[Coefficients] = []

    def take(self, count: int) -> Coefficients | None:
        """The next `count` frames, or as many as there are; None where there is nothing."""
        while sum(map(len, self._held)) < count and (chunk := next(self._chunks, None)) is not None:
            self._held.append(chunk)
        if not self._held:
            return None
        held = Coefficients.concatenate(self._held)
        self._held = [held[count:]] if len(held) > count else []
        return held[:count]


def _windows(pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, slice]]:
    """Rows cut at fixed places into `WINDOW_FRAMES`, with `_CONTEXT` on both sides; the slice is what counts."""
    held: list[np.ndarray] = []
    length = before = 0  # rows held, and how many of them are context
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        while length > before + WINDOW_FRAMES + _CONTEXT:
            rows = np.concatenate(held)
            yield rows[: before + WINDOW_FRAMES + _CONTEXT], slice(before, before + WINDOW_FRAMES)
            cut = max(0, before + WINDOW_FRAMES - _CONTEXT)
            held, before = [rows[cut:]], before + WINDOW_FRAMES - cut
            length = len(held[0])
    if length > before:
        rows = np.concatenate(held)
        yield rows, slice(before, length)


def _even(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same sound in blocks of 10 s; the last one is shorter."""
    held: list[np.ndarray] = []
    length = 0
    for block in blocks:
        held.append(np.asarray(block, np.float32))
        length += len(block)
        while length >= _BLOCK:
            sound = np.concatenate(held)
            yield sound[:_BLOCK]
            held, length = [sound[_BLOCK:]], length - _BLOCK
    if length:
        yield np.concatenate(held)


def _fade(count: int) -> np.ndarray:
    """(count, 1) rising from 0 towards 1."""
    return ease(np.arange(count) / _FADE)[:, None]


def _beside(root: Path, *path: str) -> Path:
    """The folder of a component's part in `root`, or among the embedded weights."""
    own = root.joinpath(*path)
    return own if (own / "config.json").is_file() else EMBEDDED.joinpath(*path)

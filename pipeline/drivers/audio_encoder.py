"""The hierarchical audio encoder: what a listener hears, from the sound of the voice up to what is being said.

A small residual network with squeeze-and-excitation reads mel spectra; the features of its stages 2, 3 and 4 are the
low, middle and high level (Chang 2023 §4.3, after HA2G). One more such block fuses them with MFCC, Δ and ΔΔ and, where
there are any, with the vectors of the words (eq. 3). Squeezing averages over a second, not over the clip, so that
sound of any length is encoded in windows and an hour takes the memory of half a minute.

The causal variant has the same layers, padded on the left: a row knows `LOOKAHEAD_FRAMES` of the future, no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.audio.features import N_MFCC, extract_features
from pipeline.audio.streaming import stream_rows
from pipeline.clock import SAMPLES_PER_FRAME, frame_count
from pipeline.drivers.phonetics import MEL_BANDS, MELS_PER_FRAME, log_mel
from pipeline.drivers.running_level import FIRST_LEVEL, Leveller, levelled, raised
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.threads import one_thread

if TYPE_CHECKING:
    from pipeline.drivers.words import WordTrack

CAUSAL = "causal"
"""The folder of the causal variant, in the component's own."""
MFCC_DIM = 3 * N_MFCC
BERT_DIM = 768
LEVEL_DIM = 64
_WORD_BOTTLENECK = 32
LOOKAHEAD_FRAMES = 3
"""Frames of sound after a row's own that the causal variant's row depends on: 120 ms."""

CONTEXT_FRAMES = 160
"""Rows on each side that a row depends on (75 in the full variant, 145 before it in the causal), but for the level."""

_CHUNK_FRAMES = 750  # 30 s: long against the context, which is worked on twice
_SQUEEZE = 25  # steps that squeezing averages over
_SILENT_MEL = -3.1  # of log_mel; taken away, so that padding with zeros is padding with silence
_MEL_DELAY, _MFCC_DELAY = 2, 4  # frames by which the causal net runs ahead of its row, and MFCC behind the net
LEVEL_AHEAD = 75  # frames: 3 s
_LIVE_FRAMES = 11  # a row of MFCC with Δ depends on five rows to each side


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        causal: whether rows know no more than `LOOKAHEAD_FRAMES` of the future.
        word_dim: length of a word's vector; BERT's.
        width: channels of the first stage; the others have 2, 4 and 6 times as many.
        output_dim: length of a fused row.
    """

    causal: bool = False
    word_dim: int = BERT_DIM
    width: int = 16
    output_dim: int = 128


class EncodedSpeech(NamedTuple):
    """Rows at 25 a second: `low`, `middle`, `high` (B, T, 64) and `fused` (B, T, output_dim)."""

    low: Tensor
    middle: Tensor
    high: Tensor
    fused: Tensor


Memory = dict[nn.Module, Tensor]
"""What each layer keeps of the past when sound comes frame by frame."""


class AudioEncoder(nn.Module, HubComponent):
    """Chang 2023 §4.3 in small: one block a stage where ResNetSE34 has 3 to 6, for a tenth of a core.

    Time is halved twice before stage 2 (a hundred mel spectra a second to 25 rows), frequency at each stage;
    stages 3 and 4 look further by dilation (2 and 4 rows).
    """

    component = "audio_encoder"

    def __init__(self, config: EncoderConfig = EncoderConfig()) -> None:
        super().__init__()
        self.config = config
        causal, width = config.causal, config.width
        self.stem = _Convolution(1, width, stride=(2, 2), causal=causal)
        self.stem_norm = nn.BatchNorm2d(width)
        sizes = (width, width, 2 * width, 4 * width, 6 * width)
        strides, dilations = ((1, 1), (2, 2), (2, 1), (2, 1)), (1, 1, 2, 4)
        self.stages = nn.ModuleList(
            _Block(*sizes[stage : stage + 2], strides[stage], dilations[stage], causal) for stage in range(4)
        )
        bands = (MEL_BANDS // 4, MEL_BANDS // 8, MEL_BANDS // 16)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv1d(size * band, LEVEL_DIM, 1), nn.BatchNorm1d(LEVEL_DIM))
            for size, band in zip(sizes[2:], bands, strict=True)
        )
        self.mfcc_norm = nn.BatchNorm1d(MFCC_DIM)
        # Nothing is added by words until a training that had them says what: see the model card.
        self.words_in = nn.Sequential(
            nn.Linear(config.word_dim, _WORD_BOTTLENECK), nn.Linear(_WORD_BOTTLENECK, config.output_dim)
        )
        nn.init.zeros_(self.words_in[1].weight)
        nn.init.zeros_(self.words_in[1].bias)
        self.fusion_in = nn.Conv1d(3 * LEVEL_DIM + MFCC_DIM, config.output_dim, 1)
        self.fusion = _Block(config.output_dim, config.output_dim, (1, 1), 1, causal, bands=1)
        self.fusion_out = nn.Conv1d(config.output_dim, config.output_dim, 1)
        self.output_norm = nn.BatchNorm1d(config.output_dim, affine=False)

    def forward(
        self, mel: Tensor, mfcc: Tensor, words: Tensor | None = None, word_mask: Tensor | None = None
    ) -> EncodedSpeech:
        """Encode whole sounds, or pieces with `CONTEXT_FRAMES` around what counts.

        Args:
            mel: (B, 4 T, 64) of `pipeline.drivers.phonetics.log_mel`.
            mfcc: (B, T, 42), the first columns of `pipeline.audio.features.extract_features`.
            words: (B, T, word_dim) vector of the word that is being said; None masks all.
            word_mask: (B, T) true where `words` holds; None is true everywhere.

        Raises:
            ValueError: if shapes don't fit together.
        """
        rows = mfcc.shape[1]
        if mel.shape[1:] != (rows * MELS_PER_FRAME, MEL_BANDS) or mfcc.shape[2] != MFCC_DIM:
            raise ValueError(f"mel must be (B, 4 T, 64) and mfcc (B, T, 42), not {(*mel.shape,)} and {(*mfcc.shape,)}.")
        if words is not None and words.shape[1:] != (rows, self.config.word_dim):
            raise ValueError(f"words must be (B, {rows}, {self.config.word_dim}), not {(*words.shape,)}.")
        said = self._said(words, word_mask)
        if not self.config.causal:
            return self._encode(mel, mfcc, said, None)
        mel = F.pad(mel, (0, 0, 0, _MEL_DELAY * MELS_PER_FRAME), value=_SILENT_MEL)
        mfcc = F.pad(mfcc, (0, 0, _MFCC_DELAY, _MEL_DELAY))[:, : rows + _MEL_DELAY]
        said = None if said is None else F.pad(said, (_MEL_DELAY, 0))
        return EncodedSpeech(*(level[:, _MEL_DELAY:] for level in self._encode(mel, mfcc, said, None)))

    def _said(self, words: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """(B, output_dim, T) that the words add to the fusion's input; exactly nothing where they are masked."""
        if words is None:
            return None
        added = self.words_in(words)
        return (added if mask is None else added * mask[..., None]).transpose(1, 2)

    def _encode(self, mel: Tensor, mfcc: Tensor, said: Tensor | None, memory: Memory | None) -> EncodedSpeech:
        x = (mel - _SILENT_MEL).transpose(1, 2)[:, None]  # (B, 1, bands, steps)
        x = F.relu(self.stem_norm(self.stem(x, memory)))
        stages = []
        for stage in self.stages:
            x = stage(x, memory)
            stages.append(x)
        levels = [layer(x.flatten(1, 2)) for layer, x in zip(self.levels, stages[1:], strict=True)]
        coefficients = self.mfcc_norm(mfcc.transpose(1, 2)).clamp(-4, 4)
        x = self.fusion_in(torch.cat([*levels, coefficients], 1))
        if said is not None:
            x = x + said
        fused = self.output_norm(self.fusion_out(self.fusion(x[:, :, None], memory)[:, :, 0]))
        return EncodedSpeech(*(level.transpose(1, 2) for level in (*levels, fused)))

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json` into `folder`."""
        save_network(self, folder, asdict(self.config))

    @classmethod
    def load(cls, folder: str | Path) -> AudioEncoder:
        """Read what `save` wrote, ready to use; of a folder that has the causal variant alone, that one.

        Raises:
            WeightsError: if files are missing, damaged or of another component.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file() and (folder / CAUSAL).is_dir():
            folder /= CAUSAL
        return load_network(
            folder, lambda **config: cls(EncoderConfig(**config)), "The audio encoder", kind="AudioEncoder"
        )

    def parts(self) -> dict[str, HubComponent]:
        """The encoder; the causal variant stands in a folder of its own, where drivers look for it."""
        return {f"{self.component}/{CAUSAL}" if self.config.causal else self.component: self}


class _Convolution(nn.Module):
    """3 × 3 taps over bands and time, padded by hand: the causal one looks back only, and can go on from a memory."""

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1), dilation: int = 1, causal: bool = False,
        bands: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, (bands, 3), stride, (bands // 2, 0), dilation=(1, dilation), bias=False
        )
        # A halving of time takes a pair of steps of one frame and one step before, in either variant.
        halving = stride[1] == 2
        self.left = 1 if halving else (2 * dilation if causal else dilation)
        self.right = 0 if halving or causal else dilation

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        if memory is None:
            return self.convolution(F.pad(x, (self.left, self.right)))
        past = memory.get(self)
        x = F.pad(x, (self.left, 0)) if past is None else torch.cat([past, x], -1)
        memory[self] = x[..., -self.left :]
        return self.convolution(x)


class _Squeeze(nn.Module):
    """Squeeze-and-excitation (Hu 2018), squeezing all bands and a second around each step, or before it."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        inner = max(8, channels // 4)
        self.gates = nn.Sequential(nn.Conv1d(channels, inner, 1), nn.ReLU(), nn.Conv1d(inner, channels, 1))
        self.causal = causal

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        pooled = x.mean(2)
        past = _SQUEEZE - 1 if self.causal else _SQUEEZE // 2
        if memory is None:
            pooled = F.pad(pooled, (past, _SQUEEZE - 1 - past))
        else:
            held = memory.get(self)
            pooled = F.pad(pooled, (past, 0)) if held is None else torch.cat([held, pooled], -1)
            memory[self] = pooled[..., -past:]
        return x * torch.sigmoid(self.gates(F.avg_pool1d(pooled, _SQUEEZE, 1)))[:, :, None]


class _Block(nn.Module):
    """Two convolutions, squeeze-and-excitation, and the way past them."""

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int], dilation: int, causal: bool, bands: int = 3
    ) -> None:
        super().__init__()
        first = 1 if stride[1] == 2 else dilation
        self.first = _Convolution(inputs, outputs, stride, first, causal, bands)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = _Convolution(outputs, outputs, (1, 1), dilation, causal, bands)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.squeeze = _Squeeze(outputs, causal)
        self.stride = stride
        changed = stride != (1, 1) or inputs != outputs
        self.past = nn.Conv2d(inputs, outputs, 1, bias=False) if changed else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x, memory)))
        inner = self.squeeze(self.second_norm(self.second(inner, memory)), memory)
        if self.past is not None:
            x = self.past(F.avg_pool2d(x, self.stride) if self.stride != (1, 1) else x)
        return F.relu(x + inner)


def encode(samples: np.ndarray, encoder: AudioEncoder, words: WordTrack | None = None) -> np.ndarray:
    """Fused rows of sound (N,) at 16 kHz, of any level: (ceil(N / 640), output_dim) float32.

    Raises:
        ValueError: if `samples` is not one-dimensional and finite.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise ValueError(f"samples must have shape (N,), not {samples.shape}.")
    rows = [np.zeros((0, encoder.config.output_dim), np.float32), *encode_stream([samples], encoder, words)]
    return np.concatenate(rows)


def encode_stream(
    blocks: Iterable[np.ndarray], encoder: AudioEncoder, words: WordTrack | None = None
) -> Iterator[np.ndarray]:
    """`encode` of sound that comes in blocks: (t, output_dim) at a time. How the blocks are cut makes no difference.

    Rows come in pieces of 30 s, `CONTEXT_FRAMES` and a level's 3 s late; for sound as it is spoken there is
    `LiveEncoder`.
    """
    from pipeline.drivers.words import WordTrack

    track = WordTrack.nothing() if words is None else words
    begun = 0

    def rows(samples: np.ndarray) -> np.ndarray:
        first = max(0, begun - CONTEXT_FRAMES)
        vectors, mask = track.rows(first, first + frame_count(len(samples)), encoder.config.word_dim)
        return _encoded(samples, encoder, vectors if mask.any() else None, mask)

    ahead = 0 if encoder.config.causal else LEVEL_AHEAD
    for piece in stream_rows(rows, levelled(blocks, ahead), CONTEXT_FRAMES, _CHUNK_FRAMES):
        yield piece
        begun += len(piece)


@torch.inference_mode()
def _encoded(samples: np.ndarray, encoder: AudioEncoder, words: np.ndarray | None, mask: np.ndarray) -> np.ndarray:
    mel, mfcc = log_mel(samples)[None], torch.from_numpy(extract_features(samples)[None, :, :MFCC_DIM])
    vectors = None if words is None else torch.from_numpy(words)[None]
    with one_thread():
        return encoder(mel, mfcc, vectors, torch.from_numpy(mask)[None]).fused[0].numpy()


class LiveEncoder:
    """The causal variant as somebody speaks, frame by frame; the same rows as `encode` gives, to rounding.

    Raises:
        ValueError: if the encoder is not the causal one.
    """

    def __init__(self, encoder: AudioEncoder) -> None:
        if not encoder.config.causal:
            raise ValueError("Live sound needs the causal encoder; load weights/audio_encoder/causal.")
        self._encoder = encoder.eval()
        self._leveller = Leveller()
        self._level = np.full(1, FIRST_LEVEL, np.float32)
        self._heard = np.zeros(0, np.float32)  # the last frames, as many as MFCC and Δ need
        self._frames = 0
        self._memory: Memory = {}

    @torch.inference_mode()
    def step(self, samples: np.ndarray) -> np.ndarray | None:
        """Hear one frame more.

        Args:
            samples: (640,) sound at 16 kHz.

        Returns:
            (output_dim,) row of the frame `LOOKAHEAD_FRAMES` before this one; None while there is none.

        Raises:
            ValueError: if `samples` is not one frame.
        """
        samples = np.asarray(samples, np.float32)
        if samples.shape != (SAMPLES_PER_FRAME,):
            raise ValueError(f"samples must have shape ({SAMPLES_PER_FRAME},), not {samples.shape}.")
        level = np.concatenate([self._level, self._leveller.levels(samples)])
        self._level = level[1:]
        heard = np.concatenate([self._heard, raised(samples, level)])
        self._heard = heard[-(_LIVE_FRAMES - 1) * SAMPLES_PER_FRAME :]
        self._frames += 1
        if self._frames < 2:
            return None
        # The spectra of the frame before this one are complete only now.
        mel = log_mel(heard[-3 * SAMPLES_PER_FRAME :])[None, -2 * MELS_PER_FRAME : -MELS_PER_FRAME]
        mfcc = np.zeros((1, 1, MFCC_DIM), np.float32)
        if self._frames > _MFCC_DELAY + 1:
            mfcc[0, 0] = extract_features(heard)[-_MFCC_DELAY - 2, :MFCC_DIM]
        with one_thread():
            row = self._encoder._encode(mel, torch.from_numpy(mfcc), None, self._memory).fused[0, 0].numpy()
        return row if self._frames > LOOKAHEAD_FRAMES else None

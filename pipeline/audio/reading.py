"""Reading sound: whatever PyAV can decode, streamed, so that an hour takes the memory of seconds.

Samples that are not numbers become silence before anything filters them, gaps in a file's clock are filled so
that sound and picture stay together, and channels are mixed by what they are (dialogue sits in the centre).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clock import SAMPLE_RATE
from pipeline.errors import AudioError
from pipeline.media import main_sound, open_media, timeline_zero

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

SILENCE = 1e-3  # -60 dB of full scale: below it nobody hears speech at a common listening level
_GAP_SECONDS = (0.1, 600.0)  # jumps of a file's clock that are filled; shorter is jitter, longer is damage
_NO_NUMBERS_SECONDS = 5  # that long of nothing but NaN at the start, and the file is given up
_BATCH_SECONDS = 0.5  # decoders give some 20 ms at a time

# Left, right and dialogue; other channels count less, the bass channel not at all.
_STEREO = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (0.707, 0.707), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (0.5, 0.0), "BR": (0.0, 0.5), "SL": (0.5, 0.0), "SR": (0.0, 0.5), "BC": (0.35, 0.35),
    "FLC": (0.7, 0.3), "FRC": (0.3, 0.7), "DL": (1.0, 0.0), "DR": (0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file says of itself: length in seconds, samples a second, channels."""

    seconds: float
    rate: int
    channels: int


def probe_audio(path: str | os.PathLike[str]) -> AudioInfo:
    """Length, rate and channels of a file's sound; decodes no more than its beginning.

    The length is the file's own word where it gives one, and else is summed from its packets.

    Raises:
        AudioError: if the file cannot be read or holds no sound.
    """
    import av

    with open_media(path, AudioError, "sound") as container:
        first = next(_frames(container, Path(path).name), None)
        if first is None:
            raise AudioError(f"{Path(path).name} holds no sound; give a file with speech in it.")
        stream = main_sound(container)
        info = AudioInfo(0.0, first.sample_rate, first.layout.nb_channels)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if not seconds and container.duration:
            seconds = container.duration / av.time_base
    if not seconds:
        with open_media(path, AudioError, "sound") as container:
            stream = main_sound(container)
            seconds = float(sum((p.duration or 0) * p.time_base for p in _packets(container)))
    return AudioInfo(seconds, info.rate, info.channels)


def stream_audio(path: str | os.PathLike[str], block_seconds: float = 10.0) -> Iterator[np.ndarray]:
    """A file's sound at 16 kHz mono, block by block.

    Args:
        path: a sound file, or a video file, of which the sound is taken.
        block_seconds: length of each block but the last.

    Yields:
        (n,) float32, -1 to 1, always finite.

    Raises:
        AudioError: if the file cannot be read, or holds no sound or no numbers.
    """
    if block_seconds <= 0:
        raise ValueError("block_seconds must be positive.")
    size = max(1, round(block_seconds * SAMPLE_RATE))
    held: list[np.ndarray] = []
    length = 0
    for piece in _resampled(path):
        held.append(piece)
        length += len(piece)
        while length >= size:
            sound = np.concatenate(held)
            yield sound[:size]
            held, length = [sound[size:]], length - size
    if length:
        yield np.concatenate(held)


def read_audio(path: str | os.PathLike[str]) -> np.ndarray:
    """All of a file's sound at 16 kHz mono: (N,) float32, -1 to 1, finite. Raises as `stream_audio`."""
    return np.concatenate(list(stream_audio(path)))


def is_silent(samples: np.ndarray) -> bool:
    """Whether nothing in `samples` (N,) reaches -60 dB of full scale, so that there is nobody to hear."""
    return not len(samples) or float(np.abs(samples).max()) < SILENCE


def decode_audio(path: str | os.PathLike[str], channels: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """A file's sound at its own rate, placed on the file's timeline: what the reader and the writer share.

    Args:
        channels: 1 or 2; the source is mixed down to it.

    Yields:
        the rate, the same each time, and (n, channels) float32 samples, finite, of about half a second.

    Raises:
        AudioError: as `stream_audio`.
    """
    name = Path(path).name
    with open_media(path, AudioError, "sound") as container:
        batch: list[np.ndarray] = []
        rate = total = bad = 0
        for rate, samples in _on_timeline(container, name, channels):
            finite = np.isfinite(samples)
            if not finite.all():
                bad += len(samples) - int(finite.all(1).sum())
                samples = np.where(finite, samples, 0)
            total += len(samples)
            batch.append(np.clip(samples, -1, 1))
            if sum(map(len, batch)) >= _BATCH_SECONDS * rate:
                if bad == total and total > _NO_NUMBERS_SECONDS * rate:
                    break
                yield rate, np.concatenate(batch)
                batch.clear()
        if not total:
            raise AudioError(f"{name} holds no sound; give a file with speech in it.")
        if bad == total:
            raise AudioError(f"{name} holds samples that are not numbers (NaN); export the sound again.")
        if batch:
            yield rate, np.concatenate(batch)


def _resampled(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """The sound as (n,) at 16 kHz, in pieces."""
    import soxr

    resampler = None
    for rate, samples in decode_audio(path):
        if rate == SAMPLE_RATE:
            yield samples[:, 0]
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        yield np.clip(resampler.resample_chunk(samples[:, 0]), -1, 1)
    if resampler is not None:
        yield np.clip(resampler.resample_chunk(np.zeros(0, np.float32), last=True), -1, 1)


def _on_timeline(container: InputContainer, name: str, channels: int) -> Iterator[tuple[int, np.ndarray]]:
    """The first frame's rate and (n, channels) samples, with silence where the file's clock jumps ahead."""
    import soxr

    zero = timeline_zero(container)
    rate, position = 0, 0
    for frame in _frames(container, name):
        rate = rate or frame.sample_rate
        samples = _mix(frame, channels)
        if frame.sample_rate != rate:
            samples = soxr.resample(samples, frame.sample_rate, rate, quality="HQ")
        if frame.pts is not None:
            time = frame.pts * frame.time_base
            if zero is None:
                zero = time - Fraction(position, rate)
            gap = round((time - zero) * rate) - position
            shortest, longest = (seconds * rate for seconds in _GAP_SECONDS)
            if position == 0:
                shortest = 0
            if shortest < gap < longest:
                position += gap
                yield from ((rate, np.zeros((n, channels), np.float32)) for n in _split(gap, rate))
            elif abs(gap) > shortest:
                zero = time - Fraction(position, rate)
        position += len(samples)
        yield rate, samples


def _split(length: int, size: int) -> Iterator[int]:
    for start in range(0, length, size):
        yield min(size, length - start)


def _mix(frame: AudioFrame, channels: int) -> np.ndarray:
    """A decoded frame as (n, channels) float32, integers scaled to -1 to 1."""
    sources = frame.layout.nb_channels
    raw = frame.to_ndarray()
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, sources)
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    else:
        samples = samples.astype(np.float32)
    if sources == channels:
        return samples
    if sources == 1:
        return np.repeat(samples, channels, axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not a number is dealt with afterwards
        return samples @ _mixing_matrix(tuple(c.name for c in frame.layout.channels), channels)


def _mixing_matrix(names: tuple[str, ...], channels: int) -> np.ndarray:
    """(len(names), channels) gains. Stereo to mono is the mean; surround keeps the level of its dialogue."""
    if any(name not in _STEREO for name in names) or {"FL", "FR"} - set(names):
        return np.full((len(names), channels), 1 / len(names), np.float32)
    gains = np.array([_STEREO[name] for name in names], np.float32)
    if channels == 1:
        gains = gains.mean(1, keepdims=True)
    return gains / np.sqrt((gains**2).sum(0)) if len(names) > 2 else gains


def _frames(container: InputContainer, name: str) -> Iterator[AudioFrame]:
    """Decoded frames; damaged packets are left out, and a file cut short ends where it ends."""
    import av

    if main_sound(container) is None:
        raise AudioError(f"{name} has no sound; give a sound file, or a video with a sound track.")
    for packet in _packets(container):
        try:
            yield from packet.decode()
        except (av.error.FFmpegError, OSError):
            continue


def _packets(container: InputContainer) -> Iterator:
    import av

    try:
        yield from container.demux(main_sound(container))
    except (av.error.FFmpegError, OSError):
        return

"""What a share consists of: the clip as it is, a poster of it, and inputs without what their files tell of the maker.

Phones write where a picture or a recording was made into its file. Whoever lets others open a portrait and a voice in
the editor does not mean to tell them that, so inputs are written anew, without metadata.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import AudioError, InputError, ShareError, VideoError
from pipeline.media import main_sound, moving_picture, open_media
from pipeline.provenance import verify
from pipeline.sharing.records import CLIP, POSTER

if TYPE_CHECKING:
    from av.container import InputContainer

MODES = ("talk", "listen", "reenact")
ROLES = ("portrait", "audio", "video")
_NOT_OURS = {
    "unmarked": "carries no mark of a clip made here",
    "foreign": "was made with another tool",
    "tampered": "was changed after it was made",
}
_POSTER_SIDE = 1200  # what chats show at most
_POSTER_MOMENT = 1.0  # seconds: by then a mouth that speaks is open, and the clip has not gone far
_LOSSLESS_PIXELS = 2_500_000  # larger portraits are kept as JPEG
_LONGEST_TEXT = 100
_MOST_SETTINGS = 40


@dataclass(frozen=True)
class Facts:
    """What a clip tells of itself: its mode and settings by its mark, (width, height) in pixels, and seconds."""

    mode: str
    settings: dict[str, Any]
    size: tuple[int, int]
    seconds: float


def take_clip(source: str | os.PathLike[str], folder: Path, most_bytes: int, own_only: bool = False) -> Facts:
    """Copy a clip into `folder` with its poster.

    Args:
        source: an MP4 that this software wrote.
        folder: gets `CLIP` and `POSTER`.
        most_bytes: larger ones are refused.
        own_only: refuse what this installation has not signed; a mark in text alone is easily forged.

    Raises:
        ShareError: if it is too large, no MP4 with H.264, without our mark, or was changed since.
        VideoError: if it cannot be read.
        OSError: if it cannot be written.
    """
    source = Path(source)
    if source.is_file() and source.stat().st_size > most_bytes:
        raise too_large(most_bytes)
    with open_media(source, VideoError, "video"):  # says in a sentence what is wrong with it
        pass
    clip = folder / CLIP
    shutil.copyfile(source, clip)  # from here on nobody else can change it
    with open_media(clip, VideoError, "video") as container:
        picture = moving_picture(container)
        if picture is None or picture.codec_context.name != "h264" or "mp4" not in container.format.name:
            raise ShareError(f"{source.name} is no MP4 file with H.264; share the clip as it was made.")
        size = picture.codec_context.width, picture.codec_context.height
        seconds = (container.duration or 0) / 1_000_000
        _write_poster(container, source.name, folder / POSTER)
    verdict = verify(clip)
    why = _NOT_OURS.get(verdict.state)
    if why is None and own_only and not (verdict.state == "marked" and verdict.proven):
        why = "was not signed by this installation"
    if why is not None:
        raise ShareError(f"{source.name} {why}; share a clip as it was made here.")
    mode = verdict.settings.get("mode")
    return Facts(mode if mode in MODES else "talk", _plain(verdict.settings), size, round(seconds, 2))


def take_inputs(inputs: Mapping[str, str | os.PathLike[str] | None], folder: Path) -> dict[str, str]:
    """Write a portrait, a sound and a video anew into `folder`, without metadata.

    Args:
        inputs: files by role (portrait, audio, video); None leaves one out.

    Returns:
        the names of the files written, by role.

    Raises:
        InputError: if one cannot be read; PortraitError, AudioError or VideoError.
        OSError: if one cannot be written.
    """
    writers = {"portrait": _write_portrait, "audio": _write_sound, "video": _write_video}
    return {role: writers[role](Path(path), folder) for role, path in inputs.items() if path is not None}


def too_large(most_bytes: int) -> ShareError:
    return ShareError(
        f"This is more than the {most_bytes // 1_000_000} MB that one link may hold; make a shorter or smaller clip, "
        "or share it without what it was made from."
    )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are numbers, short texts or truth values: a file may claim anything."""
    kept: dict[str, Any] = {}
    for name, value in list(settings.items())[:_MOST_SETTINGS]:
        if name == "size" and isinstance(value, list) and len(value) == 2:
            value = max((side for side in value if isinstance(side, int)), default=0)
        short = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)
        if name != "mode" and name.isidentifier() and len(name) <= _LONGEST_TEXT and short:
            kept[name] = value
    return kept


def _write_poster(container: InputContainer, name: str, path: Path) -> None:
    """A frame from the first second or so, as a JPEG of the clip's proportions."""
    from av.error import FFmpegError

    shown = None
    with contextlib.suppress(FFmpegError):  # damaged further on: the frames before it will do
        for frame in container.decode(moving_picture(container)):
            shown = frame
            if frame.time is not None and frame.time >= _POSTER_MOMENT:
                break
    if shown is None:
        raise VideoError(f"{name} holds no picture that can be read; make the clip again.")
    picture = shown.to_image()
    picture.thumbnail((_POSTER_SIDE, _POSTER_SIDE))
    picture.save(path, quality=88)


def _write_portrait(source: Path, folder: Path) -> str:
    from PIL import Image

    from pipeline.face.image import read_image

    pixels = read_image(source)
    name = "portrait.png" if pixels.shape[0] * pixels.shape[1] <= _LOSSLESS_PIXELS else "portrait.jpg"
    Image.fromarray(pixels).save(folder / name, quality=95, subsampling=0)
    return name


def _write_sound(source: Path, folder: Path) -> str:
    """FLAC in 16 bits at the file's own rate, which every browser plays."""
    import soundfile

    from pipeline.audio.reading import decode_audio

    with open_media(source, AudioError, "sound") as container:
        sound = main_sound(container)
        channels = min(2, sound.channels) if sound is not None else 1
    path, writer = folder / "audio.flac", None
    try:
        for rate, samples in decode_audio(source, channels):
            writer = writer or soundfile.SoundFile(path, "w", rate, channels, "PCM_16", format="FLAC")
            writer.write(samples)
    except (soundfile.LibsndfileError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise AudioError(f"{source.name} cannot be kept as sound; save it as WAV and try again.") from error
    finally:
        if writer is not None:
            writer.close()
    return path.name


def _write_video(source: Path, folder: Path) -> str:
    """The streams as they are, in a container without metadata."""
    import av

    with open_media(source, VideoError, "video") as container:
        picture, sound = moving_picture(container), main_sound(container)
        if picture is None:
            raise VideoError(f"{source.name} holds no moving picture; give a video.")
        path = folder / ("video.mp4" if "mp4" in container.format.name else "video.mkv")
        try:
            with av.open(str(path), "w") as output:
                streams = {one: output.add_stream_from_template(one) for one in (picture, sound) if one is not None}
                for stream in streams.values():
                    stream.metadata.clear()
                for packet in container.demux(*streams):
                    if packet.dts is not None:
                        packet.stream = streams[packet.stream]
                        output.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise VideoError(f"{source.name} cannot be kept; save it as MP4 and try again.") from error
    return path.name

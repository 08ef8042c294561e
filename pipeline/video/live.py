"""A clip to watch while it is being written: the writer's own packets, once more, in pieces of a second.

The pieces are fragmented MP4 with an HLS playlist (RFC 8216) that libav writes: `init.mp4`, then `000000.m4s`, …, each
under its name only when it is whole. Players that know HLS take the playlist; for all others the pieces
laid end to end are one MP4. Nothing is encoded twice, and nothing is held in memory.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from av.audio.stream import AudioStream
    from av.packet import Packet
    from av.video.stream import VideoStream

PLAYLIST, HEADER, PIECE = "live.m3u8", "init.mp4", "{:06d}.m4s"
FIRST_PIECE = PIECE.format(0)
PIECE_SECONDS, FIRST_FRAMES = 1, 6
"""A piece begins with a whole picture, so one is asked of the encoder that often; the first piece is short, to be there
soon."""
_LEAST_SECONDS = 0.2


class LiveCopy:
    """Writes packets of a clip's streams to a folder, to be played from there at once.

    It is only for looking on: where it cannot be written (the disk is full, the folder is gone) it ends, and the
    clip itself tells what went wrong.

    Args:
        folder: exists; the pieces are written into it.
        video: the clip's H.264 stream, with its encoder open.
        audio: the clip's AAC stream, likewise, or None.
        metadata: what marks the clip as made.
    """

    def __init__(self, folder: Path, video: VideoStream, audio: AudioStream | None, metadata: dict[str, str]) -> None:
        import av

        options = {
            "hls_time": str(_LEAST_SECONDS),  # cut at the next whole picture after that
            "hls_playlist_type": "event",
            "hls_segment_type": "fmp4",
            "hls_fmp4_init_filename": HEADER,
            "hls_segment_filename": str(folder.absolute() / "%06d.m4s"),
            "hls_flags": "independent_segments+temp_file",
        }
        self._container = av.open(str(folder.absolute() / PLAYLIST), "w", format="hls", options=options)
        self._container.metadata.update(metadata)
        self._streams = {}
        for stream in (video, audio):
            if stream is not None:
                copy = self._container.add_stream_from_template(stream)
                copy.codec_context.extradata = stream.codec_context.extradata
                self._streams[stream.index] = copy
        self._open = True

    def mux(self, packets: Iterable[Packet]) -> None:
        """Append copies of `packets`, which stay as they are."""
        import av

        for packet in packets if self._open else ():
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
            copy.stream = self._streams[packet.stream.index]
            try:
                self._container.mux(copy)
            except OSError:  # libav's errors too
                self.close()
                return

    def close(self) -> None:
        """Write the last piece and the playlist's end."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self._container.close()


def pieces(folder: Path, after: int) -> tuple[list[Path], bool]:
    """The pieces from number `after` on (the header is number 0), and whether no more will come."""
    found = []
    while (path := folder / (PIECE.format(after - 1) if after else HEADER)).exists():
        found.append(path)
        after += 1
    return found, _ended(folder / PLAYLIST)


def _ended(playlist: Path) -> bool:
    """Whether a playlist, of which an hour's has thousands of lines, has its last one."""
    try:
        with open(playlist, "rb") as file:
            file.seek(max(0, playlist.stat().st_size - 32))
            return b"#EXT-X-ENDLIST" in file.read()
    except FileNotFoundError:
        return False

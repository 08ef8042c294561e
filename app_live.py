"""What the page's server gives out beside Gradio: clips while they are being made, and the pictures of the start.

Gradio's own streaming video (6.31) starts a process for each piece to make MPEG-TS of it, keeps the whole clip in
memory until the visitor goes, and needs hls.js to play. The writer's pieces need none of that: Safari takes their
playlist, all others read them, end to end, as one MP4 that grows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.video.live import HEADER, PLAYLIST, pieces

if TYPE_CHECKING:
    from app_jobs import Studio

PICTURES = Path(__file__).resolve().parent / "examples" / "pictures"
_POLL = 0.1  # seconds between two looks for the next piece
_BLOCK = 1 << 15
"""Bytes that Chromium hands to its player at once: what a piece lacks to whole blocks would wait for the next one."""
_NAME = re.compile(rf"{re.escape(PLAYLIST)}|{re.escape(HEADER)}|\d{{6}}\.m4s")
_TOKEN = re.compile(r"[\w-]{10,40}", re.ASCII)
# Said to be encoded already, so that Gradio does not hold it back to compress it; proxies neither.
_AS_IT_COMES = {"Cache-Control": "no-store", "Content-Encoding": "identity", "X-Accel-Buffering": "no"}
_KINDS = {".m3u8": "application/vnd.apple.mpegurl", ".mp4": "video/mp4", ".m4s": "video/iso.segment"}


def routes(studio: Studio) -> list[Route]:
    """`/live/TOKEN.mp4` and `/live/TOKEN/live.m3u8` with its pieces, while the job lasts; `/pictures/NAME`.

    A token is known only to the page that started the job; nothing else of a request reaches the file system.
    """

    def folder_of(request: Request) -> Path | None:
        token = request.path_params["token"]
        return studio.live_folder(token) if _TOKEN.fullmatch(token) else None

    async def growing(request: Request) -> Response:
        folder = folder_of(request)
        if folder is None:
            return Response(status_code=404)
        return StreamingResponse(_as_it_grows(folder), media_type="video/mp4", headers=_AS_IT_COMES)

    async def piece(request: Request) -> Response:
        folder, name = folder_of(request), request.path_params["name"]
        if folder is None or not _NAME.fullmatch(name) or not (folder / name).is_file():
            return Response(status_code=404)
        return FileResponse(folder / name, media_type=_KINDS[Path(name).suffix], headers=_AS_IT_COMES)

    async def picture(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ("talking.webp", "talking.jpg"):
            return Response(status_code=404)
        return FileResponse(PICTURES / name, headers={"Cache-Control": "max-age=3600"})

    return [
        Route("/live/{token}.mp4", growing),
        Route("/live/{token}/{name}", piece),
        Route("/pictures/{name}", picture),
    ]


async def _as_it_grows(folder: Path) -> AsyncIterator[bytes]:
    sent = 0
    while True:
        found, ended = await asyncio.to_thread(pieces, folder, sent)
        for path in found:
            try:
                piece = await asyncio.to_thread(path.read_bytes)
            except FileNotFoundError:  # the job is over, and the page has the whole clip
                return
            yield _filled(piece)
            sent += 1
        if ended or not folder.is_dir():
            return
        await asyncio.sleep(_POLL)


def _filled(piece: bytes) -> bytes:
    """A piece and an empty box (ISO 14496-12 8.1.2) up to whole blocks, if each before it was filled too."""
    lack = -len(piece) % _BLOCK
    lack += _BLOCK if 0 < lack < 8 else 0  # a box has 8 bytes at least
    return piece + (lack.to_bytes(4, "big") + b"free" + bytes(lack - 8) if lack else b"")

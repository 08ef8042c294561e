"""Many clients at once through the real server: is anything lost or mixed up, how long do they wait, does memory grow?

    python app_load.py --clients 50 --requests 500
    python app_load.py --clients 10 --requests 20 --kill

Each request has a portrait and a length of sound of its own, and its result is checked to be its own: that many frames,
the first of which shows that portrait. With `--kill` every clip is shared, the server is killed (SIGKILL) half way and
started again, and then every link that was given out must lead to its whole clip, and nothing half done may be left.
Prints one JSON object; exits with 1 if anything was lost, mixed up or left over.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clock import FPS

ROOT = Path(__file__).resolve().parent
PORTRAITS = sorted((ROOT / "examples" / "portraits").glob("*.[jp]*g"))
SPEECH = ROOT / "examples" / "speech" / "hello_slt.wav"
SIZE = 256
LEAST_FRAMES = 10
PATIENCE = 1800  # seconds that a client waits for an answer before it is lost
_MEBIBYTE = 1 << 20


@dataclass
class Tally:
    """What became of the requests; filled by many threads.

    Attributes:
        seconds: from asking to having the clip, for each that came.
        lost: sentences on requests without a result.
        mixed: sentences on results that are not what was asked for.
        links: addresses of what was shared, with the number of bytes there.
        memory: the server's resident memory in MiB, now and then.
    """

    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    links: dict[str, int] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class ServerProcess:
    """`python app.py` on a port and with folders of its own."""

    def __init__(self, folder: Path, clients: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.folder = folder
        self._settings = {
            "GRADIO_SERVER_PORT": str(self.port),
            "TETE_DATA": str(folder),
            "TETE_QUEUE": str(2 * clients),
            "TETE_PER_VISITOR": "0",
            "TETE_SHARE_PER_HOUR": "100000",
            "TETE_SHARE_MAX_CLIPS": "100000",
        }
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: if it ends instead.
        """
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env={**os.environ, **self._settings}, stdout=log, stderr=log
            )
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended: see {self.folder / 'server.log'}.")
            try:
                urllib.request.urlopen(self.url, timeout=10).close()
                return
            except OSError:
                time.sleep(0.2)

    def memory(self) -> float:
        """Resident memory in MiB; 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, AttributeError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / _MEBIBYTE

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()


def frames_of(request: int, clients: int) -> int:
    """How many frames a request's clip has: requests that run at once differ."""
    return LEAST_FRAMES + request % (2 * clients)


def write_sound(path: Path, frames: int) -> None:
    """So much of the example speech, over and over, as makes that many frames."""
    import soundfile

    speech, rate = soundfile.read(SPEECH)
    samples = frames * rate // FPS
    soundfile.write(path, np.resize(speech, samples), rate)


def what_is_wrong(clip: Path, portrait: Path, frames: int) -> str:
    """Why a clip is not the one that was asked for; empty if it is."""
    import av
    from PIL import Image

    with av.open(str(clip)) as container:
        shown = [frame.to_image() for frame in container.decode(video=0)]
    if len(shown) != frames:
        return f"{len(shown)} frames instead of {frames}"

    def small(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB").resize((16, 16)), dtype=float)

    first = small(shown[0])
    nearest = min(PORTRAITS, key=lambda one: float(np.abs(small(Image.open(one)) - first).mean()))
    return "" if nearest == portrait else f"the portrait {nearest.stem} instead of {portrait.stem}"


def visit(server: ServerProcess, requests: Iterator[int], clients: int, share: bool, tally: Tally) -> None:
    """One client: takes requests until there are none, or the server is gone."""
    from gradio_client import Client, handle_file

    with tempfile.TemporaryDirectory() as folder:
        client = Client(server.url, verbose=False, download_files=folder, httpx_kwargs={"timeout": PATIENCE})
        for request in requests:
            portrait, frames = PORTRAITS[request % len(PORTRAITS)], frames_of(request, clients)
            sound = Path(folder) / f"{request}.wav"
            write_sound(sound, frames)
            began = time.monotonic()
            asked: dict[str, Any] = {"portrait": handle_file(portrait), "audio": handle_file(sound)}
            try:
                result = client.predict(**asked, seed=request, size=SIZE, consent=True, api_name="/talk")
                took = time.monotonic() - began
                clip = Path(result["video"] if isinstance(result, dict) else result)
                wrong = what_is_wrong(clip, portrait, frames)
                made = client.predict(clip=handle_file(clip), api_name="/share") if share else None
            except Exception as error:
                with tally.lock:
                    tally.lost.append(f"request {request}: {type(error).__name__}: {str(error)[:200]}")
                if server.process is None or server.process.poll() is not None:
                    return
                continue
            with tally.lock:
                tally.seconds.append(took)
                tally.memory.append(server.memory())
                if wrong:
                    tally.mixed.append(f"request {request}: {wrong}")
                if made:
                    tally.links[made["link"]] = clip.stat().st_size
            clip.unlink(missing_ok=True)


@contextmanager
def visitors(server: ServerProcess, clients: int, total: int, share: bool, tally: Tally) -> Iterator[list]:
    """That many clients, who take `total` requests between them; waits for them at the end."""
    lock, numbers = threading.Lock(), iter(range(total))

    def each() -> Iterator[int]:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            yield number

    with ThreadPoolExecutor(clients) as pool:
        yield [pool.submit(visit, server, each(), clients, share, tally) for _ in range(clients)]


def kill_half_way(server: ServerProcess, clients: int, total: int, tally: Tally) -> dict[str, Any]:
    """Share until half is done, kill, start again, and look at what is there."""
    with visitors(server, clients, total, True, tally):
        while len(tally.links) < total // 2:
            time.sleep(0.05)
        server.end(signal.SIGKILL)
    interrupted = len(tally.lost)
    tally.lost.clear()  # whom the kill hit
    server.start()
    for link, size in tally.links.items():
        with urllib.request.urlopen(f"{link}/clip.mp4") as answer:
            if len(answer.read()) != size:
                tally.lost.append(f"{link} is not whole")
    shares = server.folder / "shares"
    left = list((shares / "incoming").iterdir())
    # A clip whose sharing was done, but whose maker the kill kept from hearing of it, is whole and may stay.
    torn = [one for one in (shares / "clips").iterdir() if {"clip.mp4", "poster.jpg"} - set(os.listdir(one))]
    tally.lost += [f"{one} is left over" for one in (*left, *torn)]
    return {"links_before_kill": len(tally.links), "interrupted": interrupted, "left_over": len(left) + len(torn)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=50, help="at once (default %(default)s)")
    parser.add_argument("--requests", type=int, default=100, help="in all (default %(default)s)")
    parser.add_argument("--kill", action="store_true", help="share every clip, and kill the server half way")
    chosen = parser.parse_args(arguments)
    tally, found = Tally(), {}
    with tempfile.TemporaryDirectory(prefix="tete-a-tete-load-") as folder:
        server = ServerProcess(Path(folder), chosen.clients)
        server.start()
        began = time.monotonic()
        try:
            if chosen.kill:
                found = kill_half_way(server, chosen.clients, chosen.requests, tally)
            else:
                with visitors(server, chosen.clients, chosen.requests, False, tally):
                    pass
        finally:
            server.end()
    waits = np.array(tally.seconds or [np.nan])
    tenth = max(1, len(tally.memory) // 10)
    report = {
        "clients": chosen.clients,
        "requests": chosen.requests,
        "results": len(tally.seconds),
        "lost": len(tally.lost),
        "mixed_up": len(tally.mixed),
        "seconds": round(time.monotonic() - began, 1),
        "wait_p50": round(float(np.percentile(waits, 50)), 2),
        "wait_p95": round(float(np.percentile(waits, 95)), 2),
        "memory_mib_first_tenth": round(float(np.median(tally.memory[:tenth] or [0])), 1),
        "memory_mib_last_tenth": round(float(np.median(tally.memory[-tenth:] or [0])), 1),
        "memory_mib_over_time": [round(one) for one in tally.memory[::tenth]],
        **found,
    }
    print(json.dumps(report))
    for sentence in (*tally.lost, *tally.mixed):
        print(sentence, file=sys.stderr)
    return 1 if tally.lost or tally.mixed else 0


if __name__ == "__main__":
    raise SystemExit(main())

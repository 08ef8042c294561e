"""`python app.py` as a process: what it leaves behind when it is stopped, and what it asks of the network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO

import pytest
from gradio_client import Client, handle_file

SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import app
from fakes import FakePipeline
app.load_pipeline = lambda: FakePipeline(frames=2000, delay=0.02)
app.main()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_terminated_page_leaves_neither_uploads_nor_work(
    repository: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    port, scratch = free_port(), tmp_path / "scratch"
    scratch.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    environment |= {"TMPDIR": str(scratch), "GRADIO_SERVER_PORT": str(port)}
    script = SCRIPT.format(root=str(repository), tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url, process)
        client = Client(url, verbose=False, download_files=str(tmp_path / "client"))
        job = client.submit(
            portrait=handle_file(files["portrait"]), audio=handle_file(files["voice"]), consent=True, api_name="/talk"
        )
        deadline = time.monotonic() + 20
        while not list(scratch.rglob(".tete-a-tete-talk.*.part")):
            assert time.monotonic() < deadline, "the work did not begin"
            time.sleep(0.05)
        (kept,) = [path for path in scratch.iterdir() if path.name.startswith("tete-a-tete-")]
        assert {path.name.split("-")[0] for path in kept.iterdir()} == {"page", "work", "lock"}
        assert kept.stat().st_mode & 0o077 == 0, "others on the machine may read the uploads"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        with pytest.raises(Exception, match=r"closing|stopped|Server|[Cc]onnect"):
            job.result(timeout=10)
    finally:
        process.kill()
    assert [path.name for path in scratch.iterdir() if path.name.startswith("tete-a-tete-")] == []


HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from app_scratch import scratch_folder
print(scratch_folder("work"), flush=True)
time.sleep(60)
"""


def test_what_a_killed_page_left_is_gone_when_the_next_starts_and_a_living_ones_is_not(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app_scratch import clear_abandoned

    (tmp_path / "tete-a-tete-not-ours").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLDER.format(root=str(repository))]
    holders = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, living = (Path(holder.stdout.readline().strip()) for holder in holders)
        (killed / "clip.part").write_bytes(b"half a clip")
        holders[0].kill()
        holders[0].wait()
        assert killed.is_dir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        clear_abandoned()
        assert not killed.parent.exists() and living.is_dir()
        assert (tmp_path / "tete-a-tete-not-ours").is_dir()
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def test_a_new_folder_is_not_taken_for_abandoned_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another page starts, and looks for abandoned folders, in the moment before this one's is locked."""
    import app_scratch

    lock = app_scratch.fcntl.flock

    def late(file: IO[bytes], how: int) -> None:
        monkeypatch.setattr(app_scratch.fcntl, "flock", lock)
        app_scratch.clear_abandoned()
        lock(file, how)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(app_scratch.fcntl, "flock", late)
    folder = app_scratch._root.__wrapped__()
    assert folder.name.startswith("tete-a-tete-") and (folder / "lock").is_file()
    app_scratch.clear_abandoned()
    assert folder.is_dir(), "it is this process's, and alive"


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the page ended"
        assert time.monotonic() < deadline, "the page did not start"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)

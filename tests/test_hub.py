"""Where weights come from: a folder, the Hub (a small server stands for it), or the embedded ones."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from heads import one_sentence

from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED, Weights, find_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_embedded_weights_are_found_and_whole():
    weights = find_weights()
    assert weights.folder == EMBEDDED
    assert set(weights.components) == {"face", "talking", "liveliness", "mesh", "patches"}
    for name in weights.components:
        assert any(weights.component(name).rglob("*.json")), name


def test_a_folder_is_used_and_what_it_lacks_is_embedded(debug_weights):
    weights = find_weights(debug_weights)
    assert set(weights.components) == {"talking", "patches", "mesh"}
    assert weights.component("patches") == debug_weights / "patches"
    assert weights.component("face") == EMBEDDED / "face"
    with pytest.raises(WeightsError, match="no weights for 'singing'") as error:
        weights.component("singing")
    assert one_sentence(error.value)


@pytest.mark.parametrize("index", [None, "", "[1, 2]", "3"])
def test_a_folder_without_a_readable_index(tmp_path: Path, index: str | None):
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(WeightsError, match=r"holds no readable model_index\.json") as error:
        find_weights(tmp_path)
    assert one_sentence(error.value)


@pytest.mark.parametrize("name", ["no/such/folder", "what is this?", "a" * 100, "owner/../etc"])
def test_what_is_neither_folder_nor_repository(monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="neither a folder nor") as error:
        find_weights(name)
    assert one_sentence(error.value)


def test_damaged_components_are_one_sentence(tmp_path, debug_weights, portraits, voice):
    from pipeline.conversation import ConversationalHeadPipeline

    (tmp_path / "model_index.json").write_text("{}")
    for kind in ("talking", "face", "mesh", "patches"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        pipe = ConversationalHeadPipeline(Weights(tmp_path, ()))
        with pytest.raises(WeightsError, match="install the weights again") as error:
            if kind == "face":
                pipe.portrait(portraits["statue"].image)
            else:
                next(pipe.talk(portraits["statue"], voice).frames)
        assert one_sentence(error.value)
        (folder / "config.json").unlink()
        folder.rmdir()


# --- the Hub --------------------------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """As much of the Hub as its own client needs for one repository."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        names = (p for p in sorted(folder.rglob("*")) if p.is_file())
        self.files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in names}
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        if path.startswith("/api/models/someone/heads"):
            siblings = [{"rfilename": name} for name in self.server.files]
            info = {"_id": "1", "id": "someone/heads", "modelId": "someone/heads", "sha": COMMIT, "siblings": siblings}
            info |= {"private": False, "tags": [], "downloads": 0, "likes": 0}
            if "/tree/" in path:
                info = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in self.server.files.items()
                ]
            self._send(json.dumps(info).encode(), "application/json", body)
        elif path.startswith("/someone/heads/resolve/") and path.split("/", 5)[5] in self.server.files:
            self._send(self.server.files[path.split("/", 5)[5]], "application/octet-stream", body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, data: bytes, kind: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(debug_weights):
    server = Hub(debug_weights)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetched(source: str, endpoint: str, home: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    """`find_weights` in a process of its own, since the client reads its address once."""
    script = (
        "import sys\nfrom pipeline.errors import WeightsError\nfrom pipeline.hub import find_weights\n"
        "try:\n    weights = find_weights(sys.argv[1])\n    print(weights.component('patches'))\n"
        "except WeightsError as error:\n    print('refused:', error)\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("HF_HUB_OFFLINE", None)
    environment = kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", script, source], cwd=repository, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_a_repository_is_fetched_once_and_then_kept(hub, debug_weights, tmp_path, repository):
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    hub.files["train.py"] = b"print('never fetched')"
    done = fetched("someone/heads", endpoint, tmp_path, repository)
    folder = Path(done.stdout.strip())
    assert folder.is_dir() and tmp_path in folder.parents, done.stdout + done.stderr
    for name in ("mouth/model.safetensors", "eye/config.json"):
        assert (folder / name).read_bytes() == (debug_weights / "patches" / name).read_bytes()
    assert not list(tmp_path.rglob("train.py")), "code was fetched"
    hub.shutdown()  # the server is gone: what was fetched serves on
    again = fetched("someone/heads", endpoint.replace(str(hub.server_address[1]), "9"), tmp_path, repository)
    assert again.stdout.strip() == str(folder), again.stdout + again.stderr


def test_a_repository_that_is_not_there_or_cannot_be_reached(hub, tmp_path, repository):
    for endpoint in (f"http://127.0.0.1:{hub.server_address[1]}", "http://127.0.0.1:9"):
        done = fetched("someone/else", endpoint, tmp_path, repository)
        assert done.stdout.startswith("refused: The weights 'someone/else' are neither"), done.stdout + done.stderr
        assert one_sentence(done.stdout.removeprefix("refused: ").strip())

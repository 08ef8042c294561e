"""A small Hub: as much of its file API as its own client needs to fetch and to push, and ways to break it.

Spoken after huggingface_hub 2.4.0 and https://huggingface.co/docs/hub/api: model info, tree, resolve (with the headers
ETag, X-Repo-Commit, X-Linked-Etag, X-Linked-Size, and a redirect to storage for large files), ranges, repository and
branch creation, preupload, Git LFS batch, upload and verify, and commits as NDJSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

Files = dict[str, bytes]


def git_id(data: bytes) -> str:
    """The id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name: str) -> bool:
    """Whether the Hub keeps a file in large file storage (by its default .gitattributes)."""
    return name.endswith((".safetensors", ".mp4", ".jpg", ".png", ".flac"))


@dataclass
class Repository:
    """Commits by id, and the commit of each branch and tag."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    private: bool = False
    gated: bool = False

    def commit(self, files: Files, ref: str = "main", message: str = "") -> str:
        """Add a commit; returns its id."""
        parent = self.refs.get(ref, "")
        listing = "".join(f"{name}:{git_id(data)}" for name, data in sorted(files.items()))
        oid = hashlib.sha1(f"{parent}{message}{listing}{len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.refs[ref] = oid
        self.messages.append(message)
        return oid

    def files(self, revision: str) -> Files | None:
        """The files of a branch, tag or commit."""
        return self.commits.get(self.refs.get(revision, revision))


class Hub(ThreadingHTTPServer):
    """The server, on a free port of 127.0.0.1; use as a context manager.

    Attributes:
        repositories: by "owner/name".
        renamed: old "owner/name" to the new one.
        storage: large files by SHA-256.
        token: the one that may write and see what is private.
        asked: method and path of all requests.
        ranges: values of the Range headers that storage saw.
        break_after: bytes after which storage breaks a connection off, once for each file named.
        replaced: what storage sends instead of a large file, by SHA-256, and how often.
        failing: status that downloads from storage get, if not 0.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.storage: dict[str, bytes] = {}
        self.token = "hf_local"
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.break_after: dict[str, int] = {}
        self.replaced: dict[str, tuple[bytes, int]] = {}
        self.failing = 0

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT should say."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage_endpoint(self) -> str:
        """Where large files lie: on another host, or the client would take storage for the Hub."""
        return f"http://localhost:{self.server_address[1]}/storage"

    def add(self, name: str, folder: Path) -> Repository:
        """A repository with the files of a folder as its first commit."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repositories[name] = repository = Repository()
        repository.commit(files)
        return repository

    def __enter__(self) -> Hub:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", text: str = "") -> None:
        self.status, self.code, self.text = status, code, text


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a client that went away
            self.close_connection = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(f"{self.command} {unquote(parts.path)}")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, parts.path)
            if found and self.command in method.split():
                try:
                    answer(self, *(None if part is None else unquote(part) for part in found.groups()))
                except _Refused as refused:
                    self._send(refused.status, refused.text.encode(), {"X-Error-Code": refused.code})
                return
        self._send(404)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _send(self, status: int = 200, data: bytes = b"", headers: dict[str, str] | None = None, cut: int = -1) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut] if cut >= 0 else data)
        if cut >= 0:
            self.close_connection = True

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _repository(self, name: str, writes: bool = False) -> Repository:
        authorised = self.headers.get("Authorization") == f"Bearer {self.server.token}"
        repository = self.server.repositories.get(name)
        if writes and not authorised:
            raise _Refused(403 if self.headers.get("Authorization") else 401)
        if repository is None or (repository.private and not authorised):
            raise _Refused(404 if authorised else 401, "RepoNotFound")
        if repository.gated and not authorised:
            raise _Refused(403, "GatedRepo")
        return repository

    def _files(self, name: str, revision: str) -> tuple[str, Files]:
        repository = self._repository(name)
        files = repository.files(revision)
        if files is None:
            raise _Refused(404, "RevisionNotFound")
        return repository.refs.get(revision, revision), files

    # --- fetching ---------------------------------------------------------------------------------------------------

    def info(self, name: str, revision: str | None) -> None:
        name = self.server.renamed.get(name, name)
        sha, files = self._files(name, revision or "main")
        siblings = [{"rfilename": file} for file in files]
        self._json({"_id": "1", "id": name, "modelId": name, "sha": sha, "siblings": siblings, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        _, files = self._files(self.server.renamed.get(name, name), revision)
        self._json([_entry(file, data) for file, data in files.items()])

    def resolve(self, name: str, revision: str, file: str) -> None:
        if name in self.server.renamed:
            path = f"/{self.server.renamed[name]}/resolve/{revision}/{file}"
            return self._send(307, headers={"Location": path})
        sha, files = self._files(name, revision)
        if file not in files:
            raise _Refused(404, "EntryNotFound")
        data = files[file]
        if not is_large(file):
            return self._send(200, data, {"ETag": f'"{git_id(data)}"', "X-Repo-Commit": sha})
        oid = hashlib.sha256(data).hexdigest()
        self.server.storage[oid] = data
        headers = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": sha}
        return self._send(302, headers={**headers, "Location": f"{self.server.storage_endpoint}/{oid}"})

    def stored(self, oid: str) -> None:
        if self.headers.get("Authorization"):
            raise _Refused(400, text="A token went to another host.")
        if self.server.failing and self.command == "GET":
            raise _Refused(self.server.failing)
        data = self.server.storage[oid]
        other, times = self.server.replaced.get(oid, (b"", 0))
        if times and self.command == "GET":
            self.server.replaced[oid] = (other, times - 1)
            data = other
        first, status, headers = 0, 200, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        if self.headers.get("Range"):
            self.server.ranges.append(self.headers["Range"])
            first = int(re.fullmatch(r"bytes=(\d+)-\d*", self.headers["Range"])[1])
            status = 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cut = self.server.break_after.pop(oid, -1) if self.command == "GET" else -1
        self._send(status, data[first:], headers, cut)

    # --- pushing ----------------------------------------------------------------------------------------------------

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization'] or 'someone'}/{asked['name']}"
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            raise _Refused(401)
        address = {"url": f"{self.server.endpoint}/{name}", "name": name, "id": "1"}
        if name in self.server.repositories:
            return self._json(address, 409)
        repository = self.server.repositories[name] = Repository(private=asked.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, message="initial")
        return self._json(address)

    def branch(self, name: str, branch: str) -> None:
        repository = self._repository(name, writes=True)
        if branch in repository.refs:
            raise _Refused(409)
        repository.refs[branch] = repository.refs["main"]
        self._json({})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        known = content.startswith("---\n") and "\nlicense: " in content.split("\n---\n")[0]
        self._json({"errors": [], "warnings": [] if known else [{"message": "no licence"}]})

    def preupload(self, name: str, revision: str) -> None:
        repository = self._repository(name, writes=True)
        files = repository.files(revision)
        if files is None:
            raise _Refused(404, "RevisionNotFound")
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": _known(file["path"], files),
            }
            for file in json.loads(self.body)["files"]
        ]
        self._json({"files": modes})

    def batch(self, name: str) -> None:
        self._repository(name, writes=True)
        objects = []
        for one in json.loads(self.body)["objects"]:
            if one["oid"] not in self.server.storage:
                base = f"{self.server.endpoint}/upload/{one['oid']}"
                one["actions"] = {"upload": {"href": base}, "verify": {"href": base}}
            objects.append(one)
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if self.command == "PUT":
            self.server.storage[oid] = self.body
        elif hashlib.sha256(self.server.storage[oid]).hexdigest() != oid:
            raise _Refused(422)
        self._send()

    def commit(self, name: str, revision: str) -> None:
        repository = self._repository(name, writes=True)
        files = dict(repository.files(revision) or {})
        lines = [json.loads(line) for line in self.body.splitlines()]
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.storage[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        request = "create_pr" in parse_qs(urlsplit(self.path).query)
        oid = repository.commit(files, "refs/pr/1" if request else revision, lines[0]["value"]["summary"])
        base = f"{self.server.endpoint}/{name}"
        answer = {"commitUrl": f"{base}/commit/{oid}", "commitOid": oid}
        self._json(answer | ({"pullRequestUrl": f"{base}/discussions/1"} if request else {}))


def _entry(name: str, data: bytes) -> dict[str, object]:
    if not is_large(name):
        return {"type": "file", "path": name, "size": len(data), "oid": git_id(data)}
    oid = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()
    lfs = {"oid": oid, "size": len(data), "pointerSize": len(pointer)}
    return {"type": "file", "path": name, "size": len(data), "oid": git_id(pointer), "lfs": lfs}


def _known(name: str, files: Files) -> str | None:
    """What the client compares its own file with before it sends it."""
    if name not in files:
        return None
    return hashlib.sha256(files[name]).hexdigest() if is_large(name) else git_id(files[name])


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    ("GET", rf"/api/models/{_NAME}(?:/revision/([^/]+))?", _Handler.info),
    ("GET", rf"/api/models/{_NAME}/tree/([^/]+)", _Handler.tree),
    ("GET HEAD", rf"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("GET HEAD", r"/storage/(\w+)", _Handler.stored),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", rf"/api/models/{_NAME}/branch/([^/]+)", _Handler.branch),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("POST", rf"/api/models/{_NAME}/preupload/([^/]+)", _Handler.preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT POST", r"/upload/(\w+)", _Handler.upload),
    ("POST", rf"/api/models/{_NAME}/commit/([^/]+)", _Handler.commit),
]

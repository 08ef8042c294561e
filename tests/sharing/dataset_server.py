"""The small Hub of `hub_server` with what shares in a dataset repository need besides.

Dataset addresses, commits that name their parent, deletion of folders, squashing the history, and listing and deleting
large files; spoken after huggingface_hub 2.4.0.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import unquote

import hub_server
from hub_server import Hub, Repository


@dataclass
class Pushed:
    """A large file that was uploaded: where it was committed ("" while it was not), and when it came."""

    filename: str
    at: datetime


class DatasetHub(Hub):
    """Attributes:
    pushed: large files by repository and SHA-256.
    overtaken: how many commits are still to be overtaken by somebody else's.
    broken: starts of paths, with the status that they answer with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _DatasetHandler
        self.pushed: dict[str, dict[str, Pushed]] = {}
        self.overtaken = 0
        self.broken: dict[str, int] = {}

    def files(self, name: str) -> set[str]:
        """Names of the files of a repository's main branch."""
        return set(self.repositories[name].files("main") or {})


class _DatasetHandler(hub_server._Handler):
    server: DatasetHub

    def _serve(self) -> None:
        self.path = re.sub(r"^/api/datasets/", "/api/models/", self.path)
        self.path = re.sub(r"^/datasets/", "/", self.path)
        for start, status in self.server.broken.items():
            if self.path.startswith(start):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return self._send(status)
        path = self.path.split("?")[0]
        for method, pattern, answer in _MORE:
            found = re.fullmatch(pattern, path)
            if found and self.command == method:
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length) if length else b""
                self.server.asked.append(f"{self.command} {unquote(path)}")
                try:
                    return answer(self, *map(unquote, found.groups()))
                except hub_server._Refused as refused:
                    return self._send(refused.status, refused.text.encode(), {"X-Error-Code": refused.code})
        return super()._serve()

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def batch(self, name: str) -> None:
        pushed = self.server.pushed.setdefault(name, {})
        for one in json.loads(self.body)["objects"]:
            pushed.setdefault(one["oid"], Pushed("", datetime.now(timezone.utc)))
        super().batch(name)

    def commit_upon(self, name: str, revision: str) -> None:
        repository = self._repository(name, writes=True)
        if self.server.overtaken:
            self.server.overtaken -= 1
            repository.commit({**(repository.files("main") or {}), "README.md": b"# Changed\n"})
        lines = [json.loads(line) for line in self.body.splitlines()]
        if lines[0]["value"].get("parentCommit") not in (None, repository.refs[revision]):
            raise hub_server._Refused(412, text="The branch has moved on.")
        files = dict(repository.files(revision) or {})
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.storage[value["oid"]]
                self.server.pushed[name][value["oid"]].filename = value["path"]
            elif kind == "deletedFolder":
                gone = [file for file in files if file.startswith(value["path"].rstrip("/") + "/")]
                if not gone:
                    raise hub_server._Refused(404, "EntryNotFound")
                for file in gone:
                    del files[file]
        oid = repository.commit(files, revision, lines[0]["value"]["summary"])
        self._json({"commitUrl": f"{self.server.endpoint}/datasets/{name}/commit/{oid}", "commitOid": oid})

    def squash(self, name: str, branch: str) -> None:
        repository = self._repository(name, writes=True)
        fresh = Repository(private=repository.private)
        fresh.commit(repository.files(branch) or {}, branch, json.loads(self.body)["message"])
        self.server.repositories[name] = fresh
        self._json({})

    def large(self, name: str) -> None:
        self._repository(name, writes=True)
        self._json(
            [
                {
                    "fileOid": oid,
                    "filename": one.filename,
                    "oid": oid[:40],
                    "pushedAt": one.at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "size": len(self.server.storage[oid]),
                }
                for oid, one in self.server.pushed.get(name, {}).items()
                if oid in self.server.storage
            ]
        )

    def forget(self, name: str) -> None:
        self._repository(name, writes=True)
        for oid in json.loads(self.body)["deletions"]["sha"]:
            del self.server.storage[oid], self.server.pushed[name][oid]
        self._json({})


_NAME = hub_server._NAME
_MORE = [
    ("POST", rf"/api/models/{_NAME}/commit/([^/]+)", _DatasetHandler.commit_upon),
    ("POST", rf"/api/models/{_NAME}/super-squash/([^/]+)", _DatasetHandler.squash),
    ("GET", rf"/api/models/{_NAME}/lfs-files", _DatasetHandler.large),
    ("POST", rf"/api/models/{_NAME}/lfs-files/batch", _DatasetHandler.forget),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _DatasetHandler.batch),
]

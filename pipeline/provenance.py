"""Telling that a clip was made: what the writer puts into every file, and how to read it back.

Each file has two marks. Text in the MP4's own metadata, which common players and tools show; and a signed C2PA
manifest (`pipeline.manifests`), which breaks if the file is changed. They tell honest people, and hide nothing from the
others: anyone can strip them, so that a file without a mark proves nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, VideoError
from pipeline.manifests import DIGITAL_SOURCE_TYPE, GENERATOR, Manifest, SigningUnavailable, read_manifest, sign
from pipeline.media import open_media

_SENTENCE = f"AI-generated with {GENERATOR}"
_log = logging.getLogger("tete-a-tete")


@dataclass(frozen=True)
class Mark:
    """What a marked file says of itself.

    Attributes:
        text: the sentence that says that the clip is made.
        settings: the settings that it was made with, as far as they were given to the writer.
    """

    text: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What can be told of a file.

    Attributes:
        state: "marked" (ours, signed, unchanged), "unsigned" (its metadata says so, nothing more), "tampered",
            "foreign" (an intact manifest of another tool), "unmarked", or "unchecked" (`c2pa-python` is missing).
        sentence: all of it in words. It may hold names that come from the file.
        mark: the text mark, if there is one.
        manifest: the manifest, if there is one.
    """

    state: str
    sentence: str
    mark: Mark | None = None
    manifest: Manifest | None = None

    @property
    def signer(self) -> str | None:
        """Name in the certificate."""
        return self.manifest and self.manifest.signer

    @property
    def certificate(self) -> str | None:
        """ "operator", "self-made" or "unknown"; None without a signature."""
        return self.manifest and self.manifest.certificate

    @property
    def proven(self) -> bool:
        """Whether the signature is known to be this operator's or this installation's."""
        return self.manifest is not None and self.manifest.proven

    @property
    def generator(self) -> str | None:
        """Tool and version that signed."""
        return self.manifest and self.manifest.generator

    @property
    def digital_source_type(self) -> str | None:
        """IPTC's term for how the picture was made."""
        return self.manifest and self.manifest.digital_source_type

    @property
    def settings(self) -> dict[str, Any]:
        """What the clip was made with."""
        return {} if self.mark is None else self.mark.settings

    def to_dict(self) -> dict[str, Any]:
        """For `json.dumps`."""
        marked = self.state in ("marked", "unsigned", "unchecked")
        return {**asdict(self), "marked": marked}


def mark_metadata(settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """MP4 metadata that marks a clip as made: a sentence as `comment`, the settings as JSON `description`.

    Args:
        settings: what to tell of the making; values that JSON has no form for are written as text.
    """
    metadata = {"comment": f"{_SENTENCE}; digital source type {DIGITAL_SOURCE_TYPE}"}
    if settings:
        metadata["description"] = json.dumps(dict(settings), ensure_ascii=False, default=str, sort_keys=True)
    return metadata


def read_mark(path: str | os.PathLike[str]) -> Mark | None:
    """The text mark of a sound or video file, or None if it carries none, which proves nothing.

    Raises:
        VideoError: if the file cannot be read.
    """
    with open_media(path, VideoError, "video") as container:
        metadata = {key.lower(): value for key, value in container.metadata.items()}
    text = metadata.get("comment", "")
    if not text.startswith(_SENTENCE):
        return None
    try:
        settings = json.loads(metadata.get("description", "{}"))
    except (ValueError, RecursionError):
        settings = {}
    return Mark(text, settings if isinstance(settings, dict) else {})


def seal(path: Path) -> bool:
    """Sign a finished MP4 in its place; where that is impossible it stays as it is, and the log says why, once.

    Returns:
        whether it was signed.
    """
    signed = path.with_name(f"{path.name}.signed")
    try:
        sign(path, signed)
        os.replace(signed, path)
    except InputError as error:
        _warn_once(str(error))
    except OSError as error:
        _warn_once(f"A clip is not signed, because its signed copy cannot be written ({error.strerror}).")
    except Exception as error:  # a clip that took an hour is not lost to a fault of its signature
        _warn_once(f"A clip is not signed, because c2pa-python failed ({type(error).__name__}: {error}).")
    else:
        return True
    finally:
        with contextlib.suppress(OSError):
            signed.unlink(missing_ok=True)
    return False


@functools.lru_cache(maxsize=64)
def _warn_once(sentence: str) -> None:
    _log.warning("%s", sentence)


def verify(path: str | os.PathLike[str]) -> Verdict:
    """Tell whether a sound or video file is marked as made, by whom, and whether it was changed since.

    Nothing is fetched from a network. An intact signature proves that the file is as it was when it was signed with
    that certificate; who holds the certificate is known only for the operator's and this installation's own.

    Raises:
        VideoError: if the file cannot be read as sound or video.
    """
    manifest, checked = None, True
    with contextlib.suppress(OSError):  # told below, in a sentence
        try:
            manifest = read_manifest(path)
        except SigningUnavailable:
            checked = False
    try:
        mark = read_mark(path)
    except VideoError:
        if manifest is None:
            raise
        mark = None  # cut short or damaged, but its manifest is there
    if manifest is None:
        return _without_manifest(mark, checked)
    tool = manifest.generator or "a tool that it does not name"
    if not manifest.intact:
        return Verdict("tampered", f"It was changed after {tool} had signed it, or is damaged.", mark, manifest)
    whose = _whose(manifest)
    if not manifest.ours:
        return Verdict("foreign", f"It carries a manifest of {tool}, not of {GENERATOR}; {whose}.", mark, manifest)
    return Verdict("marked", f"AI-generated with {tool} and unchanged since; {whose}.", mark, manifest)


def _without_manifest(mark: Mark | None, checked: bool) -> Verdict:
    if not checked:
        said = f"Its metadata says that it is {_SENTENCE}" if mark else "Its metadata carries no mark of ours"
        return Verdict("unchecked", f"{said}; install c2pa-python to look for a signature.", mark)
    if mark is None:
        return Verdict("unmarked", "It carries no mark of ours, which proves nothing.")
    return Verdict(
        "unsigned",
        f"It says that it is {_SENTENCE}, but without a signature: that was taken away, or never made, so "
        "nothing shows whether the clip was changed.",
        mark,
    )


def _whose(manifest: Manifest) -> str:
    name = manifest.signer or "a certificate without a name"
    if manifest.certificate == "operator":
        said = f"signed with the operator's certificate ({name})"
    elif manifest.certificate == "self-made":
        by = "this installation" if manifest.proven else "some other installation"
        said = f"signed with a certificate that {by} made for itself ({name})"
    else:
        said = f"signed with a certificate that nothing here vouches for ({name})"
    return said if manifest.valid else f"{said}, which is expired or not valid"

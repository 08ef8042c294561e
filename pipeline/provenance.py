"""Telling that a clip was made: what the writer puts into every file, and how to read it back.

The mark is text in the MP4's own metadata, which common players and tools show; it tells honest people, and
hides nothing from the others, since anyone can strip it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import VideoError
from pipeline.media import open_media

GENERATOR = "Tête-à-tête"
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a real picture that a trained model has altered."""

_SENTENCE = f"AI-generated with {GENERATOR}"


@dataclass(frozen=True)
class Mark:
    """What a marked file says of itself.

    Attributes:
        text: the sentence that says that the clip is made.
        settings: the settings that it was made with, as far as they were given to the writer.
    """

    text: str
    settings: dict[str, Any] = field(default_factory=dict)


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
    """The mark of a sound or video file, or None if it carries none, which proves nothing.

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
    except ValueError:
        settings = {}
    return Mark(text, settings if isinstance(settings, dict) else {})

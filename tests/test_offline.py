"""Nothing calls out: clips are made, signed and verified while every attempt to reach a network is noted."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from heads import write_sound

from pipeline.provenance import verify

_CALLS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
_watching: list[list[str]] = []


def _note(event: str, arguments: tuple) -> None:
    if event in _CALLS and _watching:
        _watching[-1].append(f"{event} {arguments[1:]}")


sys.addaudithook(_note)  # it stays as long as the process, and notes nothing unless it is asked to


@contextmanager
def watching() -> Iterator[list[str]]:
    """A list that every attempt to reach a network is written to, whichever library makes it."""
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def test_attempts_are_noted() -> None:
    with watching() as calls, socket.socket() as one, pytest.raises(OSError):
        one.connect(("127.0.0.1", 9))
    assert len(calls) == 1 and "socket.connect" in calls[0]


def test_making_and_verifying_clips_asks_no_network(debug_pipe, repository: Path, tmp_path) -> None:
    voice = write_sound(tmp_path / "tone.wav", 0.2 * np.sin(np.arange(4800) / 5))
    with watching() as calls:
        portrait = debug_pipe.portrait(repository / "examples" / "portraits" / "statue.jpg", 96)
        made = debug_pipe.talk(portrait, voice).save(tmp_path / "talk.mp4")
        heard = debug_pipe.listen(portrait, voice, attitude="positive").save(tmp_path / "listen.mp4")
        seen = debug_pipe.reenact(portrait, made, restore="detail").save(tmp_path / "reenact.mp4")
        assert [verify(clip).state for clip in (made, heard, seen)] == ["marked"] * 3
    assert calls == []

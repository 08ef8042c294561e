"""Stores to share in, a clip to share, and a clock to turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import soundfile
from dataset_server import DatasetHub

from pipeline.sharing.dataset import DatasetStore
from pipeline.sharing.folder import FolderStore
from pipeline.sharing.records import Limits
from pipeline.sharing.shares import Shares, Store
from pipeline.video.writer import VideoWriter

SETTINGS = {"mode": "talk", "seed": 7, "expression_scale": 1.25, "size": [64, 48], "renderer": "mesh"}


class Clock:
    """Time that stands until it is set."""

    def __init__(self, now: float = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def days(self, count: float) -> None:
        self.now += count * 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of tone."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    soundfile.write(path, tone, 16_000)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, voice: Path) -> Path:
    """A second of video as the pipeline writes it, 64 by 48 pixels, with sound and mark."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, (64, 48), voice, settings=SETTINGS) as writer:
        for index in range(25):
            writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetHub]:
    # Xet is a protocol of its own between hf_xet and its storage; without it the client speaks plain HTTP.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with DatasetHub() as server:
        yield server


@pytest.fixture(params=["folder", "dataset"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store; tests that ask for `store` or `open_store` run over each."""
    return request.param


@pytest.fixture
def open_store(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Store]:
    """Opens the same store each time it is called, as a restart, or another process, does."""
    if kind == "folder":
        return lambda: FolderStore(tmp_path / "shares")
    hub: DatasetHub = request.getfixturevalue("hub")
    return lambda: DatasetStore("someone/clips", token=hub.token, endpoint=hub.endpoint)


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()


@pytest.fixture
def shares(store: Store, clock: Clock) -> Shares:
    return Shares(store, Limits(megabytes=2, clips=20, days=30), clock)

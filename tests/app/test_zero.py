"""A ZeroGPU Space, as far as it can be had here: what is asked of `spaces.GPU`, and what crosses to its process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakePipeline, run

import app_zero
from app_jobs import Order, Result, Studio
from pipeline.errors import InputError, PortraitError

Asked = list[int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """GPU seconds that were asked for; only what JSON knows goes in, as only plain values reach another process."""
    seconds: Asked = []

    def gpu(task: Callable[..., Iterator], duration: Callable[..., int]) -> Callable[..., Iterator]:
        def decorated(*values: Any) -> Iterator:
            values = tuple(json.loads(json.dumps(values)))
            seconds.append(duration(*values))
            yield from task(*values)

        return decorated

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    return seconds


def made(files: dict[str, Path], fake: FakePipeline, portrait: str = "portrait") -> tuple[Result | None, list[str]]:
    order = Order("talk", {"portrait": str(files[portrait]), "audio": str(files["voice"])}, {"seed": 3, "size": 64})
    studio = Studio(lambda: fake)

    async def visitor() -> tuple[Result | None, list[str]]:
        stages, size = [], 0
        async for step in studio.render(order, "clip"):
            if isinstance(step, Result):
                size = step.path.stat().st_size
                assert size > 1000 and step.movement is not None
                return step, stages
            stages.append(step.stage)
        return None, stages

    try:
        return run(visitor())
    finally:
        studio.close()


def test_a_clip_is_made_on_a_lent_gpu_for_as_long_as_its_sound_asks(asked: Asked, files: dict[str, Path]) -> None:
    fake = FakePipeline(frames=30, delay=0.03)
    result, stages = made(files, fake)
    assert result is not None and (result.size, result.settings["seed"]) == ((64, 64), 3)
    assert "rendering" in stages
    assert asked == [22], "20 s, and a second for each of the 1.5 s of sound"
    assert fake.calls[0]["renderer"] == "refiner"


def test_a_refusal_there_is_a_refusal_here(asked: Asked, files: dict[str, Path]) -> None:
    with pytest.raises(PortraitError, match="not a picture"):
        made(files, FakePipeline(), "text")


def test_what_takes_longer_than_a_gpu_is_lent_is_refused() -> None:
    assert app_zero.gpu_seconds("talk", {}, {}, "", "", 100.0) == 120
    with pytest.raises(InputError, match="a clip may last 100 seconds at most; cut the sound into parts"):
        app_zero.gpu_seconds("talk", {}, {}, "", "", 101.0)


def test_stop_reaches_the_other_process(asked: Asked, files: dict[str, Path]) -> None:
    fake = FakePipeline(frames=1000, delay=0.01)
    studio = Studio(lambda: fake)
    order = Order("talk", {"portrait": str(files["portrait"]), "audio": str(files["voice"])}, {"size": 64})

    async def visitor() -> None:
        steps = studio.render(order, "clip")
        while (await anext(steps)).done < 5:
            pass
        await steps.aclose()

    run(visitor())
    assert fake.cancelled.wait(3)
    studio.close()


def test_elsewhere_nothing_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    studio = Studio(FakePipeline)
    assert studio._lent is None
    studio.close()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(SystemExit, match="needs the package `spaces`"):
        app_zero.lent()

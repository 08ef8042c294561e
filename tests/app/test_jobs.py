"""Jobs without a page: what is yielded, what is stopped, what is left on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakePipeline

from app_cards import progress_card
from app_jobs import BusyError, Order, Result, Studio
from app_limits import Limits, Visitor
from app_queue import Job, Line, Moment
from app_texts import duration
from pipeline.errors import PortraitError


@pytest.fixture
def fake() -> FakePipeline:
    return FakePipeline(frames=10)


@pytest.fixture
def studio(fake: FakePipeline) -> Iterator[Studio]:
    studio = Studio(lambda: fake)
    yield studio
    studio.close()
    assert not studio._folder.exists()


def talk(files: dict[str, Path], portrait: str = "portrait") -> Order:
    picture, voice = str(files[portrait]), str(files["voice"])
    return Order(
        lambda pipe, progress: pipe.talk(picture, voice, seed=3, size=64, progress=progress), picture, (voice,)
    )


async def everything(studio: Studio, order: Order) -> list[Moment | Result]:
    return [step async for step in studio.render(order, "clip")]


def test_the_result_lives_until_the_caller_goes_on(studio: Studio, files: dict[str, Path]) -> None:
    async def visitor() -> Path:
        path = Path()
        async for step in studio.render(talk(files), "clip"):
            if isinstance(step, Result):
                path = step.path
                assert path.name == "clip.mp4"
                assert path.stat().st_size > 0
                assert (step.size, step.settings["seed"]) == ((64, 64), 3)
        return path

    path = asyncio.run(visitor())
    assert path.name == "clip.mp4"
    assert not path.exists()
    assert not list(studio._folder.iterdir())


def test_an_error_of_the_pipeline_reaches_the_caller_and_leaves_nothing(studio: Studio, files: dict[str, Path]) -> None:
    with pytest.raises(PortraitError, match="not a picture"):
        asyncio.run(everything(studio, talk(files, "text")))
    assert not list(studio._folder.iterdir())


def test_closing_the_iterator_stops_the_work(studio: Studio, fake: FakePipeline, files: dict[str, Path]) -> None:
    fake.frames, fake.delay = 1000, 0.02

    async def visitor() -> None:
        steps = studio.render(talk(files), "clip")
        while (await anext(steps)).done < 5:
            pass
        await steps.aclose()

    asyncio.run(visitor())
    assert fake.cancelled.wait(1)
    drawn = fake.last_frame
    time.sleep(0.2)
    assert fake.last_frame == drawn
    assert not list(studio._folder.iterdir())


def test_a_job_that_waits_for_a_place_can_be_given_up(
    studio: Studio, fake: FakePipeline, files: dict[str, Path]
) -> None:
    fake.frames, fake.delay = 1000, 0.02

    async def visitors() -> None:
        first, second = studio.render(talk(files), "a"), studio.render(talk(files), "b")
        while (await anext(first)).done < 2:
            pass
        assert await anext(second) == Moment("waiting", ahead=1)
        assert await anext(second) == Moment("waiting", ahead=1)
        await second.aclose()
        assert len(list(studio._folder.iterdir())) == 1
        await first.aclose()

    asyncio.run(visitors())
    assert fake.cancelled.wait(1)
    assert len(fake.calls) == 1, "the given-up job was begun"


def test_more_visitors_than_places_are_refused(fake: FakePipeline, files: dict[str, Path]) -> None:
    studio = Studio(lambda: fake, Limits(queue=1))
    fake.frames, fake.delay = 1000, 0.02

    async def visitors() -> None:
        steps = [studio.render(talk(files), "clip") for _ in range(3)]
        await anext(steps[0])
        await anext(steps[1])
        with pytest.raises(BusyError, match="try again in a minute"):
            await anext(steps[2])
        for step in steps[:2]:
            await step.aclose()

    asyncio.run(visitors())
    studio.close()


def test_the_pipeline_is_made_once_for_many_visitors(files: dict[str, Path]) -> None:
    made = []

    def factory() -> FakePipeline:
        time.sleep(0.1)
        made.append(FakePipeline(frames=3))
        return made[-1]

    async def visitors() -> list[list[Moment | Result]]:
        return await asyncio.gather(*(everything(studio, talk(files)) for _ in range(6)))

    studio = Studio(factory, Limits(workers=4))
    studio.warm()
    endings = [steps[-1] for steps in asyncio.run(visitors())]
    studio.close()
    assert all(isinstance(ending, Result) for ending in endings)
    assert len({ending.path for ending in endings}) == 6
    assert len(made) == 1


def test_a_pipeline_that_fails_to_load_is_tried_again(fake: FakePipeline, files: dict[str, Path]) -> None:
    outcomes: list = [OSError("no weights yet"), fake]

    def factory() -> FakePipeline:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    studio = Studio(factory)
    studio.warm().result()
    assert isinstance(asyncio.run(everything(studio, talk(files)))[-1], Result)
    studio.close()


def test_times_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.2, 8.4, 60, 125, 3780)] == ["1 s", "8 s", "1 min", "2 min 5 s", "1 h 3 min"]


def test_what_a_pipeline_calls_a_stage_cannot_become_markup() -> None:
    assert "<script>" not in progress_card(Moment("<script>", 1, 2, ("<script>",)))

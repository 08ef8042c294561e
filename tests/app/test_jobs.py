"""Jobs without a page: what is yielded, what is stopped, what is left on disk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakePipeline, run

from app_cards import progress_card
from app_jobs import BusyError, Order, Result, Studio
from app_limits import Limits, Rates, Visitor
from app_queue import Job, Line, Moment
from app_texts import duration
from pipeline.devices import Runtime
from pipeline.errors import InputError, PortraitError
from pipeline.renderers import wants_gpu


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
    return Order(
        "talk",
        {"portrait": str(files[portrait]), "audio": str(files["voice"])},
        {"seed": 3, "size": 64},
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

    path = run(visitor())
    assert path.name == "clip.mp4"
    assert not path.exists()
    assert not list(studio._folder.iterdir())


def test_an_error_of_the_pipeline_reaches_the_caller_and_leaves_nothing(studio: Studio, files: dict[str, Path]) -> None:
    with pytest.raises(PortraitError, match="not a picture"):
        run(everything(studio, talk(files, "text")))
    assert not list(studio._folder.iterdir())


def test_closing_the_iterator_stops_the_work(studio: Studio, fake: FakePipeline, files: dict[str, Path]) -> None:
    fake.frames, fake.delay = 1000, 0.02

    async def visitor() -> None:
        steps = studio.render(talk(files), "clip")
        while (await anext(steps)).done < 5:
            pass
        await steps.aclose()

    run(visitor())
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

    run(visitors())
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

    run(visitors())
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
    endings = [steps[-1] for steps in run(visitors())]
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
    assert isinstance(run(everything(studio, talk(files)))[-1], Result)
    studio.close()


def test_times_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.2, 8.4, 60, 125, 3780)] == ["1 s", "8 s", "1 min", "2 min 5 s", "1 h 3 min"]


def test_what_a_pipeline_calls_a_stage_cannot_become_markup() -> None:
    assert "<script>" not in progress_card(Moment("<script>", 1, 2, ("<script>",)))


def test_what_a_pipeline_calls_a_stage_is_said_in_both_languages() -> None:
    shown = progress_card(Moment("rendering", 50, 100, ("portrait",), 3.0), "zh")
    assert "正在绘制画面" in shown and "第 50 帧，共 100 帧" in shown and "大约还需 3 秒" in shown
    assert 'data-say="正在绘制画面, 50 %"' in shown


def test_a_clip_for_the_gpu_does_not_wait_for_those_on_the_processor(
    studio: Studio, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor's only worker is busy: a clip that is restored on the GPU is made meanwhile."""
    monkeypatch.setattr("app_jobs.wants_gpu", lambda renderer, restore: restore == "gfpgan")
    done = []

    async def visitor(restore: str) -> None:
        order = talk(files)
        order.options["restore"] = restore
        async for step in studio.render(order, restore):
            if isinstance(step, Result):
                done.append(restore)

    async def visitors() -> None:
        waiting = asyncio.create_task(visitor("detail"))
        await visitor("gfpgan")
        assert done == ["gfpgan"]
        go_on.set()
        await waiting

    go_on = threading.Event()
    studio._pool.submit(lambda: go_on.wait(60) and None)
    run(visitors())
    assert done == ["gfpgan", "detail"]
    assert not studio.jobs()


def test_only_large_networks_want_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (False, True):
        monkeypatch.setattr("pipeline.devices.Runtime.best", lambda there=there: Runtime("cuda" if there else "cpu"))
        assert not wants_gpu("mesh", "detail") and not wants_gpu("refiner", None)
        assert wants_gpu("mesh", "gfpgan") == wants_gpu("headgan") == wants_gpu("pirenderer", "none") == there


# --- who comes next -------------------------------------------------------------------------------------------------


def waiting(line: Line, *visitors: tuple[str, str], length: float = 0.0) -> list[Job]:
    jobs = [Job(Visitor(*visitor), length=length, work=lambda: None) for visitor in visitors]
    for job in jobs:
        line.add(job)
    return jobs


def test_one_visitors_many_clips_do_not_hold_up_anothers_first() -> None:
    line = Line(1)
    greedy = waiting(line, *[("a", "1")] * 4)
    assert line.take() is greedy[0]
    late = waiting(line, ("b", "1"), ("b", "1"), ("c", "1"))
    assert [line.place(job)[0] for job in (late[0], late[2], greedy[1], late[1], greedy[2])] == [1, 2, 3, 4, 5]
    assert line.take() is late[0]
    line.remove(greedy[0])
    assert line.take() is greedy[1], "nobody is before another twice"


def test_tabs_of_one_address_take_turns() -> None:
    line = Line(1)
    one = waiting(line, *[("a", "1")] * 2)
    line.take()
    other = waiting(line, ("a", "2"))
    (elsewhere,) = waiting(line, ("b", "1"))
    assert [line.take() for _ in range(3)] == [elsewhere, other[0], one[1]]


def test_a_job_whose_files_are_still_looked_at_is_passed_over() -> None:
    line = Line(1)
    first = Job()
    line.add(first)
    (second,) = waiting(line, ("b", "1"))
    assert line.take() is second and line.take() is None
    first.work = lambda: None
    assert line.take() is first


def test_the_time_until_a_clip_begins_is_estimated_from_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("app_queue.time.monotonic", lambda: now[0])
    line = Line(2)
    waiting(line, ("a", "1"), length=10.0)
    past = line.take()
    assert past is not None
    now[0] += 5
    line.remove(past, finished=True)  # half a second of work for a second of sound
    running = waiting(line, ("b", "1"), ("c", "1"), length=40.0)
    line.take(), line.take()
    (before,) = waiting(line, ("d", "1"), length=8.0)
    (job,) = waiting(line, ("e", "1"), length=100.0)
    now[0] += 4
    assert line.place(job) == (2, pytest.approx((16 + 16 + 4) / 2))
    running[0].moment = Moment("rendering", 1, 2, seconds_left=6.0)
    assert line.place(job)[1] == pytest.approx((6 + 16 + 4) / 2)
    line.remove(before)
    assert line.place(job)[0] == 1


# --- limits ---------------------------------------------------------------------------------------------------------


def test_one_visitor_may_not_take_all_places(fake: FakePipeline, files: dict[str, Path]) -> None:
    studio = Studio(lambda: fake, Limits(per_visitor=2))
    fake.frames, fake.delay = 1000, 0.02

    async def visitors() -> None:
        steps = [studio.render(talk(files), "clip", Visitor("a", str(tab))) for tab in range(3)]
        await anext(steps[0])
        await anext(steps[1])
        with pytest.raises(BusyError, match="You have 2 clips in work already; please wait"):
            await anext(steps[2])
        other = studio.render(talk(files), "clip", Visitor("b"))
        assert (await anext(other)).ahead == 1, "the visitor's second clip comes after another's first"
        for step in (*steps[:2], other):
            await step.aclose()

    run(visitors())
    studio.close()


def test_who_comes_too_often_is_told_when_to_come_back() -> None:
    rates = Rates(2)
    rates.start("a", 0.0)
    rates.start("a", 600.0)
    rates.start("b", 700.0)
    with pytest.raises(InputError, match="You have started 2 clips within an hour; please come back in 48 min 20 s"):
        rates.start("a", 700.0)
    rates.start("a", 3601.0)
    with pytest.raises(InputError, match="come back in 9 min 58 s"):
        rates.start("a", 3602.0)
    rates.start("c", 20_000.0)
    assert set(rates._starts) == {"c"}, "who has gone is remembered for ever"
    Rates(0).start("a", 0.0)


def test_pictures_and_sound_beyond_the_limits_are_refused_before_the_line(
    fake: FakePipeline, files: dict[str, Path]
) -> None:
    for limits, sentence in (
        (Limits(max_pixels=10_000), "The picture has 256 x 256 pixels, more than this page takes; reduce it to about"),
        (Limits(max_seconds=1), r"The file lasts 2 s, and this page takes at most 1 s; cut it into parts\."),
    ):
        studio = Studio(lambda: fake, limits)
        with pytest.raises(InputError, match=sentence):
            run(everything(studio, talk(files)))
        assert not fake.calls and not studio.jobs() and not list(studio._folder.iterdir())
        studio.close()


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limits.from_environment() == Limits()
    monkeypatch.setenv("TETE_WORKERS", "3")
    monkeypatch.setenv("TETE_MAX_UPLOAD", "50mb")
    monkeypatch.setenv("TETE_RATE", "")
    assert Limits.from_environment() == Limits(workers=3, max_upload="50mb")
    for wrong in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("TETE_WORKERS", wrong)
        with pytest.raises(SystemExit, match="TETE_WORKERS must be a whole number from 1 on, not"):
            Limits.from_environment()


# --- what a job keeps, and looks ------------------------------------------------------------------------------------


def test_uploads_that_expire_while_a_job_waits_are_not_missed(
    studio: Studio, fake: FakePipeline, files: dict[str, Path], tmp_path: Path
) -> None:
    fake.delay = 0.05
    portrait = tmp_path / "mine.png"
    portrait.write_bytes(files["portrait"].read_bytes())

    async def visitors() -> Moment | Result:
        first = asyncio.create_task(everything(studio, talk(files)))
        steps = studio.render(talk({**files, "portrait": portrait}), "clip")
        while not fake.calls:
            await asyncio.sleep(0.01)
        assert isinstance(await anext(steps), Moment)
        portrait.unlink()
        last = [step async for step in steps][-1]
        await first
        return last

    assert isinstance(run(visitors()), Result)
    assert Path(fake.calls[-1]["portrait"]).name == "mine.png", "sentences name the visitor's own file"


def test_a_picture_that_is_replaced_is_forgotten(studio: Studio, fake: FakePipeline, files: dict[str, Path]) -> None:
    fake.look_delay = 0.15

    async def visitor() -> list:
        looks = []
        for name in ("portrait", "two", "side", "portrait"):
            looks.append(asyncio.create_task(studio.look(str(files[name]), "tab")))
            await asyncio.sleep(0.05)
        return await asyncio.gather(*looks)

    found = run(visitor())
    assert found[:3] == [None, None, None] and found[3].size == (256, 256)
    assert len(fake.looks) < 4, "all pictures were looked at though only the last was wanted"
    assert not studio._looks


def test_pieces_are_named_by_a_token_that_ends_with_the_job(
    studio: Studio, fake: FakePipeline, files: dict[str, Path]
) -> None:
    fake.frames, fake.delay = 1000, 0.01

    async def visitor() -> str:
        steps = studio.render(talk(files), "clip")
        token = ""
        async for moment in steps:
            token = moment.live
            if token:
                break
        folder = studio.live_folder(token)
        assert len(token) > 20 and folder is not None and (folder / "init.mp4").exists()
        assert studio.live_folder(token + "x") is None and studio.live_folder("") is None
        await steps.aclose()
        return token

    assert studio.live_folder(run(visitor())) is None


def test_pieces_are_filled_to_whole_blocks_with_an_empty_box() -> None:
    from app_live import _filled

    for length in (1, 32_761, 32_768, 40_000):
        filled = _filled(b"x" * length)
        assert len(filled) % 32_768 == 0 and filled.startswith(b"x" * length)
        box = filled[length:]
        assert not box or (int.from_bytes(box[:4], "big"), box[4:8]) == (len(box), b"free")
    assert len(_filled(bytes(32_768))) == 32_768

"""The loop that neural renderers share: it goes on to the bit, shares lessons out, and refuses what is no number."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from heads import one_sentence
from test_shards import made_lesson
from torch import nn

from pipeline.errors import InputError
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.training import renderer_command, renderer_training
from pipeline.training.headgan import HeadGANCourse, Settings
from pipeline.training.headgan import main as train_headgan
from pipeline.training.perceptual import Perceptual
from pipeline.training.renderer_training import Course, Lessons, Options, Turn, lesson_numbers, train
from pipeline.training.shards import write_shards


@pytest.fixture(autouse=True)
def fresh():
    """Accelerate keeps one state a process."""
    from accelerate.state import AcceleratorState

    torch.set_num_threads(1)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Guess(nn.Module):
    """Learns the mean of what it is shown, with chance in it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(3))

    def save(self, folder: Path) -> None: ...


class Guessing(Course):
    """`broken` steps have a loss that is no number."""

    learning_rate = 0.1
    decay = 0.9

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.network, self.told, self.broken, self.steps, self.seen = Guess(), {"kind": "guess"}, broken, 0, []
        self.draw = lambda clip, random: {"colour": clip.frames[int(random.integers(len(clip)))].mean((0, 1)) / 255}

    def turns(self, batch: dict[str, torch.Tensor], done: float) -> Iterator[Turn]:
        self.seen.append(done)
        noise = 0.05 * torch.randn(3)
        loss = (self.network.value + noise - batch["colour"].float()).square().mean()
        if self.steps in self.broken:
            loss = loss * float("nan")
        self.steps += 1
        yield Turn("network", loss, {"distance": loss})

    def sheet(self, network: nn.Module, clip) -> np.ndarray:
        return clip.frames[0]


CLIPS = [made_lesson(f"talk__{i}", 4 + i, seed=i) for i in range(3)]


def options(run: Path, **changes) -> Options:
    return Options(run, **{"steps": 4, "batch": 2, "device": "cpu", "log_every": 1, **changes})


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("references", [1, 2])
def test_two_steps_and_two_more_are_four(tmp_path, references):
    """Weights, their average and all losses of a HeadGAN, to the bit."""
    config = HeadGANConfig(size=32, width=2, sound_dim=7, hidden=4, references=references)

    def course() -> HeadGANCourse:
        return HeadGANCourse.of(CLIPS, config, Settings(judge_width=2), Perceptual())

    whole, first, second = course(), course(), course()
    average = train(whole, CLIPS, options(tmp_path / "whole"))
    # The state is one of many: what came after it is forgotten and done again.
    train(first, CLIPS, options(tmp_path / "parts", steps=2))
    with (tmp_path / "parts" / "losses.jsonl").open("a") as file:
        file.write('{"step": 3, "pixels": 0}\n')
    again = train(second, CLIPS, options(tmp_path / "parts", resume=True))
    assert same(whole.network, second.network) and same(whole.judges, second.judges) and same(average, again)
    assert not same(first.network, second.network) and not same(average, whole.network)
    logs = [(tmp_path / run / "losses.jsonl").read_text() for run in ("whole", "parts")]
    assert logs[0] == logs[1] and [json.loads(line)["step"] for line in logs[0].splitlines()] == [1, 2, 3, 4]
    assert not list((tmp_path / "parts").glob("state.*")), "one state is kept"


def test_chance_and_order_go_on_with_readers_and_without(tmp_path):
    whole, parts = Guessing(), Guessing()
    train(whole, CLIPS, options(tmp_path / "whole", steps=5))
    train(parts, CLIPS, options(tmp_path / "parts", steps=5, minutes=0))
    assert parts.steps == 0, "no time, no step; but a state to go on from"
    train(parts, CLIPS, options(tmp_path / "parts", steps=5, resume=True, workers=2))
    assert same(whole.network, parts.network) and parts.seen == [0, 0.2, 0.4, 0.6, 0.8]
    other = Guessing()
    train(other, CLIPS, options(tmp_path / "other", steps=5, seed=1))
    assert not same(whole.network, other.network)


def test_a_run_holds_state_losses_and_grids(tmp_path):
    seen = []
    course = Guessing()
    average = train(course, CLIPS, options(tmp_path, steps=5, every=2, log_every=2), lambda *row: seen.append(row))
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == [f"000000{i}.png" for i in (2, 4, 5)]
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [(line["step"], line["distance"]) for line in lines] == [(s, losses["distance"]) for s, losses in seen]
    assert [step for step, _ in seen] == [2, 4]
    assert json.loads((tmp_path / "settings.json").read_text())["kind"] == "guess"
    assert not average.training and not average.value.requires_grad
    assert {path.suffix for path in (tmp_path / "state").iterdir()} == {".json", ".safetensors"}


def test_a_run_is_not_overwritten_and_its_settings_hold(tmp_path):
    train(Guessing(), CLIPS, options(tmp_path))
    wrong = {
        "add --resume": options(tmp_path),
        r"other settings \(batch\)": options(tmp_path, batch=3, resume=True),
        "no training that can go on": options(tmp_path / "elsewhere", resume=True),
        "steps or minutes": options(tmp_path / "new", steps=None),
        "no precision 'half'": options(tmp_path / "new", precision="half"),
    }
    for text, how in wrong.items():
        with pytest.raises(InputError, match=text) as error:
            train(Guessing(), CLIPS, how)
        assert one_sentence(error.value)
    (tmp_path / "state" / "network.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="damaged") as error:
        train(Guessing(), CLIPS, options(tmp_path, resume=True))
    assert one_sentence(error.value)
    with pytest.raises(InputError, match="no clip") as error:
        train(Guessing(), [], options(tmp_path / "new"))
    assert one_sentence(error.value)


# --- lessons --------------------------------------------------------------------------------------------------------


def test_processes_share_the_lessons_that_one_would_have():
    alone = lesson_numbers(6, first=3)
    shares = [lesson_numbers(6, 3, rank, 3) for rank in range(3)]
    for _ in range(4):
        assert [number for share in shares for number in next(share)] == next(alone)
    lessons = Lessons(CLIPS, lambda clip, random: {"name": clip.name, "chance": random.random()}, seed=5)
    assert lessons[17] == lessons[17] and lessons[17] != lessons[18]
    assert lessons[17] != Lessons(CLIPS, lessons._draw, seed=6)[17]
    names = [lessons[n]["name"] for n in range(300)]
    assert all(70 < names.count(clip.name) < 130 for clip in CLIPS), "long clips not oftener than short ones"


def _process(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    course = Guessing()
    train(course, CLIPS, options(folder / "run", batch=4, minutes=5))
    np.save(folder / f"{rank}.npy", course.network.value.detach().numpy())


def test_two_processes_learn_together(tmp_path, monkeypatch):
    """Gradients are shared: both end with the same weights, near those of one process with all lessons."""
    monkeypatch.setattr(torch, "randn", lambda *size: torch.zeros(*size))  # else each process has chances of its own
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=_process, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    course = Guessing()
    train(course, CLIPS, options(tmp_path / "alone", batch=4))
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in range(2))
    assert np.array_equal(first, second)
    assert np.allclose(first, course.network.value.detach().numpy(), atol=1e-6)
    logs = [(tmp_path / run / "losses.jsonl").read_text().splitlines() for run in ("run", "alone")]
    for shared, single in zip(*logs, strict=True):
        assert json.loads(shared)["distance"] == pytest.approx(json.loads(single)["distance"], abs=1e-6)


# --- precision and numbers ------------------------------------------------------------------------------------------


def test_a_step_that_is_no_number_changes_nothing(tmp_path, monkeypatch):
    course = Guessing(broken=(1, 2))
    values = []
    train(course, CLIPS, options(tmp_path / "a"), lambda *_: values.append(course.network.value.tolist()))
    assert values[0] == values[1] == values[2] != values[3] and np.isfinite(values).all()
    monkeypatch.setattr(renderer_training, "_NOT_FINITE", 2)
    with pytest.raises(InputError, match="not been finite for 2 steps") as error:
        train(Guessing(broken=(1, 2)), CLIPS, options(tmp_path / "b"))
    assert one_sentence(error.value)


def test_gradients_are_clipped_if_asked(tmp_path):
    lengths = []
    for clip_gradients in (None, 1e-3):
        course = Guessing()
        train(course, CLIPS, options(tmp_path / str(clip_gradients), steps=1, clip_gradients=clip_gradients))
        lengths.append(course.network.value.grad.norm().item())
    assert lengths[0] > 0.1 and lengths[1] == pytest.approx(1e-3, rel=1e-3)


def test_half_precision_trains_a_network_near_the_full_one(tmp_path):
    config = HeadGANConfig(size=32, width=2, sound_dim=7, hidden=4)
    first = []
    for precision in ("no", "bf16"):
        course = HeadGANCourse.of(CLIPS, config, Settings(judge_width=2), Perceptual())
        how = options(tmp_path / precision, steps=1, precision=precision)
        train(course, CLIPS, how, lambda step, losses: first.append(losses))
        assert all(value.dtype == torch.float32 for value in course.network.parameters())
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
    assert first[0] != first[1]
    assert all(first[1][name] == pytest.approx(value, rel=0.1, abs=0.02) for name, value in first[0].items())


def test_fp16_finds_its_scale_and_goes_on_with_it(tmp_path):
    """The scale is lowered by what overflows, and is part of the state."""

    def half(course: Guessing, how: Options) -> None:
        runner = renderer_training.accelerator(how)
        runner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)  # as accelerate has it on a GPU
        train(course, CLIPS, how, runner=runner)

    whole, parts = Guessing(broken=(0,)), Guessing(broken=(0,))
    half(whole, options(tmp_path / "whole"))
    half(parts, options(tmp_path / "parts", steps=2))
    assert json.loads((tmp_path / "parts" / "state" / "state.json").read_text())["scaler"]["scale"] == 2**15
    parts.steps = 2
    half(parts, options(tmp_path / "parts", resume=True))
    assert same(whole.network, parts.network) and whole.network.value.abs().min() > 0.05
    with pytest.raises(InputError, match="Only a GPU") as error:
        train(Guessing(), CLIPS, options(tmp_path / "cpu", precision="fp16"))
    assert one_sentence(error.value)


# --- command --------------------------------------------------------------------------------------------------------


def test_the_command_trains_on_prepared_shards_without_the_corpus(tmp_path, monkeypatch):
    from pipeline.drivers.sound_window import SOUND_VECTOR_DIM
    from pipeline.renderers.headgan import HeadGAN

    silent = [replace(clip, sound=np.zeros((0, SOUND_VECTOR_DIM), np.float32)) for clip in CLIPS]
    write_shards(silent, tmp_path / "shards_32", 32)
    common = {"cache": tmp_path, "size": 32, "width": 2, "batch": 2, "device": "cpu", "steps": 1}
    train_headgan(tmp_path / "none", tmp_path / "weights", **common)
    assert HeadGAN.load(tmp_path / "weights").config.width == 2
    assert (tmp_path / "runs" / "headgan" / "losses.jsonl").exists()
    monkeypatch.setattr(renderer_command, "accelerator", lambda how: SimpleNamespace(num_processes=2))
    with pytest.raises(InputError, match=r"write them with python -m pipeline\.training\.shards") as error:
        train_headgan(tmp_path, tmp_path, shards=tmp_path / "shards_64", **common)
    assert one_sentence(error.value)
    monkeypatch.undo()
    with pytest.raises(InputError, match="32 pixels, not of 64") as error:
        train_headgan(tmp_path, tmp_path, shards=tmp_path / "shards_32", **{**common, "size": 64})
    assert one_sentence(error.value)


def test_without_accelerate_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match=r"requirements-train\.txt") as error:
        train(Guessing(), CLIPS, options(tmp_path))
    assert one_sentence(error.value)

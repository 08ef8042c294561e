"""Batches: checked before they begin, resumed where they stopped, each failure told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from heads import one_sentence, write_sound

from pipeline import batch_makers
from pipeline.batch import RESULTS, run_batch
from pipeline.batch_makers import Outcome, Processes, RayActors, make_clip
from pipeline.batch_manifest import FIELDS, Job, read_manifest
from pipeline.cli import main
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.errors import InputError, ManifestError, OutputError
from pipeline.provenance import verify
from pipeline.video import VideoReader


@pytest.fixture
def place(tmp_path: Path, repository: Path) -> Path:
    """A folder with a portrait, a picture of nobody, two sounds and room for a manifest."""
    (tmp_path / "face.jpg").symlink_to(repository / "examples" / "portraits" / "man_beard.jpg")
    (tmp_path / "nobody.png").symlink_to(repository / "tests" / "conftest.py")
    write_sound(tmp_path / "tone.wav", 0.2 * np.sin(np.arange(4800) / 5))
    write_sound(tmp_path / "hum.wav", 0.2 * np.sin(np.arange(4800) / 9))
    return tmp_path


def write_rows(place: Path, *rows: dict[str, Any]) -> Path:
    path = place / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROW = {"mode": "talk", "portrait": "face.jpg", "audio": "tone.wav", "size": 96}


class Noting:
    """Makers that note what they are asked, and make a file that only looks like a clip."""

    def __init__(self, fail: Sequence[str] = (), stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._fail, self._stop_after = fail, stop_after

    def make(self, jobs: Sequence[Job], weights: str | None) -> Generator[tuple[Job, Outcome], None, None]:
        for number, job in enumerate(jobs):
            if number == self._stop_after:
                raise KeyboardInterrupt
            self.asked.append(job.output.name)
            if job.output.name in self._fail:
                yield job, {"output": str(job.output), "error": "It did not work, so try another."}
            else:
                job.output.parent.mkdir(parents=True, exist_ok=True)
                job.output.write_text("a clip")
                yield job, {"output": str(job.output), "frames": 3}


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


# --- manifests ------------------------------------------------------------------------------------------------------


def test_csv_and_json_lines_are_typed_alike(place: Path) -> None:
    table = place / "rows.csv"
    table.write_text(
        "mode,portrait,audio,size,visible_tag,expression_scale,output\r\n"
        'talk, face.jpg ,"tone.wav",96,YES,0.5,sub/a.mp4\r\n'
        "\r\n"
        "talk,face.jpg,hum.wav,,,,\r\n",
        encoding="utf-8-sig",
    )
    rows = {**ROW, "visible_tag": True, "expression_scale": 0.5, "output": "sub/a.mp4"}, {**ROW, "audio": "hum.wav"}
    del rows[1]["size"]
    ours, theirs = (read_manifest(path, place / "out") for path in (table, write_rows(place, *rows)))
    assert ours == theirs and [job.row for job in ours] == [1, 2]
    assert ours[0].options == {
        "portrait": str((place / "face.jpg").resolve()), "audio": str((place / "tone.wav").resolve()),
        "size": 96, "visible_tag": True, "expression_scale": 0.5,
    }  # fmt: skip
    assert ours[0].output == place / "out" / "sub" / "a.mp4"
    assert ours[1].output.name.startswith("talk-man_beard-hum-") and ours[1].output.suffix == ".mp4"


@pytest.mark.parametrize("mode", FIELDS)
def test_columns_are_the_methods_parameters(mode: str) -> None:
    import inspect

    taken = set(inspect.signature(getattr(ConversationalHeadPipeline, mode)).parameters)
    assert set(FIELDS[mode]) <= taken and taken - set(FIELDS[mode]) <= {"self", "progress"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "sing"}, "There is no mode 'sing'; choose one of: talk, listen, reenact"),
        ({"mode": None}, "There is no mode null"),
        ({"attitude": "positive"}, "talk takes no 'attitude'"),
        ({"audio": None}, "The audio is missing"),
        ({"mode": "listen", "audio": None}, "neither audio nor speaker_video"),
        ({"audio": "missing.wav"}, "There is no file"),
        ({"audio": 7}, "audio must be text, not 7"),
        ({"size": 20}, "size must be between 64 and 4096"),
        ({"size": "large"}, "size must be a whole number, not 'large'"),
        ({"size": 96.5}, "size must be a whole number, not 96.5"),
        ({"seed": True}, "seed must be a whole number, not true"),
        ({"motion_scale": float("nan")}, "motion_scale must be a number, not NaN"),
        ({"expression_scale": 3}, "expression_scale must be between 0 and 2"),
        ({"visible_tag": 1}, "visible_tag must be true or false"),
        ({"restore": "magic"}, "There is no restore 'magic'"),
        ({"output": "clip.avi"}, "must be a name that ends in .mp4"),
        ({"output": "../clip.mp4"}, "must lie in the batch's folder"),
        ({"output": "/tmp/clip.mp4"}, "must lie in the batch's folder"),
    ],
)
def test_a_row_that_is_wrong_is_told_before_anything_is_made(place, capsys, change, said) -> None:
    path = write_rows(place, ROW, {**ROW, **change}, {**ROW, "mode": "dance"})
    assert main(["batch", str(path), "-o", str(place / "out")]) == 2
    told = capsys.readouterr()
    assert (
        told.out == ""
        and said in told.err
        and "Row 2 of rows.jsonl" in told.err
        and "(one more row is wrong)" in told.err
    )
    assert one_sentence(told.err.removeprefix("error: ").rstrip("\n"))
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.txt", b"", "must end in .csv or .jsonl"),
        ("missing.csv", None, "cannot be read"),
        ("rows.csv", b"", "has no rows"),
        ("rows.csv", b"mode,portrait\ntalk\n", "has not as many fields"),
        ("rows.csv", b'mode,portrait\n"talk,x\n', "is not CSV"),
        ("rows.csv", b"\xff\xfe\x00", "is not text in UTF-8"),
        ("rows.jsonl", b"[1]\n", "is not an object"),
        ("rows.jsonl", b"{\n", "is not JSON"),
        ("rows.jsonl", b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_manifest_that_cannot_be_read(place: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (place / name).write_bytes(content)
    with pytest.raises(ManifestError, match=said) as error:
        read_manifest(place / name, place / "out")
    assert one_sentence(error.value)


def test_two_rows_may_not_be_one_clip(place: Path) -> None:
    with pytest.raises(ManifestError, match=r"Rows 1 and 3 of rows\.jsonl would both be"):
        read_manifest(write_rows(place, ROW, {**ROW, "seed": 1}, ROW), place / "out")


# --- resuming -------------------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(place: Path) -> None:
    path = write_rows(place, *({**ROW, "output": f"{name}.mp4"} for name in "abc"))
    with pytest.raises(KeyboardInterrupt):
        run_batch(path, place / "out", makers=Noting(stop_after=2))
    assert [entry["output"] for entry in entries(place / "out")] == ["a.mp4", "b.mp4"]
    assert not list((place / "out").glob(".*"))
    (place / "out" / "b.mp4").unlink()  # what is not there is made again, whatever is written of it
    with open(place / "out" / RESULTS, "a") as file:
        file.write('{"row": 3, "output": "c.m')  # a crash in the middle of a line
    again = Noting(fail=["c.mp4"])
    report = run_batch(path, place / "out", makers=again)
    assert again.asked == ["b.mp4", "c.mp4"]
    assert (report.rows, report.skipped, report.made, len(report.failed)) == (3, 1, 1, 1)
    assert [(e["output"], e["state"]) for e in entries(place / "out")] == [
        ("a.mp4", "done"), ("b.mp4", "done"), ("c.mp4", "failed"),
    ]  # fmt: skip
    assert entries(place / "out")[2]["error"] == "It did not work, so try another."


def test_a_row_that_changed_is_made_again(place: Path) -> None:
    def run(*rows: dict[str, Any], weights: str | None = None) -> list[str]:
        makers = Noting()
        run_batch(write_rows(place, *rows), place / "out", weights, makers)
        return makers.asked

    first, second = {**ROW, "output": "a.mp4"}, {**ROW, "output": "b.mp4", "audio": "hum.wav"}
    assert run(first, second) == ["a.mp4", "b.mp4"]
    assert run(second, first) == []  # their order is nothing
    assert run({**first, "seed": 3}, second) == ["a.mp4"]
    write_sound(place / "hum.wav", np.zeros(4800))
    assert run({**first, "seed": 3}, second) == ["b.mp4"]
    assert run({**first, "seed": 3}, second, weights="other") == ["a.mp4", "b.mp4"]


def test_what_a_killed_run_left_is_removed_and_two_runs_do_not_meet(place: Path) -> None:
    path = write_rows(place, {**ROW, "output": "a.mp4"})
    out = place / "out"
    out.mkdir()
    for name in (".a.0123456789ab.part", ".a.0123456789ab.part.signed", ".another.0123456789ab.part"):
        (out / name).touch()

    class Second(Noting):
        def make(self, jobs, weights):
            with pytest.raises(OutputError, match="Another batch") as error:
                run_batch(path, out, makers=Noting())
            assert one_sentence(error.value)
            yield from super().make(jobs, weights)

    assert run_batch(path, out, makers=Second()).made == 1
    assert sorted(os.listdir(out)) == [".another.0123456789ab.part", "a.mp4", RESULTS]


# --- making ---------------------------------------------------------------------------------------------------------


def test_clips_come_from_processes_and_failures_are_told(place, debug_weights, capsys) -> None:
    rows = [ROW, {**ROW, "portrait": "nobody.png"}, {**ROW, "audio": "hum.wav", "visible_tag": True}]
    path = write_rows(place, *rows)
    words = ["batch", str(path), "-o", str(place / "out"), "--weights", str(debug_weights), "--jobs", "1", "--json"]
    assert main(words) == 1
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert (report["rows"], report["made"], report["skipped"]) == (3, 2, 0)
    assert [failed["row"] for failed in report["failed"]] == [2] and told.err.startswith("row 2: ")
    assert one_sentence(report["failed"][0]["error"])
    done = [entry for entry in entries(place / "out") if entry["state"] == "done"]
    for entry in done:
        clip = place / "out" / entry["output"]
        assert VideoReader(clip).size == (96, 96) and entry["frames"] == 8 and verify(clip).state == "marked"
    assert {entry["settings"]["visible_tag"] for entry in done} == {True, False}
    path.write_text("".join(path.read_text().splitlines(True)[::2]))
    assert main(words) == 0  # without the row that failed, all of it is there
    assert json.loads(capsys.readouterr().out)["skipped"] == 2


def stand_in(script: str, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Have processes run a script in place of the pipeline; returns those that are started."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([sys.executable, "-c", script], text=True, start_new_session=True, **options))
        return started[-1]

    monkeypatch.setattr(batch_makers, "_start", start)
    return started


def test_a_process_that_dies_costs_one_clip(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process here is a stand-in that dies of its first job, and answers from the second on."""
    script = (
        "import json, os, sys, pathlib\n"
        "for line in sys.stdin:\n"
        "    job = json.loads(line)\n"
        "    if job['output'].endswith('a.mp4'): os.kill(os.getpid(), 9)\n"
        "    print(json.dumps({'output': job['output'], 'frames': 1}), flush=True)\n"
    )
    stand_in(script, monkeypatch)
    path = write_rows(place, *({**ROW, "output": f"{name}.mp4"} for name in "abc"))
    jobs = read_manifest(path, place)
    outcomes = {job.output.name: outcome for job, outcome in Processes(1).make(jobs, weights=None)}
    assert "signal 9" in outcomes["a.mp4"]["error"] and one_sentence(outcomes["a.mp4"]["error"])
    assert outcomes["b.mp4"]["frames"] == outcomes["c.mp4"]["frames"] == 1


@pytest.mark.parametrize("polite", [True, False])
def test_an_interrupt_leaves_what_can_be_resumed(place: Path, monkeypatch: pytest.MonkeyPatch, polite: bool) -> None:
    """Ctrl-C while the second clip is made: its process is asked to stop and waited for, and killed if it will not."""
    script = (
        "import json, pathlib, signal, sys, time\n"
        "for line in sys.stdin:\n"
        "    out = pathlib.Path(json.loads(line)['output'])\n"
        "    part = out.with_name('.' + out.stem + '.0a.part')\n"
        "    try:\n"
        "        part.touch()\n"
        "        if out.stem == 'b': time.sleep(60)\n"
        "        part.rename(out)\n"
        "        print(json.dumps({'output': str(out), 'frames': 1}), flush=True)\n"
        "    finally:\n"
        "        part.unlink(missing_ok=True)\n"
    )
    if not polite:
        script = script.replace("for line", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfor line")
        monkeypatch.setattr(batch_makers, "_GRACE", 0.1)
    started = stand_in(script, monkeypatch)
    out = place / "out"

    def stop(stage: str, done: int, total: int) -> None:
        while done and not (out / ".b.0a.part").exists():
            time.sleep(0.01)
        if done:
            raise KeyboardInterrupt

    path = write_rows(place, *({**ROW, "output": f"{name}.mp4"} for name in "ab"))
    with pytest.raises(KeyboardInterrupt):
        run_batch(path, out, progress=stop)
    assert [process.returncode is not None for process in started] == [True]
    assert sorted(os.listdir(out)) == ["a.mp4", RESULTS]
    assert [(entry["output"], entry["state"]) for entry in entries(out)] == [("a.mp4", "done")]


def test_what_is_unforeseen_is_a_sentence_too(place: Path, debug_weights: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(ConversationalHeadPipeline, "talk", fail)
    outcome = make_clip("talk", {}, str(place / "a.mp4"), str(debug_weights))
    assert outcome["error"] == "Something unforeseen happened (RuntimeError: no such luck)."


# --- Ray ------------------------------------------------------------------------------------------------------------


class FakeRay:
    """As much of Ray as is used, in this process: actors work when they are waited for; one may be lost."""

    def __init__(self, lost: str = "") -> None:
        self.started, self.closed, self._lost = 0, False, lost

    def init(self, address: str, **options: object) -> None:
        if address != "local":
            raise ConnectionError(address)

    def remote(self, **options: object) -> Any:
        def wrap(kind: type) -> Any:
            return SimpleNamespace(remote=lambda *values: self._actor(kind(*values)))

        return wrap

    def _actor(self, actor: Any) -> Any:
        self.started += 1
        return SimpleNamespace(make=SimpleNamespace(remote=lambda *values: (actor, *_hashable(values))))

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:num_returns], references[num_returns:]

    def get(self, reference: Any) -> Any:
        actor, values = reference[0], json.loads(reference[1])
        files = {name: (file, Path(path).read_bytes()) for name, (file, path) in values[2].items()}
        if self._lost in json.dumps(values[2]) and self._lost:
            raise RuntimeError("the node is gone")
        return actor.make(values[0], values[1], files)

    def shutdown(self) -> None:
        self.closed = True


def _hashable(values: tuple[Any, ...]) -> tuple[str]:
    """The call as text, with the options' paths in place of the files' bytes."""
    mode, options, files = values
    assert all(Path(options[name]).read_bytes() == content for name, (_, content) in files.items())
    return (json.dumps([mode, options, {name: (file, options[name]) for name, (file, _) in files.items()}]),)


def test_on_ray_inputs_travel_there_and_clips_back(place: Path, debug_weights: Path) -> None:
    ray = FakeRay(lost="hum.wav")
    path = write_rows(place, {**ROW, "output": "a.mp4"}, {**ROW, "audio": "hum.wav"}, {**ROW, "portrait": "nobody.png"})
    report = run_batch(path, place / "out", str(debug_weights), RayActors("local", 2, ray))
    assert (report.made, [row for row, _ in report.failed]) == (1, [2, 3])
    assert "The cluster lost it (RuntimeError)" in report.failed[0][1]
    assert all(one_sentence(sentence) for _, sentence in report.failed)
    assert ray.started == 2 and ray.closed
    assert sorted(os.listdir(place / "out")) == ["a.mp4", RESULTS] and verify(place / "out" / "a.mp4").proven
    assert str(place / "out" / "a.mp4") not in entries(place / "out")[0].values()


def test_no_ray_is_a_sentence(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with pytest.raises(InputError, match="There is no Ray cluster at nowhere:1") as error:
        RayActors("nowhere:1", 1, FakeRay())
    assert one_sentence(error.value)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["batch", str(write_rows(place, ROW)), "-o", str(place / "out"), "--ray", "local"]) == 2
    assert "pip install ray" in capsys.readouterr().err


def test_the_example_can_be_made(repository: Path, tmp_path: Path) -> None:
    jobs = read_manifest(repository / "examples" / "batch.csv", tmp_path)
    assert {job.mode for job in jobs} == set(FIELDS) and len(jobs) == 5

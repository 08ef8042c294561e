"""The bench: real stages on the shipped example, and a report that names what is slow."""

import copy
import json
import math

import numpy as np
import pytest
from heads import one_sentence, write_sound

from pipeline import bench, bench_stages
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def report():
    """A short clip at one size, in the three processes that the command starts."""
    return bench.run(sizes=(256,), seconds=0.8, renderers=["mesh"])


def test_every_stage_takes_time_and_warm_is_not_slower_than_cold(report):
    table, clip = report.renderers["mesh"].sizes[256]
    assert [row["stage"] for row in table.rows] == list(bench.FRAME_STAGES)
    for row in table.rows:
        assert 0 < row["warm_ms"] < 5000
        assert row["fps"] == pytest.approx(1000 / row["warm_ms"])
    cold, warm = (sum(row[key] for row in table.rows) for key in ("cold_ms", "warm_ms"))
    assert warm < cold  # libraries load and kernels compile in the first pass
    assert sum(row["share"] for row in table.rows) == pytest.approx(100)
    assert clip["frames"] == 20


def test_the_whole_clip_is_measured_from_a_fresh_process_on(report):
    _, clip = report.renderers["mesh"].sizes[256]
    assert clip["cold_fps"] < clip["warm_fps"]
    assert 0 < clip["warm_first"] < clip["cold_first"]
    assert 100 < clip["peak_mb"] < 4000


def test_the_report_names_the_three_slowest_stages_and_the_budgets(report):
    table, _ = report.renderers["mesh"].sizes[256]
    slowest = report.renderers["mesh"].slowest(256)
    times = {row["stage"]: row["warm_ms"] for row in table.rows}
    assert [times[stage] for stage in slowest] == sorted(times.values(), reverse=True)[:3]
    text = report.text()
    assert f"slowest stages: {', '.join(slowest)}" in text
    names = [check.name for check in report.checks]
    assert "peak memory, MB" in names and any("command line, cold" in name for name in names)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["renderers"]["mesh"]["sizes"]["256"]["slowest"] == slowest
    assert all(math.isfinite(check["value"]) for check in data["checks"])


@pytest.mark.parametrize(("sizes", "seconds"), [((16,), 1), ((), 1), ((512,), 0), ((512,), 1e6)])
def test_what_cannot_be_measured_is_refused(sizes, seconds):
    with pytest.raises(InputError, match="must lie between"):
        bench.run(sizes, seconds)


def test_a_picture_without_a_face_is_one_sentence(tmp_path):
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((100, 100, 3), 128, np.uint8))
    with pytest.raises(InputError, match="No face was found in"):
        bench.run((128,), 0.5, portrait=tmp_path / "grey.png")


def test_a_renderer_without_weights_is_measured_on_random_ones_if_asked(monkeypatch, tmp_path):
    """The processes are stood in for: what they are told, and what is said of it."""
    told = []

    def in_process(job):
        told.append(job)
        if job["part"] == "clip":
            return {"frames": 20, "cold_first": 3.0, "cold_fps": 0.5, "warm_first": 2.0, "warm_fps": 0.7} | {
                "portrait": 0.1,
                "peak_mb": 900,
            }
        return {stage: [0.2, 0.1] for stage in bench.FRAME_STAGES} | {"device": "cpu"}

    monkeypatch.setattr(bench, "_in_process", in_process)
    monkeypatch.setattr(bench, "_cold_command_line", lambda job, size: told.append(job) or 9.0)
    monkeypatch.setattr(bench, "make_random_weights", lambda name, folder: tmp_path)
    both = bench.run((64,), 0.2, renderers=["pirenderer", "mesh"], random_weights=True)
    assert [(job["renderer"], job["weights"]) for job in told] == [
        *[("pirenderer", str(tmp_path))] * 2,
        *[("mesh", None)] * 3,
    ]
    data = both.to_dict()["renderers"]
    assert data["pirenderer"]["weights"] == "random" and data["mesh"]["weights"] == "trained"
    assert "pirenderer: RANDOM WEIGHTS" in both.text() and "mesh: RANDOM" not in both.text()
    assert "0.7 warm" in both.text() and any("64" in check.name for check in both.checks)
    alone = bench.run((64,), 0.2, renderers=["headgan"], random_weights=True)
    assert not alone.checks, "the budgets are for what is embedded"
    told.clear()
    bench.run((64,), 0.2)
    assert told[0]["renderer"] == "mesh" and not {"headgan", "pirenderer"} & {job["renderer"] for job in told}


@pytest.mark.parametrize(
    ("name", "random_weights", "word"),
    [("oil", True, "no renderer 'oil'"), ("headgan", False, "--random-weights")],
)
def test_a_renderer_that_cannot_be_measured_is_a_sentence(name, random_weights, word):
    with pytest.raises(InputError, match=word) as error:
        bench.run((64,), 0.2, renderers=[name], random_weights=random_weights)
    assert one_sentence(error.value)


def test_every_stage_is_timed_with_a_network_on_random_weights(tmp_path, pipe, portraits, monkeypatch):
    from pipeline.hub import find_weights
    from pipeline.renderers import pirenderer
    from pipeline.renderers.pirenderer_networks import PIRendererConfig

    small = PIRendererConfig(size=64, descriptor=8, warping_width=4, editing_width=4, most=8)
    monkeypatch.setattr(pirenderer.PIRendererNetwork.__init__, "__defaults__", (small,))
    with_network = copy.copy(pipe)
    with_network.weights = find_weights(bench.make_random_weights("pirenderer", tmp_path))
    write_sound(tmp_path / "speech.wav", np.random.default_rng(0).normal(0, 0.1, 6400))
    job = {"portrait": portraits["statue"].image, "audio": tmp_path / "speech.wav", "size": 128}
    job |= {"renderer": "pirenderer", "folder": tmp_path}
    seconds, device = bench_stages._stage_pass(with_network, job)
    assert set(seconds) == set(bench.FRAME_STAGES) and device in ("cpu", "cuda")
    assert seconds["fusion"] == 0 and all(value > 0 for stage, value in seconds.items() if stage != "fusion")
    with pytest.raises(InputError, match="cannot run on random weights"):
        bench.make_random_weights("mesh", tmp_path)

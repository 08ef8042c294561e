"""The bench: real stages on the shipped example, and a report that names what is slow."""

import json
import math

import pytest

from pipeline import bench
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def report():
    """A short clip at one size, in the three processes that the command starts."""
    return bench.run(sizes=(256,), seconds=0.8)


def test_every_stage_takes_time_and_warm_is_not_slower_than_cold(report):
    table, clip = report.sizes[256]
    assert [row["stage"] for row in table.rows] == list(bench.FRAME_STAGES)
    for row in table.rows:
        assert 0 < row["warm_ms"] < 5000
        assert row["fps"] == pytest.approx(1000 / row["warm_ms"])
    cold, warm = (sum(row[key] for row in table.rows) for key in ("cold_ms", "warm_ms"))
    assert warm < cold  # libraries load and kernels compile in the first pass
    assert sum(row["share"] for row in table.rows) == pytest.approx(100)
    assert clip["frames"] == 20


def test_the_whole_clip_is_measured_from_a_fresh_process_on(report):
    _, clip = report.sizes[256]
    assert clip["cold_fps"] < clip["warm_fps"]
    assert 0 < clip["warm_first"] < clip["cold_first"]
    assert 100 < clip["peak_mb"] < 4000


def test_the_report_names_the_three_slowest_stages_and_the_budgets(report):
    table, _ = report.sizes[256]
    slowest = report.slowest(256)
    times = {row["stage"]: row["warm_ms"] for row in table.rows}
    assert [times[stage] for stage in slowest] == sorted(times.values(), reverse=True)[:3]
    text = report.text()
    assert f"slowest stages: {', '.join(slowest)}" in text
    names = [check.name for check in report.checks]
    assert "peak memory, MB" in names and any("command line, cold" in name for name in names)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["sizes"]["256"]["slowest"] == slowest
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

"""Tables: the figures that people and programs read."""

import json
import math

from pipeline.evaluation.tables import Check, Column, Table


def _table():
    rows = [
        {"clip": "a", "psnr": 30.0, "frames": 10},
        {"clip": "b", "psnr": 20.0, "frames": 5},
        {"clip": "c", "error": "No face was found."},
        {"clip": "d", "psnr": None, "frames": 7},
    ]
    return Table(
        "demo", [Column("clip", "clip", total=""), Column("psnr", "PSNR"), Column("frames", "n", 0, "sum")], rows
    )


def test_means_leave_out_what_was_not_measured_but_count_it():
    summary = _table().summary()
    assert summary == {"psnr": 25.0, "frames": 22.0, "clips": 4, "failed": 1}


def test_json_holds_every_row_and_no_nan():
    table = _table()
    table.checks = [Check("PSNR", math.nan, low=20), Check("PSNR", 25.0, low=20, high=30)]
    text = json.dumps(table.to_dict(), allow_nan=False)
    data = json.loads(text)
    assert len(data["rows"]) == 4
    assert data["rows"][3]["psnr"] is None
    assert [check["passed"] for check in data["checks"]] == [False, True]
    assert data["passed"] is False


def test_text_names_failures_and_verdicts():
    table = _table()
    table.checks = [Check("PSNR", 25.0, low=26), Check("spread", 0.8, 0.7, 1.2), Check("change", 0.5, high=1)]
    text = table.text()
    assert "not measured: c: No face was found." in text
    assert "MISSED  PSNR: 25.000, asked at least 26" in text
    assert "kept    spread: 0.800, asked 0.7 to 1.2" in text
    assert "kept    change: 0.500, asked at most 1" in text
    assert "mean  25.00  22" in text


def test_a_table_passes_only_if_every_clip_was_measured():
    table = _table()
    assert not table.passed
    table.rows = [row for row in table.rows if "error" not in row]
    assert table.passed

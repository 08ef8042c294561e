"""Pairs, suites and sheets end to end, on a corpus whose truth is known (see `evaluation_stubs`)."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from evaluation_stubs import FRAMES, LAG, StubPipeline, astronaut, make_corpus, series, stub_factory

from pipeline.errors import Cancelled, InputError, OutputError, VideoError
from pipeline.evaluation.corpus import read_manifest, select
from pipeline.evaluation.pairs import evaluate_pair, evaluate_paths
from pipeline.evaluation.sheets import contact_sheet, portrait_sheet, save_sheet
from pipeline.evaluation.suites import SUITES, SuiteOptions, run_suite
from pipeline.evaluation.tracks import track_video


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return SuiteOptions(cache=str(tmp_path_factory.mktemp("cache")))


def test_tracked_lips_follow_the_true_opening(small_corpus, options):
    track = track_video(small_corpus / "talk" / "clip.mp4", options.cache)
    assert len(track) == FRAMES and track.found.all() and track.size == (320, 320)
    truth = np.concatenate([np.full(LAG, series()[0]), series()[:-LAG]])
    assert np.corrcoef(track.opening, truth)[0, 1] > 0.95
    assert 0.07 < np.ptp(track.opening) < 0.18  # of 0.14: the tracker is a judge, and a soft one


def test_tracks_are_kept_under_the_files_content(small_corpus, tmp_path):
    video = small_corpus / "silent" / "clip.mp4"
    track = track_video(video, tmp_path)
    (kept,) = tmp_path.iterdir()
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(video.read_bytes())
    written = kept.stat().st_mtime_ns
    again = track_video(copy, tmp_path)
    assert kept.stat().st_mtime_ns == written and len(list(tmp_path.glob("*.npz"))) == 1
    np.testing.assert_array_equal(track.landmarks, again.landmarks)


def test_a_clip_against_itself_is_perfect(small_corpus, options):
    video = small_corpus / "talk" / "clip.mp4"
    figures = evaluate_pair(video, video, cache=options.cache).figures
    assert figures["psnr"] == figures["psnr_face"] == 60
    assert figures["ssim"] == pytest.approx(1)
    assert figures["lmd"] == figures["exp_l1"] == figures["pose_l1"] == 0
    assert figures["lip_r"] == pytest.approx(1) and figures["lip_lag"] == 0
    assert figures["lip_spread"] == 1
    assert figures["cpbd"] == figures["cpbd_real"] > 0
    assert figures["exp_fd"] == pytest.approx(0, abs=1e-6)


def test_a_late_clip_is_measured_at_its_lag(small_corpus, options, tmp_path):
    talk = small_corpus / "talk" / "clip.mp4"
    clip = StubPipeline().talk(astronaut(), str(talk))
    clip.save(str(tmp_path / "made.mp4"))
    at_lag = evaluate_pair(tmp_path / "made.mp4", talk, lag=LAG, cache=options.cache).figures
    aside = evaluate_pair(tmp_path / "made.mp4", talk, lag=0, cache=options.cache).figures
    assert at_lag["frames"] == FRAMES - LAG
    assert at_lag["lip_r"] > 0.95 and at_lag["lip_lag"] == LAG
    assert aside["lip_r"] < at_lag["lip_r"] - 0.2 and aside["lip_lag"] == LAG
    assert at_lag["psnr_face"] > aside["psnr_face"] + 3
    assert at_lag["lmd"] < aside["lmd"] and at_lag["exp_l1"] < aside["exp_l1"]


def test_folders_are_paired_by_name(small_corpus, options, tmp_path):
    talk, silent = small_corpus / "talk" / "clip.mp4", small_corpus / "silent" / "clip.mp4"
    for name, source in (("a/one.mp4", talk), ("b/one.mp4", talk), ("a/two.mp4", silent), ("b/two.mp4", silent)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "a" / "alone.mp4").write_bytes(talk.read_bytes())
    table = evaluate_paths(tmp_path / "a", tmp_path / "b", cache=options.cache)
    assert [row["clip"] for row in table.rows] == ["one", "two"]
    assert table.summary()["exp_fd_pooled"] == pytest.approx(0, abs=1e-6)
    assert "alone" in table.notes[-1]
    with pytest.raises(VideoError, match="two videos or two folders"):
        evaluate_paths(talk, tmp_path)
    with pytest.raises(VideoError, match="There is no"):
        evaluate_paths(tmp_path / "nothing", tmp_path)


def test_a_perfect_renderer_keeps_the_promises_and_a_frozen_one_does_not(small_corpus, options):
    perfect = run_suite("reenact", small_corpus, replace(options, only="clip", warp=True), factory=stub_factory)
    assert [row["clip"] for row in perfect.rows] == ["talk/clip", "silent/clip"]
    gains = {check.name: check.passed for check in perfect.checks if "SSIM" not in check.name}
    assert all(gains.values())
    assert perfect.mean("psnr_face") == 60 and perfect.mean("lmd") == 0
    assert perfect.mean("still_psnr_face") < 40
    assert 0 < perfect.mean("warp_gain_face") < perfect.mean("gain_face")

    still = run_suite("reenact", small_corpus, replace(options, only="silent"), weights="still", factory=stub_factory)
    (row,) = still.rows
    assert row["gain_face"] == row["gain"] == row["gain_ssim"] == 0
    assert row["lmd"] == pytest.approx(row["still_lmd"], rel=0.3)
    kept = {check.name: check.passed for check in still.checks}
    assert not kept["face gain over the still frame, dB"] and not still.passed


def test_a_missing_clip_is_named_and_the_others_go_on(small_corpus, options):
    table = run_suite("reenact", small_corpus, replace(options, only="talk"), factory=stub_factory)
    failed = [row for row in table.rows if row.get("error")]
    assert [row["clip"] for row in failed] == ["talk/unsure"]
    assert "unsure.mp4" in failed[0]["error"]
    assert len(table.measured) == 1 and not table.passed
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["summary"]["failed"] == 1


def test_talk_suite_finds_lips_in_step_with_the_sound(small_corpus, options):
    table = run_suite("talk", small_corpus, options, factory=stub_factory)
    (row,) = table.rows  # the clip of uncertain sync is left out
    assert row["lip_r"] > 0.95
    assert (row["known_lag"], row["lip_lag"]) == (LAG, LAG)
    assert 0.8 < row["lip_spread"] < 1.25
    assert row["frames"] == FRAMES - LAG and row["lost"] == 0
    assert table.passed


def test_silence_suite_measures_still_lips(small_corpus, options, monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.silence.SECONDS", 1)
    table = run_suite("silence", small_corpus, replace(options, encode=False), factory=stub_factory)
    (row,) = table.rows
    assert row["speech"] > 10 * row["silence"]
    assert row["silence_share"] < 0.1
    assert table.checks[0].passed


def test_background_suite_tells_a_background_that_stays_from_one_dragged_along(small_corpus, options):
    (still,) = run_suite("background", small_corpus, options, weights="still", factory=stub_factory).rows
    (dragged,) = run_suite("background", small_corpus, options, factory=stub_factory).rows
    assert still["frames"] == dragged["frames"] == FRAMES
    assert 0.05 < still["share"] < 0.9
    assert still["change"] == 0 < still["mp4_from_portrait"]  # what the encoder alone takes
    assert dragged["change"] > 0.02 and dragged["worst_frame"] > dragged["change"]
    assert dragged["mp4_change"] > still["mp4_change"] and dragged["mp4_flicker"] > still["mp4_flicker"]


def test_two_processes_give_the_same_rows(small_corpus, options):
    options = replace(options, only="clip")
    one = run_suite("reenact", small_corpus, options, factory=stub_factory)
    two = run_suite("reenact", small_corpus, options, jobs=2, factory=stub_factory)
    assert one.to_dict() == two.to_dict()


def test_progress_counts_tasks_and_can_stop(small_corpus, options):
    seen = []

    def stop_after_one(stage, done, total):
        seen.append((stage, done, total))
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_suite("reenact", small_corpus, options, progress=stop_after_one, factory=stub_factory)
    assert seen == [("reenact", 0, 3), ("reenact", 1, 3)]


def test_wrong_names_are_one_sentence(small_corpus, options, tmp_path):
    with pytest.raises(InputError, match=", ".join(SUITES)):
        run_suite("nonsense", small_corpus, factory=stub_factory)
    with pytest.raises(InputError, match="holds no corpus"):
        run_suite("talk", tmp_path, factory=stub_factory)
    with pytest.raises(InputError, match="no talk files in the split 'train'"):
        run_suite("talk", small_corpus, replace(options, split="train"), factory=stub_factory)
    with pytest.raises(InputError, match="has 'xyz' in its name"):
        run_suite("talk", small_corpus, replace(options, only="xyz"), factory=stub_factory)


def test_sheet_spreads_frames_over_the_clip(tmp_path):
    def clip(count, shape):
        return (np.full((*shape, 3), index, np.uint8) for index in range(count))

    sheet = contact_sheet([("Tête", clip(101, (64, 32))), ("short", clip(3, (10, 10)))], frames=5, side=64)
    assert sheet.shape == (2 * (64 + 22), 5 * 64, 3)
    middles = [int(sheet[22 + 32, column * 64 + 32, 0]) for column in range(5)]
    np.testing.assert_allclose(middles, [0, 25, 50, 75, 100], atol=2)
    assert middles[0] == 0 and middles[-1] == 100
    assert (sheet[:22] > 200).any()  # the label
    save_sheet(sheet, tmp_path / "sheet.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], sheet)
    with pytest.raises(OutputError, match="cannot be written"):
        save_sheet(sheet, tmp_path / "no" / "sheet.png")
    with pytest.raises(InputError, match="no frame"):
        contact_sheet([("empty", iter(()))])


def test_portrait_sheet_shows_the_portraits_talking(small_corpus):
    sheet = portrait_sheet(StubPipeline(), small_corpus, names=("astro",), frames=3, side=64)
    assert sheet.shape == (64 + 22, 3 * 64, 3)
    cells = [sheet[22:, column * 64 : (column + 1) * 64].astype(int) for column in range(3)]
    assert np.abs(cells[0] - cells[1]).max() > 20
    with pytest.raises(InputError, match="has no portrait named"):
        portrait_sheet(StubPipeline(), small_corpus, names=("nobody",))


def test_the_corpus_has_the_clips_its_readme_names(corpus):
    clips = read_manifest(corpus)
    assert len(select(clips, ("talk",), "val")) == 36
    assert len(select(clips, ("silent",), "val")) == 8
    synced = select(clips, ("talk",), "val", min_sync=0.35)
    assert 30 <= len(synced) < 36 and min(clip.sync_r for clip in synced) >= 0.35
    assert all(clip.path.is_file() for clip in clips)

"""Turn-taking: who speaks is heard in time, answers follow phrases, and nobody nods to nobody."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.drivers import turns
from pipeline.drivers.turns import Backchannel, TurnPlan, TurnTaker


def phrases(seconds: float = 60.0, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Voice-like sound (a buzz with vowels' ups and downs) in phrases with pauses, and the frames of their ends."""
    rng = np.random.default_rng(seed)
    parts, ends, at = [], [], 0.0
    while at < seconds:
        spoken, pause = rng.uniform(1.5, 4.0), rng.uniform(0.6, 1.5)
        time = np.arange(int(spoken * SAMPLE_RATE)) / SAMPLE_RATE
        pitch = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.6 * time) - 0.12 * time)
        phase = np.cumsum(pitch) / SAMPLE_RATE
        buzz = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 20))
        parts += [buzz * (0.12 + 0.08 * np.sin(2 * np.pi * 4 * time)), np.zeros(int(pause * SAMPLE_RATE))]
        at += spoken
        ends.append(round(at * FPS))
        at += pause
    sound = np.concatenate(parts).astype(np.float32)
    return sound + 1e-4 * rng.standard_normal(len(sound)).astype(np.float32), ends


SOUND, ENDS = phrases()


def test_voice_and_phrase_ends_are_found() -> None:
    plan = turns.plan(SOUND, 0, "neutral")
    assert len(plan) == -(-len(SOUND) // SAMPLES_PER_FRAME)
    found = [min(abs(end - frame) for frame in plan.phrase_ends) <= 3 for end in ENDS]
    assert np.mean(found) > 0.9
    assert len(plan.phrase_ends) <= len(ENDS) + 1
    assert 0.5 < plan.voice.mean() < 0.85
    since = plan.since_phrase_end
    assert np.isinf(since[: plan.phrase_ends[0]]).all() and np.isfinite(since[plan.phrase_ends[0] + 10 :]).all()


def test_the_same_plan_however_the_sound_arrives() -> None:
    whole = turns.plan(SOUND, 3, "positive")
    taker = TurnTaker(3, "positive")
    cuts = np.cumsum(np.random.default_rng(1).integers(1, 40, 400)) * SAMPLES_PER_FRAME
    pieces = [taker.hear(part) for part in np.split(SOUND, cuts[cuts < len(SOUND)])]
    joined = TurnPlan.concatenate(pieces)
    assert joined.backchannels == whole.backchannels and joined.phrase_ends == whole.phrase_ends
    np.testing.assert_array_equal(joined.conditions(), whole.conditions())
    np.testing.assert_array_equal(joined.states, whole.states)


def test_nothing_is_known_before_it_is_heard() -> None:
    cut = 700
    other = SOUND.copy()
    other[cut * SAMPLES_PER_FRAME :] = 0
    a, b = turns.plan(SOUND, 5, "positive"), turns.plan(other, 5, "positive")
    np.testing.assert_array_equal(a.conditions()[:cut], b.conditions()[:cut])
    assert (a.conditions()[cut:] != b.conditions()[cut:]).any()


def test_seeds_differ_and_repeat() -> None:
    plans = [turns.plan(SOUND, seed, "positive").backchannels for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize("attitude", ATTITUDES)
def test_answers_follow_phrases(attitude: str) -> None:
    begun = [one.frame for seed in range(8) for one in turns.plan(SOUND, seed, attitude).backchannels]
    near = np.zeros(len(SOUND) // SAMPLES_PER_FRAME + 100, bool)
    for end in ENDS:
        near[end : end + FPS] = True
    assert near[begun].mean() > 2 * near.mean()


def test_attitudes_answer_in_their_manner() -> None:
    minutes = 8 * len(SOUND) / SAMPLE_RATE / 60
    rate = {}
    for attitude in ATTITUDES:
        kinds = [one.kind for seed in range(8) for one in turns.plan(SOUND, seed, attitude).backchannels]
        rate[attitude] = {kind: kinds.count(kind) / minutes for kind in turns.KINDS}
    nods = {attitude: rate[attitude]["nod"] + rate[attitude]["nods"] for attitude in ATTITUDES}
    assert nods["positive"] > nods["neutral"] > 2 * nods["negative"]
    assert 4 < nods["positive"] < 15
    assert rate["positive"]["smile"] > 3 > 1.5 > rate["neutral"]["smile"]
    assert rate["negative"]["shake"] > 1 and rate["positive"]["shake"] == rate["neutral"]["shake"] == 0
    assert rate["negative"]["smile"] == 0


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(30 * SAMPLE_RATE, np.float32),
        0.05 * np.random.default_rng(0).standard_normal(30 * SAMPLE_RATE).astype(np.float32),
        0.1 * np.sin(2 * np.pi * 100 * np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32),
    ],
    ids=["nothing", "hiss", "hum"],
)
def test_nobody_nods_to_nobody(sound: np.ndarray) -> None:
    for attitude in ATTITUDES:
        plan = turns.plan(sound, 0, attitude)
        assert not [one for one in plan.backchannels if one.kind in turns.HEAD_KINDS]
        assert (plan.states[150:] == turns.IDLE).all()


def test_gestures_do_not_run_into_each_other() -> None:
    for seed in range(5):
        for heads in (True, False):
            same = [
                one
                for one in turns.plan(SOUND, seed, "positive").backchannels
                if (one.kind in turns.HEAD_KINDS) == heads
            ]
            same.sort(key=lambda one: one.frame)
            assert all(a.end <= b.frame for a, b in itertools.pairwise(same))


def test_given_gestures_are_taken_as_they_are() -> None:
    given = [Backchannel(60, "nods", 1.2, 3, 1.2), Backchannel(200, "smile", 1.0, 1, 3.0)]
    plan = turns.plan(SOUND, 0, "positive", given)
    assert plan.backchannels == given
    column = 8 + turns.KINDS.index("nods")
    np.testing.assert_array_equal(np.flatnonzero(plan.conditions()[:, column]), np.arange(60, 90))
    assert plan.states[65] == turns.BACKCHANNEL


def test_conditions_are_bounded_and_name_one_state() -> None:
    rows = turns.plan(SOUND, 2, "positive").conditions()
    assert rows.shape[1] == turns.TURN_DIM and rows.dtype == np.float32
    assert (rows >= 0).all() and (rows < 2.5).all()
    np.testing.assert_array_equal(rows[:, :4].sum(1), 1)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="attitude"):
        TurnTaker(0, "bored")
    with pytest.raises(ValueError, match="seed"):
        TurnTaker(-1, "neutral")
    with pytest.raises(ValueError, match="shape"):
        TurnTaker(0, "neutral").step(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="shape"):
        TurnTaker(0, "neutral").hear(np.zeros((3, 2)))

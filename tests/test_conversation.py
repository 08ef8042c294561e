"""The pipeline: speech moves lips that a tracker finds again, silence does not, seeds and scales do their own."""

from __future__ import annotations

import itertools
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from heads import write_sound
from PIL import Image

from pipeline.audio.reading import read_audio
from pipeline.audio.voice import voice_activity
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.errors import InputError
from pipeline.face.measures import lip_opening
from pipeline.face.tracker import FaceTracker

FACE_SEEN = 0.012  # face heights; below it lips look shut to the tracker


def equal(a: Coefficients, b: Coefficients) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("expression", "pose", "crop"))


@pytest.fixture(scope="module")
def spoken(pipe, portraits, voice) -> tuple[np.ndarray, Coefficients, dict]:
    """Lips' opening (T,) of the rendered frames, tracked again, with the coefficients and the settings."""
    clip = pipe.talk(portraits["woman_curls"], voice, seed=3)
    with FaceTracker(video=True) as tracker:
        faces = [tracker.follow(frame) for frame in clip.frames]
    assert None not in faces
    return np.array([lip_opening(face.landmarks) for face in faces]), clip.coefficients, clip.settings


# --- meaning --------------------------------------------------------------------------------------------------------


def test_rendered_lips_move_with_speech_and_stay_shut_in_silence(spoken, voice):
    opening, _, _ = spoken
    speaking = voice_activity(read_audio(voice)) > 0.5
    assert len(opening) == 50 and speaking[5:20].all() and not speaking[35:].any()
    speech, silence = opening[2:24], opening[35:]
    assert speech.max() > 0.025
    assert speech.std() > 0.005
    assert silence.max() < FACE_SEEN
    assert silence.std() < 0.1 * speech.std()


def test_the_driver_and_the_picture_agree(spoken, portraits):
    opening, coefficients, _ = spoken
    portrait = portraits["woman_curls"]
    asked = lip_opening(portrait.model.shape(portrait.identity, coefficients.expression))
    assert np.corrcoef(asked, opening)[0, 1] > 0.9


def test_settings_tell_how_a_clip_was_made(spoken):
    assert spoken[2] == {
        "mode": "talk",
        "seed": 3,
        "expression_scale": 1.0,
        "motion_scale": 1.0,
        "size": [256, 256],
        "renderer": "refiner",
        "restore": "none",
        "visible_tag": False,
    }


def test_same_seed_same_bytes_other_seed_other_head(pipe, portraits, voice):
    first, again, other = (pipe.talk(portraits["statue"], voice, seed=seed).coefficients for seed in (1, 1, 2))
    assert equal(first, again)
    assert np.abs(first.pose - other.pose).max() > 1e-3


def test_scales_act_apart(pipe, portraits, voice):
    portrait = portraits["woman_curls"]

    def made(**options: float) -> tuple[float, float]:
        coefficients = pipe.talk(portrait, voice, **options).coefficients
        lips = lip_opening(portrait.model.shape(portrait.identity, coefficients.expression))
        return float(lips[:25].std()), float(np.abs(coefficients.pose - portrait.coefficients.pose).max())

    lips, head = made()
    still_lips, same_head = made(expression_scale=0.0)
    same_lips, still_head = made(motion_scale=0.0)
    more_lips, _ = made(expression_scale=1.5)
    _, more_head = made(motion_scale=2.0)
    assert still_lips < 0.1 * lips and more_lips > 1.2 * lips and same_lips == pytest.approx(lips, rel=0.05)
    assert still_head < 1e-6 and more_head == pytest.approx(2 * head, rel=0.01) and same_head == pytest.approx(head)


@pytest.mark.parametrize("samples", [1, 640, 641, 1600, 20_001])
def test_frames_cover_the_sound(debug_pipe, portraits, tmp_path, samples):
    sound = 0.1 * np.random.default_rng(0).normal(size=samples)
    clip = debug_pipe.talk(portraits["statue"], write_sound(tmp_path / "sound.wav", sound))
    assert clip.frame_count == len(clip.coefficients) == frame_count(samples)


# --- the contract ---------------------------------------------------------------------------------------------------


def test_a_portrait_may_come_as_anything(debug_pipe, repository: Path, tmp_path: Path):
    path = repository / "examples" / "portraits" / "man_beard.jpg"
    sound = write_sound(tmp_path / "sound.wav", 0.1 * np.sin(np.arange(3200.0)))
    picture = Image.open(path)
    given = [path, str(path), picture, np.asarray(picture), debug_pipe.portrait(path, 128)]
    frames = [next(debug_pipe.talk(portrait, sound, size=128).frames) for portrait in given]
    for frame in frames[1:]:
        assert (frame == frames[0]).all()
    assert frames[0].shape == (128, 128, 3)


def test_stream_gives_the_clips_frames(debug_pipe, portraits, tmp_path):
    sound = write_sound(tmp_path / "sound.wav", 0.1 * np.sin(np.arange(3200.0)))
    streamed = list(debug_pipe.stream(portraits["statue"], sound, seed=5))
    clip = debug_pipe.talk(portraits["statue"], sound, seed=5)
    assert len(streamed) == 5
    assert all((a == b).all() for a, b in zip(streamed, clip.frames, strict=True))


def test_a_video_gives_its_sound(debug_pipe, portraits, tmp_path, voice):
    made = debug_pipe.talk(portraits["statue"], voice).save(tmp_path / "clip.mp4")
    again = debug_pipe.talk(portraits["statue"], made)
    # AAC comes in blocks of 64 ms, of which the last is padded.
    assert again.frame_count == 50 and 50 <= len(again.coefficients) <= 52


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"expression_scale": -0.1}, "expression_scale"),
        ({"expression_scale": float("nan")}, "expression_scale"),
        ({"motion_scale": 2.1}, "motion_scale"),
        ({"size": 10}, "size"),
        ({"seed": -1}, "seed"),
        ({"renderer": "oil"}, "renderer"),
    ],
)
def test_options_out_of_range_are_named(debug_pipe, repository, voice, options, name):
    with pytest.raises(InputError, match=rf"{name}.*\.$"):
        debug_pipe.talk(repository / "examples" / "portraits" / "statue.jpg", voice, **options)


def test_progress_tells_stage_and_frames(debug_pipe, repository, tmp_path):
    told = []
    sound = write_sound(tmp_path / "sound.wav", 0.1 * np.sin(np.arange(6400.0)))
    clip = debug_pipe.talk(
        repository / "examples" / "portraits" / "statue.jpg",
        sound,
        size=128,
        progress=lambda *row: told.append(row),
    )
    clip.save(tmp_path / "clip.mp4")
    assert told[:2] == [("portrait", 0, 1), ("portrait", 1, 1)]
    assert [row for row in told if row[0] == "rendering"] == [("rendering", i + 1, 10) for i in range(10)]
    assert told[-1] == ("finishing", 1, 1)


def test_threads_share_a_pipeline(debug_pipe, repository, tmp_path):
    """Two clips at once come out as they do one by one."""
    sound = write_sound(tmp_path / "sound.wav", 0.1 * np.sin(np.arange(8000.0)))
    names = ["statue.jpg", "man_beard.jpg"]

    def make(name: str) -> np.ndarray:
        clip = debug_pipe.talk(repository / "examples" / "portraits" / name, sound, size=128)
        return np.stack(list(clip.frames))

    alone = [make(name) for name in names]
    together: dict[str, np.ndarray] = {}
    threads = [threading.Thread(target=lambda name=name: together.update({name: make(name)})) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((together[name] == frames).all() for name, frames in zip(names, alone, strict=True))


def test_warming_up_needs_no_input(debug_weights):
    ConversationalHeadPipeline.from_pretrained(debug_weights).warm_up()


# --- an hour --------------------------------------------------------------------------------------------------------


def test_an_hour_of_sound_starts_at_once_and_memory_stays_flat(debug_pipe, portraits, tmp_path):
    """Only the header says that it is an hour; frames come before more than half a minute of it was read."""
    import soundfile

    path = tmp_path / "hour.wav"
    minute = (0.1 * np.random.default_rng(0).normal(size=60 * SAMPLE_RATE)).astype(np.float32)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    clip = debug_pipe.talk(portraits["statue"], path)
    assert clip.frame_count == 90_000
    begun = time.process_time()
    frames = clip.frames
    assert len(list(itertools.islice(frames, 5))) == 5
    assert time.process_time() - begun < 8
    frames.close()
    parts = clip._source()
    seen = sum(len(part) for part in itertools.islice(parts, 3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for part in parts:
        seen += len(part)
        if seen > 4 * 60 * 25:
            break
    parts.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert seen > 6000 and grown < 40_000  # kB; four minutes of sound alone are 15 MB, of frames gigabytes

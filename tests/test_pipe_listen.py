"""`listen` from end to end: what reaches the driver, what is shown, and what is said of odd input.

The driver is a stand-in that nods while it hears anything; what the real one does is tested in `tests/drivers`.
"""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from heads import one_sentence, write_sound

from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.errors import AudioError, Cancelled, InputError, VideoError
from pipeline.face.measures import lip_opening
from pipeline.face.tracker import FaceTracker
from pipeline.side_by_side import GROUND
from pipeline.video import VideoReader, VideoWriter

IDLES = "No speech is heard in the sound, so the listener only idles; give sound in which somebody speaks."


class Nodding:
    """A driver that lowers the nose by as much as the sound is loud; `told` keeps what it was given."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.uses_words = True

    def __call__(self, audio: Iterable[np.ndarray], reference: Coefficients, **told: Any) -> Iterator[Coefficients]:
        self.told = told | {"speaker": told["speaker"] and Coefficients.concatenate(list(told["speaker"]))}
        held = np.zeros(0, np.float32)
        for block in audio:
            held = np.concatenate([held, block])
            whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            if whole:
                yield self._nods(held[:whole], reference)
            held = held[whole:]
        if len(held):
            yield self._nods(np.pad(held, (0, SAMPLES_PER_FRAME - len(held))), reference)

    def _nods(self, samples: np.ndarray, own: Coefficients) -> Coefficients:
        pose = np.repeat(own.pose, len(samples) // SAMPLES_PER_FRAME, 0)
        pose[:, 0] += np.abs(samples).reshape(-1, SAMPLES_PER_FRAME).mean(1)
        return Coefficients(np.repeat(own.expression, len(pose), 0), pose, np.repeat(own.crop, len(pose), 0))


@pytest.fixture
def listener() -> Nodding:
    return Nodding()


@pytest.fixture
def listening(debug_weights: Path, listener: Nodding) -> ConversationalHeadPipeline:
    pipe = ConversationalHeadPipeline.from_pretrained(debug_weights)
    pipe.__dict__["listener"] = listener
    return pipe


@pytest.fixture(scope="module")
def said(repository: Path, tmp_path_factory) -> Path:
    """Sixteen frames of speech."""
    from pipeline.audio.reading import read_audio

    speech = read_audio(repository / "examples" / "speech" / "lips_rms.flac")
    return write_sound(tmp_path_factory.mktemp("said") / "said.wav", speech[8000 : 8000 + 16 * SAMPLES_PER_FRAME])


@pytest.fixture(scope="module")
def speaking(portraits, said: Path, tmp_path_factory) -> Path:
    """A still of a head as a video of 16 frames with that speech."""
    return film(tmp_path_factory.mktemp("speaking") / "speaking.mp4", portraits["woman_spectacles"].image, 16, said)


def film(path: Path, picture: np.ndarray, frames: int, audio: Path | None = None) -> Path:
    with VideoWriter(path, picture.shape[1::-1], audio) as video:
        for _ in range(frames):
            video.write(picture)
    return path


def test_the_driver_is_told_everything_and_the_clip_carries_the_speakers_sound(
    listening, listener, portraits, said, tmp_path
):
    portrait = portraits["statue"]
    options = {"attitude": "positive", "seed": 5, "attitude_scale": 1.5, "expression_scale": 0.5, "motion_scale": 2.0}
    clip = listening.listen(portrait, said, **options)
    made = clip.coefficients
    assert len(made) == clip.frame_count == 16 and clip.warnings == list(portrait.warnings)
    assert listener.told.items() >= options.items()
    assert listener.told["speaker"] is None and (listener.told["identity"] == portrait.identity).all()
    loud = np.abs(soundfile.read(said)[0]).reshape(16, -1).mean(1)
    assert np.corrcoef(made.pose[:, 0], loud)[0, 1] > 0.999
    saved = clip.save(tmp_path / "out.mp4")
    assert VideoReader(saved).has_sound and VideoReader(saved).size == (256, 256)
    assert clip.settings == {
        "mode": "listen", **options, "layout": "listener", "language_model": None, "size": [256, 256],
        "renderer": "refiner", "restore": "none", "visible_tag": False,
    }  # fmt: skip


def test_beside_the_speaker_with_the_videos_own_sound(listening, listener, portraits, speaking, tmp_path):
    told = []
    clip = listening.listen(
        portraits["statue"], speaker_video=speaking, layout="side-by-side", progress=lambda *row: told.append(row)
    )
    assert clip.size == (516, 256) and clip.audio == speaking and clip.settings["size"] == [256, 256]
    frames = np.stack(list(clip.frames)).astype(int)
    assert frames.shape[1:] == (256, 516, 3) and abs(len(frames) - 16) <= 2  # AAC pads to blocks of 64 ms
    assert len(listener.told["speaker"]) == 16
    shown = next(iter(VideoReader(speaking)))
    assert np.abs(frames[0, :, :256] - shown).mean() < 1 and (frames[:, :, 256:260] == GROUND).all()
    alone = np.stack(list(listening.listen(portraits["statue"], speaking).frames))
    assert (frames[:, :, 260:] == alone).all()
    stages = [stage for stage, _ in itertools.groupby(stage for stage, _, _ in told)]
    assert stages == ["portrait", "speaker", "rendering"]
    saved = clip.save(tmp_path / "out.mp4")
    assert VideoReader(saved).size == (516, 256) and VideoReader(saved).has_sound


@pytest.mark.parametrize("picture_frames", [8, 40])
def test_picture_and_sound_of_the_speaker_differ_in_length(
    listening, listener, portraits, said, tmp_path, picture_frames
):
    video = film(tmp_path / "speaker.mp4", portraits["woman_curls"].image, picture_frames)
    clip = listening.listen(portraits["statue"], said, speaker_video=video, layout="side-by-side")
    frames = list(clip.frames)
    assert len(frames) == 16 and len(listener.told["speaker"]) == min(16, picture_frames)
    (warning,) = clip.warnings[len(portraits["statue"].warnings) :]
    assert one_sentence(warning) and ("before the sound" if picture_frames == 8 else "longer than the sound") in warning
    assert (frames[-1][:, :256] == frames[0][:, :256]).mean() > 0.5


def test_a_video_file_whose_sound_outlasts_its_picture(listening, portraits, speaking, said, tmp_path):
    """The sound of a video of 16 frames goes on for as long again."""
    path = tmp_path / "longer.mkv"
    samples = np.concatenate([soundfile.read(said)[0]] * 2).astype(np.float32)
    with av.open(str(path), "w") as container, av.open(str(speaking)) as source:
        video = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    clip = listening.listen(portraits["statue"], speaker_video=path)
    assert len(clip.coefficients) == 32
    assert any("ends 0.6 s before the sound" in warning for warning in clip.warnings)


def test_the_trained_listener_moves_its_head_and_keeps_its_lips_shut(pipe, portraits, voice):
    """As the tracker finds them again in the picture; seeds and attitudes differ, the same seed does not."""
    portrait = portraits["woman_curls"]
    clip = pipe.listen(portrait, voice, "positive", seed=1)
    with FaceTracker(video=True) as tracker:
        seen = [tracker.follow(frame) for frame in clip.frames]
    assert len(seen) == 50 and None not in seen
    assert max(lip_opening(face.landmarks) for face in seen) < max(0.012, 1.2 * lip_opening(portrait.landmarks))
    made = clip.coefficients
    assert np.ptp(made.pose[:, :3], axis=0).max() > 0.01, "the head is still"
    again, other = (pipe.listen(portrait, voice, "positive", seed=seed).coefficients for seed in (1, 2))
    negative = pipe.listen(portrait, voice, "negative", seed=1).coefficients
    assert again.pose.tobytes() == made.pose.tobytes() and again.expression.tobytes() == made.expression.tobytes()
    assert np.abs(other.pose - made.pose).max() > 0.005
    assert np.abs(negative.expression - made.expression).mean() > 0.02


SOUNDS = {
    "nothing": np.zeros(SAMPLE_RATE),
    "hiss": 0.05 * np.random.default_rng(0).normal(size=SAMPLE_RATE),
    "hum": 0.2 * np.sin(2 * np.pi * 50 * np.arange(SAMPLE_RATE) / SAMPLE_RATE),
    "one sample": np.zeros(1),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_without_speech_the_listener_idles_and_that_is_said(listening, portraits, tmp_path, name):
    clip = listening.listen(portraits["statue"], write_sound(tmp_path / "a.wav", SOUNDS[name]))
    assert len(list(clip.frames)) == frame_count(len(SOUNDS[name]))
    assert clip.warnings.count(IDLES) == 1 and one_sentence(IDLES)
    assert len(list(clip.frames)) and clip.warnings.count(IDLES) == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "attitude": ({"attitude": "angry"}, "There is no attitude 'angry'; choose one of: positive, neutral, negative."),
    "no attitude": ({"attitude": None}, "choose one of: positive, neutral, negative."),
    "layout": ({"layout": "above"}, "There is no layout 'above'; choose one of: listener, side-by-side."),
    "attitude_scale": ({"attitude_scale": 2.1}, "attitude_scale must be between 0 and 2, not 2.1."),
    "expression_scale": ({"expression_scale": float("nan")}, "expression_scale must be between"),
    "motion_scale": ({"motion_scale": -1}, "motion_scale must be between"),
    "seed": ({"seed": -1}, "seed must be between"),
    "size": ({"size": 10}, "size must be between"),
    "renderer": ({"renderer": "oil"}, "There is no renderer 'oil'"),
    "no video": ({"layout": "side-by-side"}, "There is no video of the speaker to show"),
    "no speaker": ({"audio": None}, "There is nothing to listen to; give the speaker's sound, or a video"),
}


@pytest.mark.parametrize("name", WRONG)
def test_options_that_make_no_sense_are_refused_in_one_sentence(listening, repository, said, name):
    options, sentence = WRONG[name]
    with pytest.raises(InputError) as error:
        listening.listen(repository / "examples" / "portraits" / "statue.jpg", **{"audio": said, **options})
    text = str(error.value)
    assert sentence in text and text.endswith(".") and ". " not in text[:-1]


def test_bad_speakers_are_refused_in_one_sentence(listening, portraits, said, speaking, tmp_path):
    wall = film(tmp_path / "wall.mp4", np.full((128, 128, 3), 90, np.uint8), 5, said)
    mute = film(tmp_path / "mute.mp4", portraits["woman_curls"].image, 5)
    text = tmp_path / "text.mp4"
    text.write_text("la la la\n" * 99)
    cases = [
        ({"audio": said, "speaker_video": wall}, VideoError, r"No face was found in wall\.mp4"),
        ({"audio": None, "speaker_video": mute}, InputError, r"mute\.mp4 has no sound; give the speaker's sound"),
        ({"audio": mute, "speaker_video": speaking}, AudioError, r"mute\.mp4 has no sound"),
        ({"audio": said, "speaker_video": said}, VideoError, r"said\.wav holds only sound; give a video"),
        ({"audio": said, "speaker_video": text}, VideoError, r"text\.mp4 cannot be read as video"),
        ({"audio": text, "speaker_video": None}, AudioError, r"text\.mp4 cannot be read as sound"),
        ({"audio": tmp_path / "missing.wav"}, AudioError, r"missing\.wav"),
    ]
    before = sorted(os.listdir(tmp_path))
    for options, kind, sentence in cases:
        with pytest.raises(kind, match=sentence) as error:
            listening.listen(portraits["statue"], **options).save(tmp_path / "out.mp4")
        assert one_sentence(error.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_words_are_used_where_a_language_model_is_named(listening, listener, portraits, said, monkeypatch):
    from pipeline.drivers import words

    asked = []
    track = words.WordTrack((words.Word("plum", 2, 8),), np.ones((1, 768), np.float32))
    monkeypatch.setattr(words, "word_track", lambda samples, *rest: asked.append((len(samples), *rest)) or track)
    clip = listening.listen(portraits["statue"], said, transcript="plum jam")
    assert len(clip.coefficients) == 16 and listener.told["words"] is None and not asked
    assert [warning for warning in clip.warnings if "transcript was not used" in warning and one_sentence(warning)]
    clip = listening.listen(portraits["statue"], said, transcript="plum jam", language_model="some/bert")
    assert len(clip.coefficients) == 16 and listener.told["words"] is track
    assert asked == [(16 * SAMPLES_PER_FRAME, "plum jam", "some/bert", words.RECOGNISER)]
    listener.uses_words = False
    clip = listening.listen(portraits["statue"], said, transcript="plum jam", language_model="some/bert")
    assert len(clip.coefficients) == 16 and listener.told["words"] is None and len(asked) == 1
    assert [warning for warning in clip.warnings if "words were not used" in warning and one_sentence(warning)]


def test_a_language_model_that_cannot_be_had_is_one_sentence(listening, portraits, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"transformers|could not be fetched") as error:
        listening.listen(portraits["statue"], said, transcript="plum jam", language_model="no-such/bert")
    assert one_sentence(error.value)


def test_watching_the_speaker_can_be_cancelled(listening, portraits, speaking):
    def progress(stage: str, done: int, total: int) -> None:
        if stage == "speaker" and done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        listening.listen(portraits["statue"], speaker_video=speaking, progress=progress)


def test_an_hour_of_sound_starts_at_once_and_memory_stays_flat(listening, portraits, said, tmp_path):
    path = tmp_path / "hour.wav"
    minute = np.resize(soundfile.read(said)[0], 60 * SAMPLE_RATE).astype(np.float32)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    clip = listening.listen(portraits["statue"], path)
    assert clip.frame_count == 90_000
    frames = clip.frames
    next(frames)
    frames.close()
    parts = clip._source()
    seen = len(next(parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for part in itertools.islice(parts, 60):
        seen += len(part)
    assert seen == 61 * 250
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # kB; ten minutes of sound are 38 MB as floats

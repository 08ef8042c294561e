"""What a share consists of: only clips of ours, and inputs that tell nothing of who made them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from heads import one_sentence
from PIL import Image

from pipeline.errors import InputError, PortraitError, ShareError, VideoError
from pipeline.provenance import mark_metadata
from pipeline.sharing.contents import take_clip, take_inputs

PLACE = "+48.8584+002.2945/"
MOST = 10_000_000


def encoded(path: Path, *options: str, codec: str = "libx264") -> Path:
    """Five frames by FFmpeg, with the inputs and the metadata that the options give."""
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2"]
    subprocess.run([*command, *options, "-c:v", codec, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def marked(**settings: object) -> list[str]:
    return [part for name, text in mark_metadata(settings).items() for part in ("-metadata", f"{name}={text}")]


def test_a_clip_without_our_mark_is_refused(tmp_path: Path) -> None:
    plain = encoded(tmp_path / "plain.mp4", "-metadata", "comment=My holiday")
    with pytest.raises(ShareError, match=r"plain\.mp4 carries no mark") as refusal:
        take_clip(plain, tmp_path, MOST)
    assert one_sentence(refusal.value)


def test_a_clip_that_was_changed_is_refused(tmp_path: Path, clip: Path) -> None:
    data = bytearray(clip.read_bytes())
    data[data.index(b"mdat") + 3000] ^= 255
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(data)
    with pytest.raises(ShareError, match="was changed after it was made"):
        take_clip(changed, tmp_path, MOST)


def test_a_mark_in_text_alone_is_not_enough_where_clips_are_signed(tmp_path: Path, clip: Path) -> None:
    forged = encoded(tmp_path / "forged.mp4", *marked(mode="talk"))
    with pytest.raises(ShareError, match="was not signed by this installation"):
        take_clip(forged, tmp_path, MOST, own_only=True)
    assert take_clip(forged, tmp_path, MOST).mode == "talk"
    assert take_clip(clip, tmp_path, MOST, own_only=True).settings["seed"] == 7


def test_only_what_every_browser_plays_is_taken(tmp_path: Path) -> None:
    for path, codec in ((tmp_path / "old.mp4", "mpeg4"), (tmp_path / "other.mkv", "libx264")):
        with pytest.raises(ShareError, match=r"no MP4 file with H\.264"):
            take_clip(encoded(path, *marked(mode="talk"), codec=codec), tmp_path, MOST)


def test_settings_that_a_file_claims_are_taken_only_if_they_are_plain(tmp_path: Path) -> None:
    claimed = {"mode": "<script>", "seed": 3, "deep": {"a": [1]}, "long": "x" * 200, "not a name": 1, "size": [8, "x"]}
    facts = take_clip(encoded(tmp_path / "claims.mp4", *marked(**claimed)), tmp_path, MOST)
    assert facts.mode == "talk" and facts.settings == {"seed": 3, "size": 8}
    many = take_clip(encoded(tmp_path / "many.mp4", *marked(**{f"n{i}": i for i in range(500)})), tmp_path, MOST)
    assert len(many.settings) <= 40


def test_the_poster_is_a_frame_of_the_clip(tmp_path: Path, clip: Path) -> None:
    facts = take_clip(clip, tmp_path, MOST)
    poster = Image.open(tmp_path / "poster.jpg")
    assert poster.size == facts.size == (64, 48)
    assert np.asarray(poster).mean() == pytest.approx(240, abs=12), "not the frame at one second, or the last"


def test_a_portrait_loses_where_and_when_it_was_taken(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8))
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    picture.save(tmp_path / "photo.jpg", exif=exif, comment=b"At home", quality=95)
    assert b"PhoneMaker" in (tmp_path / "photo.jpg").read_bytes()
    names = take_inputs({"portrait": tmp_path / "photo.jpg"}, tmp_path)
    kept = Image.open(tmp_path / names["portrait"])
    assert kept.size == (48, 64), "the turn was lost with the metadata"
    assert not kept.getexif() and set(kept.info) == set()
    data = (tmp_path / names["portrait"]).read_bytes()
    assert b"PhoneMaker" not in data and b"At home" not in data


def test_a_large_portrait_is_kept_small(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1500), (90, 60, 30)).save(tmp_path / "large.png")
    names = take_inputs({"portrait": tmp_path / "large.png"}, tmp_path)
    assert names == {"portrait": "portrait.jpg"}
    assert Image.open(tmp_path / "portrait.jpg").size == (2000, 1500)


def test_a_sound_is_kept_to_the_sample_and_without_tags(tmp_path: Path) -> None:
    samples = (0.3 * np.sin(np.arange(8820) / 9)).astype(np.float32)
    stereo = np.stack([samples, -samples], axis=1)
    soundfile.write(tmp_path / "voice.wav", stereo, 44_100, "PCM_16")
    tagged = tmp_path / "tagged.flac"
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(tmp_path / "voice.wav"), "-metadata", "artist=Somebody"]
    subprocess.run([*command, str(tagged)], check=True)
    names = take_inputs({"audio": tagged}, tmp_path)
    kept, rate = soundfile.read(tmp_path / names["audio"], dtype="int16")
    original, _ = soundfile.read(tmp_path / "voice.wav", dtype="int16")
    assert rate == 44_100 and np.abs(kept.astype(int) - original).max() <= 1
    with av.open(str(tmp_path / names["audio"])) as container:
        assert "Somebody" not in str(dict(container.metadata))


def test_a_video_keeps_its_streams_and_loses_its_place(tmp_path: Path, voice: Path) -> None:
    sound = ["-i", str(voice), "-shortest", "-metadata", f"location={PLACE}", "-metadata:s:v", "title=At home"]
    source = encoded(tmp_path / "phone.mp4", *sound)
    assert b"loci" in source.read_bytes()
    names = take_inputs({"video": source}, tmp_path)
    data = (tmp_path / names["video"]).read_bytes()
    assert b"loci" not in data and b"At home" not in data and b"earth" not in data
    with av.open(str(source)) as one, av.open(str(tmp_path / names["video"])) as other:
        for before, after in zip(one.decode(video=0), other.decode(video=0), strict=True):
            assert before.pts * before.time_base == after.pts * after.time_base
            assert (before.to_ndarray() == after.to_ndarray()).all()
        assert other.streams.audio[0].codec_context.name == "aac"


def test_inputs_that_are_something_else_are_refused(tmp_path: Path, clip: Path, voice: Path) -> None:
    (tmp_path / "page.html").write_text("<script>alert(1)</script>")
    for role, kind in {"portrait": PortraitError, "audio": InputError, "video": VideoError}.items():
        with pytest.raises(kind) as refusal:
            take_inputs({role: tmp_path / "page.html"}, tmp_path)
        assert one_sentence(refusal.value)
    with pytest.raises(VideoError, match="no moving picture"):
        take_inputs({"video": voice}, tmp_path)

"""What a signature is worth: clips that were changed in every way that comes to mind, and what `verify` says of them.

python -m pipeline.evaluation.tampering                  # verdicts, and what signing costs
python -m pipeline.evaluation.tampering --seconds 5 600  # for clips of five seconds and of ten minutes
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from pipeline.clock import FPS, SAMPLE_RATE

_MANIFEST = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""Identifier of the box that holds a manifest (C2PA specification 2.1, §A.5.1)."""
_TOOL = "Tête-à-tête".encode() + b"gversion"  # as it stands in the manifest
_ROOT = Path(__file__).resolve().parents[2]


def boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of an MP4's outermost boxes, in bytes (ISO/IEC 14496-12, §4.2)."""
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        end = len(data) if size == 0 else start + size
        if not start + 8 <= end <= len(data):
            return
        yield data[start + 4 : start + 8], start, end
        start = end


def manifest_box(data: bytes) -> tuple[int, int]:
    """Start and end of the box that holds the manifest.

    Raises:
        ValueError: if there is none.
    """
    for kind, start, end in boxes(data):
        if kind == b"uuid" and data[start + 8 : start + 24] == _MANIFEST:
            return start, end
    raise ValueError("The file has no manifest.")


def without_manifest(data: bytes) -> bytes:
    """The file with an empty box where the manifest was, which players skip; nothing else moves."""
    start, end = manifest_box(data)
    return data[: start + 4] + b"free" + bytes(end - start - 8) + data[end:]


def flipped(data: bytes, position: int) -> bytes:
    """The file with one bit of the byte at `position` turned over."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def _packet(data: bytes, kind: str) -> int:
    """Where the middle of some packet of a stream lies in the file."""
    import av

    with av.open(BytesIO(data)) as container:
        packets = [p for p in container.demux(**{kind: 0}) if p.pos is not None and p.size]
    chosen = packets[len(packets) // 2]
    return chosen.pos + chosen.size // 2


def remuxed(data: bytes) -> bytes:
    """The same pictures, sound and metadata, put into a file anew."""
    import av

    target = BytesIO()
    with av.open(BytesIO(data)) as source, av.open(target, "w", format="mp4") as container:
        container.metadata.update(source.metadata)
        copies = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    return target.getvalue()


def _middle_of(kind: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        start, end = next((start, end) for name, start, end in boxes(data) if name == kind)
        return flipped(data, (start + end) // 2)

    return change


def _in_manifest(share: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        start, end = manifest_box(data)
        return flipped(data, start + 60 + round(share * (end - start - 61)))

    return change


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda data: data, "marked"),
    "a bit of the pictures": (lambda data: flipped(data, _packet(data, "video")), "tampered"),
    "a bit of the sound": (lambda data: flipped(data, _packet(data, "audio")), "tampered"),
    "a bit of the index": (_middle_of(b"moov"), "tampered"),
    "the comment": (lambda data: data.replace(b"AI-generated with", b"Photographed with"), "tampered"),
    "a bit of the manifest, early": (_in_manifest(0.1), "tampered"),
    "a bit of the manifest, in the middle": (_in_manifest(0.5), "tampered"),
    "the manifest's tool": (lambda data: data.replace(_TOOL, _TOOL.replace(b"t", b"d", 1)), "tampered"),
    "cut short": (lambda data: data[: len(data) * 4 // 5], "tampered"),
    "bytes behind its end": (lambda data: data + (24).to_bytes(4, "big") + b"mdat" + bytes(16), "tampered"),
    "manifest taken away": (without_manifest, "unsigned"),
    "put into a file anew": (remuxed, "unsigned"),
    "manifest and comment taken away": (
        lambda data: without_manifest(data).replace(b"AI-generated with", b"Photographed with"),
        "unmarked",
    ),
}
"""What is done to a marked clip, and what `verify` has to say then."""


def tamper(clip: Path, folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Name, state that is due, state that is found and sentence for each change of `clip`."""
    from pipeline.provenance import verify

    data = clip.read_bytes()
    for number, (name, (change, due)) in enumerate(CHANGES.items()):
        changed = folder / f"changed-{number}.mp4"
        changed.write_bytes(change(data))
        verdict = verify(changed)
        changed.unlink()
        yield name, due, verdict.state, verdict.sentence


def write_clip(path: Path, seconds: float, size: int = 512) -> int:
    """A clip of a portrait that drifts, with speech; returns the bytes of the file."""
    import cv2
    import soundfile

    from pipeline.audio.reading import read_audio
    from pipeline.video import VideoWriter

    picture = cv2.imread(str(_ROOT / "examples" / "portraits" / "astronaut.png"))[..., ::-1]
    picture = np.ascontiguousarray(cv2.resize(picture, (size + 64, size + 64), interpolation=cv2.INTER_AREA))
    sound = path.with_suffix(".wav")
    speech = read_audio(_ROOT / "examples" / "speech" / "hello_slt.wav")
    soundfile.write(sound, np.resize(speech, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    with VideoWriter(path, (size, size), sound, settings={"mode": "talk"}) as writer:
        for frame in range(round(seconds * FPS)):
            left = round(32 + 30 * np.sin(frame / 9))
            writer.write(picture[16 : 16 + size, left : left + size])
    sound.unlink()
    return path.stat().st_size


def _costs(clip: Path) -> dict[str, float]:
    """Milliseconds of signing and of verifying, the best of three, and megabytes of the file."""
    from pipeline import manifests, provenance

    target = clip.with_suffix(".signed")
    times: dict[str, list[float]] = {"sign_ms": [], "verify_ms": []}
    works = {"sign_ms": lambda: manifests.sign(clip, target), "verify_ms": lambda: provenance.verify(clip)}
    for _ in range(3):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            times[name].append(1000 * (time.perf_counter() - begun))
    target.unlink()
    return {"mb": round(clip.stat().st_size / 1e6, 2), **{name: round(min(all_), 1) for name, all_ in times.items()}}


def main(arguments: list[str] | None = None) -> int:
    """Print verdicts and costs; 1 if a verdict is not what is due."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0], help="lengths of the clips (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    costs, verdicts = {}, []
    with tempfile.TemporaryDirectory(prefix="tete-tampering-") as name:
        for seconds in options.seconds:
            clip = Path(name) / "clip.mp4"
            write_clip(clip, seconds)
            costs[f"{seconds:g} s"] = _costs(clip)
            verdicts = verdicts or list(tamper(clip, Path(name)))
    wrong = [change for change, due, found, _ in verdicts if due != found]
    if options.json:
        print(json.dumps({"costs": costs, "verdicts": verdicts, "wrong": wrong}, ensure_ascii=False))
    else:
        for length, cost in costs.items():
            print(f"{length}: {cost['mb']} MB, signed in {cost['sign_ms']} ms, verified in {cost['verify_ms']} ms")
        for change, due, found, sentence in verdicts:
            print(f"{change:40} {found:10} {'' if due == found else f'({due} is due) '}{sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

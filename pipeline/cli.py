"""The command line: `python -m pipeline COMMAND`.

Exit codes: 0 done, 1 some rows of a batch failed, 2 bad input (one sentence on stderr), 3 verify found a file that was
changed after it was signed, 130 interrupted. An output file exists only if it is whole.
By using talk, listen, reenact or batch you state that you may use the faces and voices that you give; clips are marked
as AI-generated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.attitudes import ATTITUDES
from pipeline.errors import InputError, OutputError
from pipeline.renderers import DEFAULT_RENDERER, RENDERERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description="Conversational heads from one portrait.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    talk = _command(commands, "talk", _talk, "the portrait says what is heard")
    talk.add_argument("portrait", metavar="PORTRAIT", help="picture with a face")
    talk.add_argument("audio", metavar="AUDIO", help="sound or video file")
    _add_making(talk)
    talk.add_argument("--seed", type=int, default=0, help="chooses blinks, gaze and head motion (default 0)")

    listen = _command(commands, "listen", _listen, "the portrait listens to a speaker")
    listen.add_argument("portrait", metavar="PORTRAIT", help="picture with a face")
    listen.add_argument("audio", metavar="AUDIO", nargs="?", help="the speaker's sound (default: the video's)")
    _add_making(listen)
    listen.add_argument("--attitude", default="neutral", metavar="|".join(ATTITUDES), help="default: %(default)s")
    listen.add_argument("--attitude-scale", type=float, default=1.0, metavar="0..2", help="how plainly it shows")
    listen.add_argument("--speaker-video", metavar="VIDEO", help="a video of the speaker, whose face is watched too")
    listen.add_argument(
        "--layout",
        default="listener",
        metavar="listener|side-by-side",
        help="side-by-side shows the speaker's video too",
    )
    listen.add_argument("--transcript", metavar="FILE", help="a text file of what is said; for --language-model")
    listen.add_argument(
        "--language-model", metavar="NAME", help="a BERT on the Hub, or its folder, that tells what the words mean"
    )
    listen.add_argument("--seed", type=int, default=0, help="chooses one of many fitting reactions (default 0)")

    reenact = _command(commands, "reenact", _reenact, "the portrait moves as a face in a video does")
    reenact.add_argument("portrait", metavar="PORTRAIT", help="picture with a face")
    reenact.add_argument("video", metavar="VIDEO", help="driving video")
    _add_making(reenact)
    reenact.add_argument(
        "--absolute", action="store_true", help="take over placement too: for the same person in the same framing"
    )

    batch = _command(commands, "batch", _batch, "make every clip of a manifest, and go on where it stopped")
    batch.add_argument("manifest", metavar="MANIFEST", help="CSV or JSON Lines: a row a clip, see examples/batch.csv")
    batch.add_argument("-o", "--output", required=True, metavar="FOLDER", help="for the clips and results.jsonl")
    batch.add_argument("--weights", help="folder or Hub repository (default: embedded)")
    batch.add_argument("--jobs", type=int, default=1, metavar="N", help="clips made at once (default %(default)s)")
    batch.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster makes them; "local" starts one here')
    batch.add_argument("--json", action="store_true", help="one JSON object on stdout")

    evaluate = _command(commands, "evaluate", _evaluate, "measure generated clips against real ones")
    evaluate.add_argument("generated", nargs="?", metavar="GENERATED", help="a clip or a folder of clips")
    evaluate.add_argument("real", nargs="?", metavar="REAL", help="the real clip, or a folder with the same names")
    evaluate.add_argument(
        "--suite",
        choices=("reenact", "talk", "silence", "background", "model", "listen", "restoration", "renderers"),
        help="on the corpus",
    )
    evaluate.add_argument(
        "--renderer",
        action="append",
        metavar="NAME",
        help="what draws; --suite renderers compares several (default: all)",
    )
    evaluate.add_argument("--size", type=int, help="with --suite renderers: pixels of the longer side")
    evaluate.add_argument(
        "--heard", action="store_true", help="with --suite renderers: as if driving mouths were heard and not seen"
    )
    evaluate.add_argument("--weights", help="with --suite renderers: folder or Hub repository (default: embedded)")
    evaluate.add_argument("--corpus", default="../shared/corpus", help="folder of the corpus (default %(default)s)")
    evaluate.add_argument("--split", default="val", choices=("val", "train", "all"))
    evaluate.add_argument("--only", default="", metavar="TEXT", help="only clips whose name holds this")
    evaluate.add_argument("--limit", type=int, help="at most so many clips")
    evaluate.add_argument("--jobs", type=int, default=1, help="clips measured at once")
    evaluate.add_argument("--cache", help="a folder that keeps tracks of real clips")
    evaluate.add_argument(
        "--sheet", metavar="FILE.png", help="a contact sheet of portraits talking (with --suite listen: listening)"
    )
    evaluate.add_argument("--lag", type=int, help="frames by which the real picture is later than its sound")
    evaluate.add_argument("--json", action="store_true", help="one JSON object on stdout")

    bench = _command(commands, "bench", _bench, "time each stage on this machine")
    bench.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    bench.add_argument("--seconds", type=float, default=5.0, help="of sound (default 5)")
    bench.add_argument(
        "--renderer", action="append", metavar="NAME", help="may be repeated (default: all that have weights)"
    )
    bench.add_argument("--weights", help="folder or Hub repository (default: embedded)")
    bench.add_argument(
        "--random-weights", action="store_true", help="time networks without weights too, on random ones"
    )
    bench.add_argument("--json", action="store_true", help="one JSON object on stdout")

    train = _command(commands, "train", _train, "learn one component from the corpus")
    train.add_argument(
        "component",
        choices=(
            "morphable",
            "surroundings",
            "patches",
            "refiner",
            "talking",
            "liveliness",
            "audio_encoder",
            "attitude",
            "listening",
            "listening_motion",
            "headgan",
            "pirenderer",
        ),
    )
    train.add_argument("--corpus", default="../shared/corpus", help="folder of the corpus (default %(default)s)")
    train.add_argument("--output", help="folder to write (default: the component's in weights/)")
    train.add_argument("--cache", default="cache", help="folder for tracks and other steps (default %(default)s)")
    train.add_argument("--minutes", type=float, default=40, help="how long to train what is trained by time")

    convert = _command(commands, "convert", _convert, "make a foreign checkpoint a folder of weights")
    convert.add_argument("name", choices=("gfpgan", "pirenderer"))
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="the file as its publishers give it")
    convert.add_argument("folder", metavar="FOLDER", help="to write, or of weights that get one component more")
    convert.add_argument("--json", action="store_true", help="one JSON object on stdout")

    push = _command(commands, "push", _push, "put weights on the Hub, with model cards")
    push.add_argument("repository", metavar="OWNER/REPO")
    push.add_argument("--weights", help="folder or Hub repository (default: embedded)")
    push.add_argument("--component", metavar="NAME", help="this one alone, such as face or audio_encoder/causal")
    push.add_argument("--revision", metavar="BRANCH", help="made if it is not there (default: the main one)")
    push.add_argument("--private", action="store_true", help="make the repository a private one, if it is made")

    verify = _command(commands, "verify", _verify, "tell whether a file is marked as made, and unchanged since")
    verify.add_argument("file", metavar="FILE")
    verify.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=__doc__.split("\n\n")[1])
    parser.set_defaults(run=run)
    return parser


def _add_making(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="the clip to write")
    parser.add_argument("--weights", help="folder or Hub repository (default: embedded)")
    parser.add_argument(
        "--renderer", default=DEFAULT_RENDERER, choices=tuple(RENDERERS), help="others need their weights"
    )
    parser.add_argument(
        "--reference", nargs="+", metavar="FILE", default=[], help="more pictures or a short video of the same person"
    )
    parser.add_argument(
        "--restore", default="none", metavar="none|detail|gfpgan", help="sharpen the face (default %(default)s)"
    )
    parser.add_argument("--size", type=int, help="pixels of the longer side (default: the picture's own, up to 1920)")
    parser.add_argument("--expression-scale", type=float, default=1.0, metavar="0..2")
    parser.add_argument("--motion-scale", type=float, default=1.0, metavar="0..2")
    parser.add_argument("--visible-tag", action="store_true", help='draw "AI-generated" into a corner of every frame')
    parser.add_argument("--coefficients", metavar="FILE", help="write the coefficients too, as safetensors")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _talk(options: argparse.Namespace) -> None:
    _make(
        options,
        lambda pipe, common: pipe.talk(options.portrait, options.audio, seed=options.seed, **common),
    )


def _listen(options: argparse.Namespace) -> None:
    names = ("attitude", "speaker_video", "seed", "attitude_scale", "layout", "language_model")
    own = {name: getattr(options, name) for name in names}
    own["transcript"] = None if options.transcript is None else _text(options.transcript)
    _make(options, lambda pipe, common: pipe.listen(options.portrait, options.audio, **own, **common))


def _text(path: str) -> str:
    """What is written in a text file."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as text; give a file of plain text in UTF-8.") from error


def _reenact(options: argparse.Namespace) -> None:
    _make(
        options,
        lambda pipe, common: pipe.reenact(options.portrait, options.video, relative=not options.absolute, **common),
    )


def _make(options: argparse.Namespace, start: Callable[[Any, dict[str, Any]], Any]) -> None:
    from pipeline.conversation import ConversationalHeadPipeline
    from pipeline.video.writer import check_output

    begun = time.perf_counter()
    check_output(options.output)
    if options.coefficients:
        _check_coefficients(options.coefficients)
    progress = _Progress()
    pipe = ConversationalHeadPipeline.from_pretrained(options.weights)
    if options.reference:
        options.portrait = pipe.portrait(options.portrait, options.size, options.reference)
    clip = start(
        pipe,
        {
            "expression_scale": options.expression_scale,
            "motion_scale": options.motion_scale,
            "size": options.size,
            "renderer": options.renderer,
            "restore": options.restore,
            "visible_tag": options.visible_tag,
            "progress": progress,
        },
    )
    clip.save(options.output)
    progress.close()
    if options.coefficients:
        clip.coefficients.save(options.coefficients)
    seconds = time.perf_counter() - begun
    for warning in clip.warnings:
        print(f"note: {warning}", file=sys.stderr)
    result = {
        "output": str(Path(options.output).resolve()),
        "frames": len(clip.coefficients),
        "size": list(clip.size),
        "seconds": round(seconds, 3),
        "warnings": clip.warnings,
        "settings": clip.settings,
    }
    print(json.dumps(result) if options.json else f"{options.output}: {result['frames']} frames in {seconds:.1f} s")


def _check_coefficients(path: str) -> None:
    """Whether coefficients can be written at `path`: known before rendering, not after."""
    folder = Path(path).parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written; give a file's name in a folder that exists and can be written.")


class _Progress:
    """One line on stderr that is written over; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._active = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._active and (now - self._shown > 0.1 or done == total):
            self._shown = now
            print(f"\r{stage}: {done}/{total or '?'} ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._active:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _evaluate(options: argparse.Namespace) -> int | None:
    from pipeline.evaluation import command

    return command.run(options)


def _bench(options: argparse.Namespace) -> None:
    from pipeline import bench

    report = bench.run(
        options.sizes,
        options.seconds,
        weights=options.weights,
        renderers=options.renderer or (),
        random_weights=options.random_weights,
    )
    print(json.dumps(report.to_dict()) if options.json else report.text())


def _train(options: argparse.Namespace) -> None:
    from importlib import import_module

    from pipeline.hub import EMBEDDED

    folders = {"morphable": "face", "surroundings": "mesh", "listening_motion": "listening/motion"}
    output = Path(options.output or EMBEDDED / folders.get(options.component, options.component))
    module = import_module(f"pipeline.training.{options.component}")
    module.main(Path(options.corpus), output, cache=Path(options.cache), minutes=options.minutes)


def _convert(options: argparse.Namespace) -> None:
    from pipeline.converters import convert
    from pipeline.errors import WeightsError

    result = convert(options.name, options.checkpoint, options.folder)
    print(json.dumps(result.to_dict()) if options.json else "\n".join(result.lines()))
    if not result.fits:
        raise WeightsError(f"{options.checkpoint} does not fit {options.name}'s network, so nothing was written.")


def _push(options: argparse.Namespace) -> None:
    from pipeline.conversation import ConversationalHeadPipeline
    from pipeline.hub_share import HubComponent, SharedWeights, load_component

    if options.component:
        pushed: HubComponent | SharedWeights = load_component(options.component, options.weights)
    else:
        pushed = ConversationalHeadPipeline.from_pretrained(options.weights)
    print(pushed.push_to_hub(options.repository, revision=options.revision, private=options.private or None))


def _batch(options: argparse.Namespace) -> int:
    from pipeline.batch import run_command

    progress = _Progress()
    report = run_command(options.manifest, options.output, options.weights, options.jobs, options.ray, progress)
    progress.close()
    for row, sentence in report.failed:
        print(f"row {row}: {sentence}", file=sys.stderr)
    told = f"{report.rows} rows: {report.made} made, {report.skipped} were there, {len(report.failed)} failed"
    print(json.dumps(report.to_dict()) if options.json else f"{told}, in {report.seconds:.1f} s; see {report.results}")
    return 1 if report.failed else 0


def _verify(options: argparse.Namespace) -> int:
    from pipeline.provenance import verify

    verdict = verify(options.file)
    print(json.dumps(verdict.to_dict()) if options.json else f"{options.file}: {verdict.state}. {verdict.sentence}")
    return 3 if verdict.state == "tampered" else 0

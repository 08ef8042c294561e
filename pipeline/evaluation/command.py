"""What `python -m pipeline evaluate` does with its options."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluation.pairs import evaluate_paths
from pipeline.evaluation.sheets import PORTRAITS, contact_sheet, listening_sheet, portrait_sheet, save_sheet
from pipeline.evaluation.suites import SuiteOptions, load_pipeline, run_suite

_MADE = ("reenact", "talk", "silence", "background", "listen")  # suites whose clips any renderer can make


def run(options: argparse.Namespace) -> int:
    """Measure clips against real ones, run a suite on the corpus, or make a contact sheet; returns the exit code.

    Raises:
        InputError: if the options don't say what to measure, or it cannot be measured.
    """
    if options.sheet:
        return _sheet(options)
    if options.suite:
        if options.generated:
            raise InputError("Give either two clips (or folders) or --suite, not both.")
        settings = SuiteOptions(options.split, options.only, options.limit, options.cache)
        if options.suite == "renderers":
            settings = _of_renderers(settings, options)
        elif options.size or options.weights or options.heard:
            raise InputError("--size, --weights and --heard go with --suite renderers; leave them out here.")
        elif options.renderer:
            settings = _by_one(settings, options)
        table = run_suite(
            options.suite, options.corpus, settings, options.jobs, weights=options.weights, progress=_progress
        )
    elif options.generated and options.real:
        table = evaluate_paths(options.generated, options.real, options.lag or 0, options.cache, _progress)
    else:
        raise InputError("Give a generated and a real clip (or two folders), or --suite with its name.")
    print(json.dumps(table.to_dict(), allow_nan=False) if options.json else table.text())
    return 0


def _by_one(settings: SuiteOptions, options: argparse.Namespace) -> SuiteOptions:
    """With the one renderer that a suite's clips are made by."""
    from pipeline.evaluation.renderers import choose
    from pipeline.hub import find_weights

    if options.suite not in _MADE:
        raise InputError(f"The suite {options.suite} has its own renderer; leave --renderer out.")
    if len(options.renderer) > 1:
        raise InputError("Several renderers are compared by --suite renderers; give one here.")
    (name,) = choose(find_weights(), options.renderer)
    return replace(settings, pipeline={"renderer": name})


def _of_renderers(settings: SuiteOptions, options: argparse.Namespace) -> SuiteOptions:
    """With the renderers to compare, and at which size: known to be there before the first clip is read."""
    from pipeline.evaluation.renderers import choose
    from pipeline.hub import find_weights

    if options.size is not None and not 64 <= options.size <= 1024:
        raise InputError(f"--size must be between 64 and 1024, not {options.size}.")
    names = choose(find_weights(options.weights), options.renderer or ())
    return replace(settings, renderers=names, size=options.size, heard=options.heard)


def _sheet(options: argparse.Namespace) -> int:
    if options.generated:
        folder = Path(options.generated)
        clips = sorted(folder.glob("*.mp4")) if folder.is_dir() else [folder]
        if not clips:
            raise InputError(f"{folder} holds no .mp4 to show.")
        sheet = contact_sheet((clip.stem, clip) for clip in clips[: options.limit])
    elif options.suite == "listen":
        pipeline = load_pipeline(None)
        sheet = listening_sheet(
            pipeline, options.corpus, options.split, options.only, options.limit, progress=_progress
        )
    else:
        names = (options.only,) if options.only else PORTRAITS[: options.limit]
        sheet = portrait_sheet(load_pipeline(None), options.corpus, options.split, names, progress=_progress)
    save_sheet(sheet, options.sheet)
    report = {"sheet": str(Path(options.sheet).resolve()), "size": [sheet.shape[1], sheet.shape[0]]}
    print(json.dumps(report) if options.json else f"{options.sheet}: {sheet.shape[1]} x {sheet.shape[0]} pixels")
    return 0


def _progress(stage: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    if sys.stderr.isatty():
        print(f"\r{stage}: {done}/{total} ", end=end, file=sys.stderr, flush=True)

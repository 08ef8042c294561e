"""What the page says of a picture, a job and a clip, as HTML; every value that is not ours is escaped."""

from __future__ import annotations

import html
from typing import Any

from app_jobs import Result
from app_plot import movement_plot
from app_queue import Moment
from app_texts import TEXTS, duration, say
from pipeline.face.checks import PortraitLook

STAGES = {
    "waiting": "waiting",
    "loading": "loading",
    "portrait": "portrait_stage",
    "speaker": "speaker",
    "rendering": "rendering",
    "finishing": "finishing",
}
"""The pipeline's names of stages, and those of their texts."""

TO_COME = ("portrait", "rendering", "finishing")
"""Stages that every clip goes through."""


def stage_title(stage: str, language: str = "en") -> str:
    return say(STAGES[stage], language) if stage in STAGES else stage.replace("_", " ").capitalize()


def progress_card(moment: Moment, language: str = "en") -> str:
    """All stages, with the present one's frames done and time left. `data-say` is for who listens to the page: it
    changes with the stage and each quarter, not four times a second."""
    title = stage_title(moment.stage, language)
    behind = "".join(f'<li class="past">{html.escape(stage_title(s, language))}</li>' for s in moment.finished)
    ahead = TO_COME[TO_COME.index(moment.stage) + 1 :] if moment.stage in TO_COME else TO_COME
    coming = "".join(f'<li class="coming">{say(STAGES[s], language)}</li>' for s in ahead if s not in moment.finished)
    left = ""
    if moment.seconds_left is not None:
        left = say("left", language, time=duration(moment.seconds_left, language))
    steps, spoken = "", title
    if moment.total > 1:
        steps = say("frames", language, done=moment.done, total=moment.total)
        quarter = 4 * moment.done // moment.total * 25
        spoken = f"{title}, {quarter} %" if quarter else title
    if moment.ahead:
        steps = say("ahead_one" if moment.ahead == 1 else "ahead_many", language, ahead=moment.ahead)
        spoken = f"{title}. {steps}"
    name = f'aria-label="{html.escape(title)}"'
    bar = (
        f'<progress {name} max="{moment.total}" value="{moment.done}"></progress>'
        if moment.total > 1
        else f"<progress {name}></progress>"
    )
    return (
        f'<div class="card working" data-say="{html.escape(spoken)}" data-done="{moment.done}" '
        f'data-total="{moment.total}" data-speed="{moment.speed:.2f}"><ol class="stages">{behind}'
        f'<li class="present"><h3>{html.escape(title)}</h3>{bar}<p class="numbers"><span class="steps">{steps}</span>'
        f'<span class="left">{left}</span></p></li>{coming}</ol></div>'
    )


def live_player(token: str, language: str = "en") -> str:
    """The clip while it is being made; app.js starts it when it will not run dry."""
    where = html.escape(token)
    return (
        f'<figure class="live"><video controls playsinline preload="auto" data-pieces="live/{where}.mp4" '
        f'data-playlist="live/{where}/live.m3u8"></video><figcaption>{say("live", language)}</figcaption></figure>'
    )


def result_card(result: Result, language: str = "en") -> str:
    """What was made, how long it took, and what the pipeline wants the visitor to know."""
    settings = result.settings
    time = duration(result.seconds, language)
    facts = [f"{result.size[0]} × {result.size[1]} px", say("made_in", language, time=time)]
    if "attitude" in settings:
        attitude = str(settings["attitude"])
        shown = say(attitude, language) if language != "en" and attitude in TEXTS else attitude
        facts.append(say("attitude_fact", language, attitude=shown))
    if "seed" in settings:
        facts.append(say("seed_fact", language, seed=settings["seed"]))
    notes = "".join(f'<li lang="en">{html.escape(str(w))}</li>' for w in result.warnings)
    listed = f'<ul class="notes">{notes}</ul>' if notes else ""
    alone = "" if settings.get("layout") == "side-by-side" else _wipe(language)
    return (
        f'<div class="card done" data-say="{say("done_say", language)}"><p>'
        f"{' · '.join(html.escape(f) for f in facts)}</p>{listed}{alone}</div>"
    )


def _wipe(language: str) -> str:
    """A slider that lays the portrait over the clip, from the left on; app.js moves the picture."""
    return (
        f'<div class="wipe"><span aria-hidden="true">{say("after", language)}</span><input type="range" min="0" '
        f'max="100" value="0" aria-label="{html.escape(say("compare", language))}"><span aria-hidden="true">'
        f"{say('before', language)}</span></div>"
    )


def movement_card(result: Result, language: str = "en") -> str:
    """The clip's curves, folded up; nothing if there are none."""
    if result.movement is None:
        return ""
    return (
        f'<details class="card fold"><summary>{say("movement", language)} <small>'
        f"{say('movement_hint', language)}</small></summary>{movement_plot(result.movement, language)}</details>"
    )


def refusal_card(sentence: str, language: str = "en") -> str:
    return (
        f'<div class="card refusal" role="alert"><h3>{say("refused", language)}</h3>'
        f'<p lang="en">{html.escape(sentence, quote=False)}</p></div>'
    )


def stopped_card(language: str = "en") -> str:
    return f'<div class="card quiet" data-say="{say("stopped", language)}"><p>{say("stopped", language)}</p></div>'


def looking_card(language: str = "en") -> str:
    return f'<p class="look pending">{say("looking", language)}</p>'


def look_card(look: PortraitLook, language: str = "en") -> str:
    """Boxes over the picture (the SVG fits itself into the frame as the picture does), and what is wrong with it."""
    state = "bad" if look.problem else "fair" if look.warnings else "good"
    width, height = look.size
    boxes = "".join(
        f'<rect class="{"used" if k == 0 else "other"}" x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" '
        f'height="{bottom - top:.0f}" rx="{0.06 * (right - left):.0f}"/>'
        for k, (left, top, right, bottom) in enumerate(look.boxes)
    )
    said = [look.problem] if look.problem else list(look.warnings)
    notes = "".join(f'<li lang="en">{html.escape(sentence)}</li>' for sentence in said)
    fact = say("look_face", language, height=round(look.height)) if look.height else ""
    small = f"<small>{width} × {height}{' · ' if fact else ''}{fact}</small>"
    return (
        f'<svg class="boxes {state}" viewBox="0 0 {width} {height}" aria-hidden="true">{boxes}</svg>'
        f'<div class="look {state}" role="status"><p><b>{say("look_" + state, language)}</b> {small}</p>'
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def unreadable_card(sentence: str, language: str = "en") -> str:
    """A picture of which not even the size is known."""
    return (
        f'<div class="look bad" role="status"><p><b>{say("look_bad", language)}</b></p>'
        f'<ul><li lang="en">{html.escape(sentence)}</li></ul></div>'
    )


def verdict_card(verdict: Any, language: str = "en") -> str:
    """What can be told of a file: `pipeline.provenance.Verdict`."""
    return (
        f'<div class="card verdict {html.escape(verdict.state)}" role="status"><h3>'
        f'{say("verify_" + verdict.state, language)}</h3><p lang="en">{html.escape(verdict.sentence)}</p></div>'
    )


def header(language: str = "en") -> str:
    return f"<header><h1>Tête-à-tête</h1><p>{say('tagline', language)}</p></header>"


def empty_stage(language: str = "en") -> str:
    """What the stage shows before the first clip: what comes of it, and how."""
    steps = "".join(f"<li>{say(f'step_{k}', language)}</li>" for k in (1, 2, 3))
    modes = "".join(
        f"<dt>{say(name, language)}</dt><dd>{say(f'{name}_means', language)}</dd>"
        for name in ("speak", "listen", "follow")
    )
    return (
        '<div class="card empty"><picture><source media="(prefers-reduced-motion: reduce)" '
        'srcset="pictures/talking.jpg"><img src="pictures/talking.webp" alt="" width="480" height="140"></picture>'
        f"<p>{say('empty', language)}</p><dl>{modes}</dl><h3>{say('steps_title', language)}</h3><ol>{steps}</ol></div>"
    )


def footer(keep_seconds: int, language: str = "en") -> str:
    """What the page promises, with how long files stay."""
    return f'<footer class="terms"><p>{say("terms", language, kept=duration(keep_seconds, language))}</p></footer>'

"""The page of a shared clip, and its files: what a link leads to.

Everything beneath `/share` is answered here, before Gradio sees it. The pages are plain HTML that work without
JavaScript; a small script of ours adds copying and deleting. Nothing comes from elsewhere, which the
Content-Security-Policy holds browsers to. Only `is_id` text and names that a share lists ever reach the disk.
"""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from string import Template

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from app_texts import say
from pipeline.errors import ShareError
from pipeline.renderers import DEFAULT_RENDERER
from pipeline.sharing import CLIP, POSTER, Share, Shares

ROOT = Path(__file__).resolve().parent
SECRET_HEADER = "X-Share-Secret"
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)
_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",  # links are for whom they were given to, not for search engines
    "Referrer-Policy": "no-referrer",  # nor for the sites that a visitor goes to next
    "Cache-Control": "private, no-cache",  # what was deleted is gone at once
    "Vary": "Accept-Language",
}
_TYPES = {CLIP: "video/mp4", POSTER: "image/jpeg"}
_ASSETS = {"share.css": "text/css", "share.js": "text/javascript"}

_SETTINGS = {
    "attitude": "attitude",
    "attitude_scale": "plainness",
    "expression_scale": "expression",
    "motion_scale": "motion",
    "layout": "layout",
    "relative": "shared_relative",
    "seed": "seed",
    "size": "size",
    "restore": "sharpness",
    "renderer": "shared_renderer",
}
"""Settings that are shown, in this order, and the keys of their names' texts."""

_VALUES = {
    ("attitude", "positive"): "positive",
    ("attitude", "neutral"): "neutral",
    ("attitude", "negative"): "negative",
    ("layout", "listener"): "layout_listener",
    ("layout", "side-by-side"): "layout_both",
    ("restore", "none"): "as_drawn",
    ("restore", "detail"): "own_detail",
    ("restore", "gfpgan"): "gfpgan",
}
"""Keys of the texts of values that are words."""

log = logging.getLogger("tete-a-tete")


def share_routes(shares: Shares) -> list[BaseRoute]:
    """Routes for everything beneath `/share`."""

    def page(request: Request) -> Response:
        share = shares.find(request.path_params["share"])
        language = language_of(request.headers.get("accept-language", ""))
        if share is None:
            return _html(_gone_page(language), 404)
        return _html(_clip_page(share, public_url(request.headers, request.url.scheme), language))

    def delete(request: Request) -> Response:
        try:
            shares.remove(request.path_params["share"], request.headers.get(SECRET_HEADER, ""))
        except ShareError as error:
            return JSONResponse({"error": str(error)}, 403, _HEADERS)
        return Response(status_code=204, headers=_HEADERS)

    def file(name: str) -> Callable[[Request], Response]:
        def send(request: Request) -> Response:
            share = shares.find(request.path_params["share"])
            path = shares.file(share, name) if share is not None else None
            try:
                facts = path.stat() if path is not None else None
            except FileNotFoundError:  # deleted this moment
                facts = None
            if path is None or facts is None:
                return missing(request)
            return FileResponse(path, media_type=_TYPES[name], headers=_HEADERS, stat_result=facts)

        return _guarded(send)

    def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return missing(request)
        return FileResponse(ROOT / f"app_{name}", media_type=_ASSETS[name], headers=_HEADERS)

    def missing(request: Request) -> Response:
        return _html(_gone_page(language_of(request.headers.get("accept-language", ""))), 404)

    return [
        Mount(
            "/share",
            routes=[
                Route("/assets/{name}", asset),
                Route("/{share}", _guarded(page)),
                Route("/{share}", _guarded(delete), methods=["DELETE"]),
                *(Route(f"/{{share}}/{name}", file(name)) for name in _TYPES),
                Route("/{rest:path}", missing),
            ],
        )
    ]


def public_url(headers: Mapping[str, str], scheme: str = "http") -> str:
    """Where visitors reach this server, without a "/" at the end: TETE_PUBLIC_URL, or what the request says.

    A request can say anything, so what does not look like a host is left out, which leaves relative addresses.
    """
    fixed = os.environ.get("TETE_PUBLIC_URL", "").strip().rstrip("/")
    if fixed:
        return fixed
    if os.environ.get("SPACE_HOST"):
        return f"https://{os.environ['SPACE_HOST']}"
    host = (headers.get("x-forwarded-host") or headers.get("host") or "").split(",")[0].strip()
    scheme = (headers.get("x-forwarded-proto") or scheme).split(",")[0].strip()
    return f"{scheme}://{host}" if scheme in ("http", "https") and _HOST.fullmatch(host) else ""


def share_link(base: str, share: Share) -> str:
    return f"{base}/share/{share.id}"


def day_of(seconds: int) -> str:
    """A moment in UTC as people everywhere read it: 2026-11-28 09:30."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def language_of(accepted: str) -> str:
    """ "zh" if a browser that sends this Accept-Language prefers Chinese to English, else "en"."""
    best, chosen = 0.0, "en"
    for part in accepted.split(",")[:20]:
        name, _, quality = part.strip().lower().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        language = name.split("-")[0]
        if language in ("en", "zh") and weight > best:
            best, chosen = weight, language
    return chosen


def _guarded(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """A store that cannot be asked just now is said in a sentence, and logged."""

    def endpoint(request: Request) -> Response:
        try:
            return answer(request)
        except ShareError:
            log.exception("a shared clip could not be looked up")
            language = language_of(request.headers.get("accept-language", ""))
            return _html(_notice_page("shared_trouble", "", language), 503)

    return endpoint


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, _HEADERS)


_FRAME = Template("""<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, nofollow">
<title>$title · Tête-à-tête</title>
$meta<link rel="stylesheet" href="${up}share/assets/share.css">
</head>
<body>
<header><a href="$up">Tête-à-tête</a></header>
<main>
$body
</main>
</body>
</html>
""")

_CLIP = Template("""<video controls playsinline preload="metadata" width="$width" height="$height"
 src="$id/clip.mp4" poster="$id/poster.jpg" aria-label="$title"></video>
<h1>$title</h1>
<p class="made">$made</p>
<p class="actions">
<a class="button primary" href="$up?share=$id">$edit</a>
<a class="button" href="$id/clip.mp4" download="tete-a-tete-$mode.mp4">$download</a>
<button class="button" id="copy" type="button" hidden data-done="$copied">$copy</button>
<button class="button danger" id="delete" type="button" hidden data-sure="$sure" data-failed="$failed">$delete</button>
</p>
<p class="note" id="say" role="status"></p>
<p class="note">$editor</p>
<h2>$settings_title</h2>
<dl>$settings</dl>
<p class="note">$until</p>
<script src="${up}share/assets/share.js" defer></script>
""")

_UP = "../"  # from /share/<id> to the page; relative, so that it also works where a proxy puts all under a prefix


def _clip_page(share: Share, base: str, language: str) -> str:
    def text(key: str, **values: object) -> str:
        return html.escape(say(key, language, **values))

    width, height = share.size
    settings = "".join(
        f"<div><dt>{text(key)}</dt><dd>{html.escape(_shown(name, share.settings[name], language))}</dd></div>"
        for name, key in _SETTINGS.items()
        if name in share.settings and (name, share.settings[name]) != ("renderer", DEFAULT_RENDERER)
    )
    title = text(f"shared_{share.mode}")
    texts = {
        key: text(f"shared_{key}") for key in ("made", "edit", "download", "copy", "copied", "sure", "failed", "delete")
    }
    body = _CLIP.substitute(
        texts,
        id=share.id,
        mode=share.mode,
        up=_UP,
        title=title,
        width=width,
        height=height,
        editor=text("shared_edit_inputs" if share.inputs else "shared_edit_bare"),
        settings_title=text("shared_settings"),
        settings=settings,
        until=text("shared_until", date=day_of(share.expires)),
    )
    return _FRAME.substitute(
        language=language, title=title, meta=_meta(share, base, title, texts["made"]), up=_UP, body=body
    )


def _meta(share: Share, base: str, title: str, description: str) -> str:
    """What chats show of a link: OpenGraph (https://ogp.me) and Twitter cards; both want whole addresses."""
    width, height = share.size
    link = html.escape(share_link(base, share))
    scale = min(1.0, 1200 / max(share.size))
    facts = {
        "og:type": "video.other",
        "og:site_name": "Tête-à-tête",
        "og:title": title,
        "og:description": description,
        "og:url": link,
        "og:image": f"{link}/{POSTER}",
        "og:image:type": "image/jpeg",
        "og:image:width": round(width * scale),
        "og:image:height": round(height * scale),
        "og:image:alt": title,
        "og:video": f"{link}/{CLIP}",
        "og:video:type": "video/mp4",
        "og:video:width": width,
        "og:video:height": height,
    }
    if link.startswith("https://"):
        facts["og:video:secure_url"] = f"{link}/{CLIP}"
    cards = {
        "twitter:card": "summary_large_image",
        "twitter:title": title,
        "twitter:description": description,
        "twitter:image": f"{link}/{POSTER}",
        "twitter:image:alt": title,
        "description": description,
    }
    lines = [f'<meta property="{name}" content="{value}">\n' for name, value in facts.items()]
    return "".join(lines + [f'<meta name="{name}" content="{value}">\n' for name, value in cards.items()])


def _shown(name: str, value: object, language: str) -> str:
    """A setting as people read it; unescaped."""
    if isinstance(value, bool):
        return say("shared_yes" if value else "shared_no", language)
    if (name, value) in _VALUES:
        return say(_VALUES[name, value], language)
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value} px" if name == "size" else str(value)


def _gone_page(language: str) -> str:
    return _notice_page("shared_gone", "shared_gone_why", language)


def _notice_page(title: str, why: str, language: str) -> str:
    """A page that says that there is nothing; its address may be of any depth, so its links start at the root."""
    words = {key: html.escape(say(key, language)) for key in (title, why, "shared_home") if key}
    body = f"<h1>{words[title]}</h1>\n<p>{words.get(why, '')}</p>\n"
    body += f'<p class="actions"><a class="button primary" href="/">{words["shared_home"]}</a></p>'
    return _FRAME.substitute(language=language, title=words[title], meta="", up="/", body=body)

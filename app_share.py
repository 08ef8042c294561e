"""Sharing on the page and over HTTP: the box under a finished clip, `share` and `unshare`, and opening a shared clip.

What is kept and for how long is `pipeline.sharing`'s affair, and the page that a link leads to is `app_share_page`'s.
`app.py` makes a `ShareBox`, attaches it to each mode, and launches with `share_options`.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import inspect
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.routing import BaseRoute

from app_limits import Rates
from app_look import choice_input
from app_modes import Mode
from app_share_page import day_of, public_url, share_link, share_routes
from app_texts import say, worded
from pipeline.errors import InputError, ShareError
from pipeline.sharing import Receipt, Share, Shares, open_shares
from pipeline.sharing.contents import ROLES

TIDY_SECONDS = 3600
_ADDRESS_SHARE = 5
"""An address may share so many times as often as one session: several people may sit behind it."""

_FILES = {"portrait": "portrait", "audio": "audio", "video": "video", "speaker_video": "video"}
"""The modes' parameters that are files, with the role that each has in a share."""

log = logging.getLogger("tete-a-tete")


def shares_of_environment() -> Shares | None:
    """Where the environment says that clips are shared; None, with a line in the log, where that is nowhere."""
    try:
        shares = open_shares()
    except ShareError as error:
        log.warning("Sharing is off: %s", error)
        return None
    if shares is None:
        log.info("sharing is off")
    return shares


def share_options(shares: Shares | None, routes: list[BaseRoute]) -> dict[str, Any]:
    """What `launch` needs for the pages of shared clips: their routes, their tidying, and no other way to the files.

    Args:
        shares: None for none.
        routes: others that the page has.
    """
    if shares is None:
        return {"app_kwargs": {"routes": routes}}

    async def tidy() -> None:
        while True:
            await asyncio.to_thread(shares.tidy)
            await asyncio.sleep(TIDY_SECONDS)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(tidy())
        yield
        task.cancel()

    return {
        "app_kwargs": {"routes": [*routes, *share_routes(shares)], "lifespan": lifespan},
        "blocked_paths": [str(shares.store.folder)],
    }


class ShareBox:
    """A link for the clip above it, made when asked for, and deleted when asked for.

    Args:
        shares: where clips are shared; None leaves the box away.
        whole_clip: the component whose value is the finished clip's file.
        language: the component whose value is the page's language.
    """

    def __init__(self, shares: Shares | None, whole_clip: Any, language: Any) -> None:
        self.shares = shares
        if shares is None:
            return
        self._language = language
        self._rates = Rates(shares.limits.per_hour), Rates(_ADDRESS_SHARE * shares.limits.per_hour)
        self._counting = threading.Lock()
        self._made_from = gr.State({})
        self._receipt = gr.State(None)
        self._kept = gr.Textbox(visible=False)
        with worded(gr.Accordion("", open=False, visible=False, elem_id="share"), label="share") as self._panel:
            with gr.Column() as self._form:
                worded(gr.HTML(elem_classes="hint"), value="share_note")
                offered = [(str(days), str(days)) for days in shares.limits.day_choices()]
                self._days = choice_input(offered, "share_days", str(shares.limits.default_days))
                worded(self._days, label="share_days", choices=self._day_texts)
                self._tick = worded(gr.Checkbox(False, elem_id="share-inputs"), label="share_inputs")
                make = worded(gr.Button(elem_id="share-make"), value="share_make")
            with gr.Column(visible=False) as self._done:
                self._link = gr.Textbox(interactive=False, buttons=["copy"], elem_id="share-link")
                worded(self._link, label="share_link")
                self._say = gr.HTML(elem_id="share-say", elem_classes="hint")
                delete = worded(gr.Button(variant="stop", elem_id="share-delete"), value="share_delete")
        self._shown = [self._panel, self._form, self._done, self._link, self._say, self._receipt, self._kept]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        asked = [whole_clip, self._made_from, self._days, self._tick, language]
        make.click(self._make, asked, self._shown, **quiet).success(None, self._kept, None, js=_KEEP)
        delete.click(self._delete, [self._receipt, language], self._shown, **quiet).success(
            None, self._kept, None, js=_DROP
        )
        self._serve()

    def attach(self, mode: Mode, work: Any) -> None:
        """Offer a link whenever `work`, the mode's event, has made a clip; whatever was offered before goes."""
        if self.shares is None:
            return
        names = list(inspect.signature(mode.request).parameters)
        files = [(name, one) for name, one in zip(names, mode.inputs, strict=True) if name in _FILES]

        def remember(*paths: str | None) -> tuple:
            kept = {_FILES[name]: path for (name, _), path in zip(files, paths, strict=True) if path}
            return kept, *self._offered(False)

        outputs = [self._made_from, *self._shown]
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        # What the clip is made from is what was there at the click, whatever is chosen while it is being made.
        mode.make.click(remember, [one for _, one in files], outputs, **quiet)
        work.success(lambda: self._offered(True), None, self._shown, **quiet)

    def open_shared(self, page: gr.Blocks, tabs: gr.Tabs, modes: list[Mode]) -> None:
        """Make `?share=ID` in the page's address bring a shared clip's settings, and inputs if they were shared."""
        if self.shares is None:
            return
        fields = list(dict.fromkeys(one for mode in modes for one in mode.inputs))
        opened = gr.State(None)

        def restore(share_id: str, language: str) -> list[Any]:
            share = self._look_up(share_id, language)
            # A page that was just opened is at its defaults. Gradio would make anew what is skipped or updated, and
            # the page's inputs have ways of their own that would go with it, so each gets a plain value.
            values = {one: one.value for one in fields}
            if share is None:
                return [gr.Tabs(), *values.values()]
            mode = next(mode for mode in modes if mode.request.__name__ == share.mode)
            values |= self._values(share, mode)
            gr.Info(say("share_opened" if share.inputs else "share_opened_bare", language))
            return [gr.Tabs(selected=share.mode), *values.values()]

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(lambda asked: asked, gr.Textbox(visible=False), opened, js=_ASKED, **quiet)
        opened.change(restore, [opened, self._language], [tabs, *fields], **quiet)

    def _look_up(self, share_id: str, language: str) -> Share | None:
        try:
            share = self.shares.find(share_id)
        except ShareError as error:
            gr.Warning(str(error))
            return None
        if share is None:
            gr.Warning(f"{say('shared_gone', language)}: {say('shared_gone_why', language)}")
        return share

    def _values(self, share: Share, mode: Mode) -> dict[Any, Any]:
        """The share's settings and inputs for the mode's components; what a component would not take is left out."""
        found = {}
        for name, component in zip(inspect.signature(mode.request).parameters, mode.inputs, strict=True):
            role = _FILES.get(name)
            if role in share.inputs:
                path = self.shares.file(share, share.inputs[role])
                # Gradio's own copy, which expires as an upload does; the share's file stays out of its reach.
                found[component] = path and component.move_resource_to_block_cache(path)
            elif name == "consent":
                continue  # nobody can give it for another, whatever a file says
            elif role is None and name in share.settings and _takes(component, share.settings[name]):
                found[component] = share.settings[name]
        return found

    # What the page asks for.

    def _make(
        self,
        clip: str | None,
        made_from: dict[str, str],
        days: str,
        tick: bool,
        language: str,
        request: gr.Request,
    ) -> list:
        receipt = self._share(clip, int(days), made_from if tick else {}, request, language)
        link = share_link(public_url(request.headers, request.url.scheme), receipt.share)
        private = html.escape(f"{link}#delete={receipt.secret}")
        words = [say("share_made", language, date=day_of(receipt.share.expires))]
        if receipt.share.inputs:
            words.append(say("share_with_inputs", language))
        visit = f'<a href="{private}" target="_blank">{html.escape(say("share_visit", language))}</a>'
        said = f"<p>{html.escape(' '.join(words))} {visit}</p>"
        keep = f"{receipt.share.id} {receipt.secret}"
        return [gr.skip(), gr.Column(visible=False), gr.Column(visible=True), link, said, receipt, keep]

    def _delete(self, receipt: Receipt | None, language: str) -> list:
        if receipt is not None:
            with _sentences(language):
                self.shares.remove(receipt.share.id, receipt.secret)
        gr.Info(say("share_deleted", language))
        return self._offered(True, forget=False)

    def _offered(self, visible: bool, forget: bool = True) -> list:
        """Updates of `_shown`: the form to make a link, with nothing of an earlier one."""
        panel = gr.Accordion(visible=visible)
        return [panel, gr.Column(visible=True), gr.Column(visible=False), "", "", None, "" if forget else gr.skip()]

    def _day_texts(self, language: str) -> list[tuple[str, str]]:
        days = self.shares.limits.day_choices()
        names = [say("share_day" if one == 1 else "share_more_days", language, days=one) for one in days]
        return [(name, str(one)) for name, one in zip(names, days, strict=True)]

    # What programs ask for.

    def _serve(self) -> None:
        """`share` and `unshare` for gradio_client and MCP."""
        files = [gr.File(visible=False, label=name) for name in ("clip", *ROLES)]
        days = gr.Number(self.shares.limits.default_days, precision=0, visible=False, label="days")
        inputs = [files[0], days, *files[1:]]
        gr.Button(visible=False).click(self.share, inputs, gr.JSON(visible=False), api_name="share")
        named = [gr.Textbox(visible=False, label=name) for name in ("link", "secret")]
        gr.Button(visible=False).click(self.unshare, named, gr.JSON(visible=False), api_name="unshare")

    def share(
        self,
        clip: str | None,
        days: int = 7,
        portrait: str | None = None,
        audio: str | None = None,
        video: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, str]:
        """Give a clip a link, under which whoever has it can watch the clip and see its settings.

        Args:
            clip: the MP4 file that talk, listen or reenact returned, unchanged.
            days: how long the link works, in whole days.
            portrait: the portrait, only if whoever opens the link may have it to make clips of their own.
            audio: the sound, only if whoever opens the link may have it.
            video: the driving video or the speaker's, only if whoever opens the link may have it.

        Returns:
            link, the page's address; id; secret, which deletes it and is told this once; expires, in UTC.
        """
        receipt = self._share(clip, days, {"portrait": portrait, "audio": audio, "video": video}, request)
        return {
            "link": share_link(public_url(request.headers, request.url.scheme), receipt.share),
            "id": receipt.share.id,
            "secret": receipt.secret,
            "expires": day_of(receipt.share.expires),
        }

    def unshare(self, link: str, secret: str) -> dict[str, str]:
        """Delete a shared clip, with all that is kept of it.

        Args:
            link: the link that share returned, or its id.
            secret: the secret that share returned.

        Returns:
            deleted: the id of what was deleted.
        """
        share_id = (link or "").strip().rstrip("/").split("/")[-1]
        with _sentences():
            self.shares.remove(share_id, (secret or "").strip())
        return {"deleted": share_id}

    def _share(
        self,
        clip: str | None,
        days: int,
        inputs: Mapping[str, str | None],
        request: gr.Request,
        language: str = "en",
    ) -> Receipt:
        with _sentences(language):
            paths = [path for path in (clip, *inputs.values()) if path]
            if not clip or not all(Path(path).is_file() for path in paths):
                raise ShareError("The clip is no longer kept here; make it once more, then share it.")
            now = time.monotonic()
            address = request.client.host if request.client else ""
            try:
                with self._counting:
                    for rates, who in zip(self._rates, (request.session_hash or address, address), strict=True):
                        rates.start(who, now)
            except InputError:
                raise ShareError("You have shared many clips within the hour; please come back in a while.") from None
            return self.shares.share(clip, days, inputs)


@contextlib.contextmanager
def _sentences(language: str = "en") -> Iterator[None]:
    """What a visitor can do something about as a sentence; the rest is logged."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), title=say("refused", language), print_exception=False) from error
    except Exception as error:
        log.exception("sharing failed")
        raise gr.Error(say("shared_failed_here"), title=say("refused", language), print_exception=False) from error


def _takes(component: Any, value: Any) -> bool:
    """Whether a component of the page may be given a value that came out of a file."""
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, (gr.Slider, gr.Number)):
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and (component.minimum is None or component.minimum <= value)
            and (component.maximum is None or value <= component.maximum)
        )
    return value in [choice[1] for choice in getattr(component, "choices", None) or []]


_ASKED = "() => new URLSearchParams(location.search).get('share')"
_KEEP = """(kept) => { const [id, secret] = kept.split(" ");
  try { localStorage.setItem("tete-share:" + id, secret); } catch (error) { /* the page itself still has it */ } }"""
_DROP = """(kept) => { try { localStorage.removeItem("tete-share:" + kept.split(" ")[0]); } catch (error) { } }"""

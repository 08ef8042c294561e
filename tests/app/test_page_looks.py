"""How the page looks and reads: on a phone, in the dark, in Chinese, from the keyboard, above the fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Server
from page_steps import fill_talk, playing
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
Files = dict[str, Path]

SAID = [
    "header h1", "header p", "#language label:not(.selected) span", "#language label.selected span", ".card.empty p",
    ".card.empty dd", ".card.empty li", "#make-talk", "#portrait-examples .label", "footer.terms p",
]  # fmt: skip
NAMELESS = """() => [...document.querySelectorAll('button, input:not([type=file]), select, a[href], summary')]
  .filter(e => e.offsetParent && e.getAttribute('aria-hidden') !== 'true' && e.tabIndex >= 0)
  .filter(e => !(e.getAttribute('aria-label') || e.title || e.innerText?.trim() || e.labels?.[0]?.innerText.trim()
    || e.getAttribute('aria-labelledby')))
  .map(e => e.outerHTML.slice(0, 160))"""
CONTRASTS = """(selectors) => {
  const rgba = text => { const m = text.match(/[\\d.]+/g).map(Number); return {c: m.slice(0, 3), a: m[3] ?? 1}; };
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour.a > 0.99) return colour.c;
    }
    return [255, 255, 255];
  };
  return Object.fromEntries(selectors.map(s => {
    const e = document.querySelector(s);
    const pair = [light(rgba(getComputedStyle(e).color).c), light(ground(e))];
    return [s, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
  }));
}"""


def scroll_width(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(
    server: Server, visit: Visit, files: Files, artefacts: Path, scheme: str
) -> None:
    server.fake.delay = 0.04
    page = visit(server.url, 360, 740, scheme)
    assert scroll_width(page) == 360
    page.screenshot(path=artefacts / f"phone-{scheme}.png", full_page=True)
    for tab in ("Listen", "To a video", "Follow a video", "Speak"):
        page.get_by_role("tab", name=tab).click()
        assert scroll_width(page) == 360
    fill_talk(page, files)
    page.get_by_role("button", name="Options").click()
    assert scroll_width(page) == 360
    page.click("#make-talk")
    page.wait_for_selector(".card.working")
    assert scroll_width(page) == 360
    playing(page)
    page.screenshot(path=artefacts / f"phone-{scheme}-done.png", full_page=True)
    assert scroll_width(page) == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(server: Server, visit: Visit, artefacts: Path, scheme: str) -> None:
    page = visit(server.url, scheme=scheme)
    page.screenshot(path=artefacts / f"desktop-{scheme}.png", full_page=True)
    contrasts = page.evaluate(CONTRASTS, SAID)
    for selector, contrast in contrasts.items():
        assert contrast >= 4.5, f"{selector} has a contrast of {contrast:.1f} in {scheme}"


def test_the_page_speaks_the_browsers_language_and_the_one_that_is_chosen(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    page = visit(server.url, locale="zh-CN")
    expect(page.locator("#make-talk")).to_have_text("让它说话")
    page.set_input_files("#portrait input[type=file]", files["side"])
    expect(page.locator(".look.bad b")).to_have_text("这张图片无法使用。")
    page.click("#make-talk")
    expect(page.locator(".card.refusal h3")).to_have_text("未能完成")
    page.screenshot(path=artefacts / "chinese.png", full_page=True)
    page.locator("#language label", has_text="English").click()
    expect(page.locator("#make-talk")).to_have_text("Make it speak")
    expect(page.locator("header p")).to_contain_text("One portrait and a voice")
    assert page.locator("#portrait img").count() == 1, "the switch lost the portrait"
    page.reload()
    page.wait_for_selector("#make-talk")
    expect(page.locator("header p")).to_contain_text("One portrait and a voice")
    assert page.evaluate("window.tete.language()") == "en"


def test_all_can_be_reached_and_named_from_the_keyboard(server: Server, visit: Visit) -> None:
    page = visit(server.url)
    page.wait_for_selector("#portrait-examples .gallery-item[aria-label='woman curls']")
    assert page.evaluate(NAMELESS) == []
    order = ["#language", "#portrait", "#portrait-examples", "#modes", "#voice", ".options", ".act"]
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        inside = page.evaluate("names => names.findLast(n => document.activeElement.closest(n)) || ''", order)
        if inside and inside not in reached:
            reached.append(inside)
        if page.evaluate("document.activeElement.id") == "make-talk":
            break
    assert page.evaluate("document.activeElement.id") == "make-talk"
    assert [name for name in reached if name != "#modes"] == [name for name in order if name != "#modes"]
    page.keyboard.press("Enter")
    expect(page.locator(".card.refusal")).to_contain_text("Add a portrait first")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_start_is_in_view_whatever_the_mode(server: Server, visit: Visit, width: int, height: int) -> None:
    page = visit(server.url, width, height)
    for tab, mode in (("Listen", "listen"), ("Follow a video", "reenact"), ("Speak", "talk")):
        page.get_by_role("tab", name=tab).click()
        box = page.locator(f"#make-{mode}").bounding_box()
        assert box is not None and box["y"] + box["height"] <= height, f"{mode} starts below the fold"

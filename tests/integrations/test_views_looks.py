"""The live page for whoever sees, prints or handles it otherwise: widths, colours, keys, paper."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import needs

from .serving import Service, Tab, admitted, axe, service_in

needs("playwright")
needs("uvicorn")

VIEWS = (
    *("#/", "#/tools", "#/tool/search", "#/tree", "#/trace/answer", "#/inflight", "#/workers"),
    *("#/errors", "#/alerts", "#/reports", "#/changes", "#/rank"),
)
WIDTHS = (400, 1280, 2000)
MANY = 20_000
VIOLATIONS = """async () => (await axe.run()).violations.map((one) =>
    [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))])"""
# What is inside of what scrolls by itself is as wide as it likes.
TOO_WIDE = """() => document.documentElement.scrollWidth > innerWidth
    && [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .map((one) => one.outerHTML.slice(0, 120))"""
FOCUSED = """() => {
    const one = document.activeElement, drawn = getComputedStyle(one);
    const isDrawn = drawn.outlineStyle !== "none" || drawn.boxShadow !== "none";
    const isSeen = one === document.body || isDrawn, box = one.getBoundingClientRect();
    return [one.outerHTML.slice(0, 100), isSeen || box.width < 2];
}"""


@pytest.fixture(scope="module")
def user(chromium: Any, service: Service) -> Iterator[Any]:
    with admitted(chromium, service, reduced_motion="reduce") as context:
        yield context


@pytest.fixture
def tab(user: Any, service: Service) -> Iterator[Tab]:
    """A tab in which nothing may go wrong."""
    found = Tab(user, service.home)
    yield found
    found.page.close()
    assert found.troubles == []


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_hinders_people(tab: Tab, colours: str) -> None:
    """No view has what axe-core knows to hinder people who see little or use no pointer."""
    source = axe()
    tab.page.emulate_media(color_scheme=colours)
    found = {}
    for address in VIEWS:
        page = tab.open_whole(address)
        page.evaluate(source)
        found[address] = page.evaluate(VIOLATIONS)
    assert not {k: v for k, v in found.items() if v}, json.dumps(found, indent=1)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_window(tab: Tab, width: int) -> None:
    """From a phone to a large screen nothing but a table by itself scrolls sideways."""
    tab.page.set_viewport_size({"width": width, "height": 900})
    for address in VIEWS:
        assert not tab.open_whole(address).evaluate(TOO_WIDE), address


def test_dark_is_dark_and_stays(tab: Tab) -> None:
    """The page follows the system, and its switch is kept where it was put."""
    background = "getComputedStyle(document.body).backgroundColor"

    def brightness() -> int:
        return max(map(int, re.findall(r"\d+", tab.page.evaluate(background))[:3]))

    tab.page.emulate_media(color_scheme="dark")
    tab.open_whole("#/")
    assert brightness() < 64
    tab.page.keyboard.press("t")
    assert brightness() > 192
    tab.page.reload()
    assert brightness() > 192


def test_keys_alone_lead_everywhere(tab: Tab) -> None:
    """Tab reaches every view's link, shows where it is, and Enter opens; Esc leads back."""
    page = tab.open_whole("#/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    links = page.locator("#nav a").count()
    reached = set()
    for _ in range(links + 20):
        page.keyboard.press("Tab")
        html, is_seen = page.evaluate(FOCUSED)
        assert is_seen, html
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
    wanted = {link.get_attribute("href") for link in page.locator("#nav a").all()}
    assert reached >= wanted
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**#/tools")
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("#/$"))


def test_paper_has_the_figures(tab: Tab) -> None:
    """Printed, what is folded is open: every chart's figures stand in its table."""
    page = tab.open_whole("#/tool/search")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="print")
    assert page.locator("#nav").is_hidden()
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("address", ["#/", "#/tool/search"])
def test_every_chart_has_its_table(tab: Tab, address: str) -> None:
    """What is drawn can be read, too."""
    page = tab.open_whole(address)
    charts = page.locator("figure.chart", has=page.locator("details.as-table:not([hidden])"))
    charts.first.wait_for()
    for chart in charts.all():
        chart.locator("details.as-table summary").click()
        chart.locator("table tbody tr").first.wait_for()
    others = page.locator("figure.chart:not(:has(details.as-table))")
    assert others.count() == 0


def test_twenty_thousand_tools(chromium: Any, tmp_path: Any) -> None:
    """All of them are there, found and sorted; the page stays as small as a screen."""
    with service_in(tmp_path) as service, admitted(chromium, service) as context:
        service.call("many", MANY)
        found = Tab(context, service.home)
        page = found.open("#/tools")
        page.get_by_text(f"{MANY + 1:,} tools").wait_for()
        page.keyboard.press("/")
        page.keyboard.type("tool_19999")
        page.get_by_role("link", name="tool_19999").wait_for()
        page.keyboard.press("Escape")
        for address in ("#/", "#/tree", "#/workers"):
            found.open_whole(address)
        assert page.evaluate("document.querySelectorAll('*').length") < 5_000
        page.close()
        assert found.troubles == []

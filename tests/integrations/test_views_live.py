"""The live page in a real browser, of a real session: what is called is seen, found, opened."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import needs

from .serving import Service, Tab, admitted

needs("playwright")
needs("uvicorn")

MARKUP = "<script>alert(1)</script>"
LONG = "long_" + "n" * 9_995
TABS = 10
# More than the addresses of a tool's row: each shows something of its own.
ADDRESSES = (
    *("#/", "#/tools", "#/tool/search", "#/tree", "#/trace/answer", "#/inflight", "#/workers"),
    *("#/errors", "#/alerts", "#/reports", "#/changes", "#/rank", "#/nowhere"),
)


@pytest.fixture
def tab(chromium: Any, service: Service) -> Iterator[Tab]:
    """A tab at the overview; nothing may go wrong in it."""
    with admitted(chromium, service) as context:
        found = Tab(context, service.home)
        found.open()
        yield found
        found.page.close()
        assert found.troubles == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_views_open_without_an_error(tab: Tab, address: str) -> None:
    """Each view has a heading and content of its own, and nothing goes wrong beside it."""
    page = tab.open_whole(address)
    assert page.locator("#main .failed").count() == 0


def test_a_call_is_seen_without_a_reload(tab: Tab, service: Service) -> None:
    """The table of tools counts on by itself."""
    page = tab.open("#/tools")
    before = service.place.stats()["tool_stats"]["answer"]["count"]
    service.call("answer", 3)
    page.get_by_role("row", name="answer").get_by_text(str(before + 3), exact=True).wait_for()


def test_from_a_tool_to_the_story_of_its_slowest_call(tab: Tab) -> None:
    """Search, open the tool, its slowest call, and see the child that took the time."""
    page = tab.open("#/tools")
    page.keyboard.press("/")
    page.keyboard.type("answ")
    page.get_by_role("link", name="answer", exact=True).first.click()
    page.wait_for_selector("h1:has-text('answer')")
    slowest = page.get_by_role("region", name="Slowest calls")
    slowest.locator("a[href^='#/trace/']").first.click()
    page.wait_for_url("**#/trace/*")
    page.get_by_text("rank").first.wait_for()


@pytest.mark.parametrize(
    "address", ["#/trace/0123456789abcdef", "#/trace/nobody", "#/reports/none"]
)
def test_what_is_not_kept_is_said_in_the_page_alone(tab: Tab, address: str) -> None:
    """An old link leads to a line that says so, and to no error in the browser's console."""
    page = tab.open(address)
    page.get_by_role("alert").get_by_text(re.compile("^no (call|report) ")).wait_for()


def test_a_click_into_the_flame_graph_leads_to_a_tool(tab: Tab) -> None:
    """A bar that is clicked fills the width; the way back stands above."""
    page = tab.open("#/tree")
    page.get_by_role("button", name="Flame graph").click()
    page.locator("#main").get_by_text("search", exact=True).first.click()
    page.get_by_role("navigation", name="Zoomed into").get_by_text("search").wait_for()
    page.get_by_role("navigation", name="Zoomed into").get_by_text("all calls").click()


def test_what_hangs_is_on_the_page_of_calls_in_flight(tab: Tab) -> None:
    """The oldest open call, its thread's tool and its age, without a click."""
    page = tab.open("#/inflight")
    page.get_by_role("link", name="deliver").first.wait_for()


@pytest.mark.parametrize("tool", [MARKUP, LONG])
def test_odd_names_are_text(tab: Tab, tool: str) -> None:
    """Markup in a name is never run, a long one leaves the page as wide as it was."""
    tab.page.on("dialog", lambda dialog: tab.troubles.append(dialog.message))
    for address in ("#/", "#/tools", "#/tree", "#/tool/" + quote(tool, safe="")):
        page = tab.open(address)
        page.locator("#main").get_by_text(tool[:30]).first.wait_for()
        assert page.locator("#main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_lives_through_the_end_of_a_collector(tab: Tab, service: Service) -> None:
    """A collector that is killed and followed by another is no trouble to who looks on."""
    page = tab.open("#/tools")
    page.get_by_text("live", exact=True).wait_for()
    before = service.place.stats()["tool_stats"]["answer"]["count"]
    os.kill(service.place.collector_pid(), signal.SIGKILL)
    service.call("answer", 3)
    page.get_by_role("row", name="answer").get_by_text(str(before + 3), exact=True).wait_for()
    page.get_by_text("live", exact=True).wait_for()


def test_ten_tabs_follow_by_one_subscription(chromium: Any, service: Service) -> None:
    """A browser has six connections to a server: tabs share one, and the next one takes over."""
    followed: list[str] = []
    with admitted(chromium, service) as context, ExitStack() as closing:
        context.on(
            "request", lambda asked: followed.append(asked.url) if "/events" in asked.url else None
        )
        tabs = [Tab(context, service.home) for _ in range(TABS)]
        for one in tabs:
            closing.callback(one.page.close)
            one.open("#/tools").get_by_text("live", exact=True).wait_for()
        assert len(followed) == 1
        tabs.pop(0).page.close()
        before = service.place.stats()["tool_stats"]["answer"]["count"]
        service.call("answer", 3)
        for one in tabs:
            row = one.page.get_by_role("row", name="answer")
            row.get_by_text(str(before + 3), exact=True).wait_for()
        assert len(followed) == 2
        assert [one.troubles for one in tabs] == [[]] * len(tabs)

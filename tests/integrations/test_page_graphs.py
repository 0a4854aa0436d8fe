"""The page's drawings, in a real browser: widths add up, recursion ends, lanes hold their calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support import needs

from .browsing import opened_page, served
from .pages import look_of, page_in

needs("playwright")

Edge = dict[str, Any]


def edge(parent: str | None, tool: str, calls: int, total: float, own: float) -> Edge:
    """An edge of the call tree; times in seconds."""
    return {
        "parent": parent,
        "tool": tool,
        "calls": calls,
        "total_ns": round(total * 1e9),
        "own_ns": round(own * 1e9),
    }


# Two callers of one tool, a tool below itself, children that ran at once, one that is open.
EDGES = [
    edge(None, "answer", 2, 10.0, 1.0),
    edge(None, "nightly", 1, 4.0, 1.0),
    edge("answer", "search", 4, 9.0, 3.0),
    edge("nightly", "search", 1, 3.0, 1.0),
    edge("search", "embed", 10, 8.0, 8.0),
    edge(None, "walk", 1, 4.0, 1.0),
    edge("walk", "walk", 3, 6.0, 3.0),
    edge(None, "gather", 1, 1.0, 0.0),
    edge("gather", "fetch", 5, 5.0, 5.0),
    edge("waiting", "poll", 3, 1.0, 1.0),
]


def call(number: int, start: float, took: float | None, *below: dict[str, Any], **more: Any) -> Any:
    """A call of a story; seconds since the topmost one began."""
    return {
        "id": f"{number:016x}",
        "tool": f"tool{number}",
        "parent": None,
        "start_s": 1_700_000_000.0 + start,
        "duration_s": took,
        "status": "ok",
        "err": None,
        "params": None,
        "pid": None,
        "offset_s": start,
        "own_s": took,
        "gaps": [],
        "children": list(below),
        **more,
    }


def told() -> dict[str, Any]:
    """A story: a child that took most, one that failed, thousands of small ones."""
    small = [call(n, 6 + n / 5000, 0.0001) for n in range(10, 9000)]
    top = call(
        1,
        0,
        10,
        call(2, 0, 5.5, params='{"text":"<b>slow</b>"}'),
        call(3, 5.6, 0.2, status="error", err="ValueError"),
        *small,
        pid=7,
    )
    return {
        "trace": top["id"],
        "above": ["serve", "route"],
        "kept_with_it": True,
        "truncated": False,
        "culprit": {"path": ["tool2"], "calls": 1, "open": 0, "time_s": 5.5, "share": 0.55},
        "call": top,
    }


def run_report(**more: Any) -> dict[str, Any]:
    """An optimization report with a piece of advice, and a tool that has become slower."""
    advice = [
        {
            "kind": "cache",
            "tool": "fetch",
            "text": "`fetch`: 9 of 10 calls repeat one. <b>bold</b>",
            "saves_s": 6.5,
            "evidence": {"calls": 10, "total_s": 7.25, "most_repeated": [{"params": "<i>"}]},
        },
        {"kind": "limit", "tool": "", "text": "nothing", "saves_s": None, "evidence": {}},
    ]
    tool = {
        "count": 10,
        "p50_ms": 2.0,
        "p95_ms": 3.0,
        "p99_ms": None,
        "errors": 1,
        "aborted": 0,
        "own_s": 7.0,
        "own_share": 0.7,
        "memory_mb": None,
        "cpu_percent": None,
        "change": {"p50": 0.25, "p95": None, "error_rate": 0.1},
    }
    return {
        "schema": 1,
        "trigger": "manual",
        "started": "2026-11-29T02:18:08+00:00",
        "ended": "2026-11-29T02:18:11+00:00",
        "ended_by": "calls",
        "calls": 1000,
        "unseen": 0,
        "note": "",
        "previous": "20261128T000000Z",
        "tools": {"fetch": tool, "new": {**tool, "change": None}},
        "edges": [{"parent": None, "tool": "fetch", "calls": 10, "total_s": 7.0}],
        "slowest": [],
        "errors": [{"tool": "fetch", "status": "error", "err": "KeyError", "count": 1}],
        "advice": advice,
        **more,
    }


def compared(verdict: str, ratio: float | None, low: float | None, high: float | None) -> Any:
    """A tool on both sides of a comparison."""
    side = {"calls": 100, "p50_s": 0.1, "p95_s": 0.2, "p99_s": 0.3, "errors": 0, "error_rate": 0.0}
    change = None if ratio is None else {"ratio": ratio, "low": low, "high": high}
    changes = {"p50": change, "p95": change, "p99": None, "error_rate": None}
    return {
        "a": None if verdict == "new" else side,
        "b": side,
        "change": changes,
        "verdict": verdict,
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page that holds all of this, at its call tree."""
    directory = tmp_path_factory.mktemp("page")
    name = "20261129T021811Z"
    parts = {
        "tree": EDGES,
        "trace/tool1": told(),
        "reports": [name],
        f"reports/{name}": run_report(),
    }
    changed = {
        "quick": compared("faster", 0.5, 0.4, 0.6),
        "few": compared("unsure", 1.5, None, 3.0),
        "fresh": compared("new", None, None, None),
        "slow": compared("slower", 1.2, 1.17, 1.23),
    }
    page_in(directory, parts, look_of(), changes={"against": "/srv/before", "tools": changed})
    with served(directory) as address, opened_page(f"{address}/index.html#/tree") as page:
        yield page


def frames(page: Any, edges: list[Edge], path: tuple[str, ...] = (), least: float = 0.001) -> Any:
    """The frames of a call tree as they are laid out, each with the path that leads to it."""
    return page.evaluate(
        """([edges, path, least]) => {
            const { graphOf, layout, pathOf } = shmperf.flame;
            return layout(graphOf(edges), path, least).frames.map((frame) => ({
                ...frame,
                path: pathOf(frame).join(" "),
                above: frame.above && pathOf(frame.above).join(" "),
            }));
        }""",
        [edges, list(path), least],
    )


def by_path(found: Any) -> dict[str, Any]:
    return {frame["path"]: frame for frame in found}


def test_widths_add_up(page: Any) -> None:
    """What stands below a bar is no wider than it, side by side, and what is left is own time."""
    found = by_path(frames(page, EDGES))
    for path, frame in found.items():
        below = sorted(
            (one for one in found.values() if one["above"] == path), key=lambda one: one["x"]
        )
        assert sum(one["width"] for one in below) <= frame["width"] + 1e-9
        at = frame["x"]
        for one in below:
            assert one["x"] == pytest.approx(at)
            at += one["width"]
    search = found["answer search"]
    left = search["width"] - found["answer search embed"]["width"]
    assert left / search["width"] == pytest.approx(search["own_ns"] / search["total_ns"])


def test_a_tool_below_two_callers_takes_its_children_along(page: Any) -> None:
    """Each caller has the part of the children's time that its calls spent in them; no more."""
    found = by_path(frames(page, EDGES))
    shares = [found[f"{caller} search embed"]["total_ns"] for caller in ("answer", "nightly")]
    assert shares == [pytest.approx(6e9), pytest.approx(2e9)]
    assert found["answer search embed"]["isShared"]
    assert not found["answer search"]["isShared"]


def test_recursion_ends(page: Any) -> None:
    """A tool below itself is told to be so, and has nothing below; circles of several, too."""
    found = by_path(frames(page, EDGES))
    assert found["walk walk"]["isAgain"]
    assert "walk walk walk" not in found
    circle = [edge(None, "a", 1, 3, 1), edge("a", "b", 1, 2, 1), edge("b", "a", 1, 1, 1)]
    assert list(by_path(frames(page, circle))) == ["", "a", "a b", "a b a"]
    alone = [edge("a", "b", 1, 2, 1), edge("b", "a", 1, 1, 1)]
    assert {"a", "a b"} <= {*by_path(frames(page, alone))}


def test_children_at_once_fill_their_caller(page: Any) -> None:
    """Five seconds of children within one second stand in that second's width."""
    found = by_path(frames(page, EDGES))
    assert found["gather fetch"]["width"] == pytest.approx(found["gather"]["width"])
    assert found["gather fetch"]["total_ns"] == 5e9


def test_a_caller_that_has_not_ended_is_there(page: Any) -> None:
    """What it called is seen below it, though it has no time of its own yet."""
    found = by_path(frames(page, EDGES))
    assert found["waiting"]["isOpen"]
    assert found["waiting poll"]["total_ns"] == 1e9


def test_zooming_makes_a_bar_as_wide_as_the_drawing(page: Any) -> None:
    """Those above it, too; and nothing beside."""
    found = frames(page, EDGES, ("answer", "search"))
    assert [one["width"] for one in found] == [1, 1, 1, pytest.approx(2 / 3)]
    assert frames(page, EDGES, ("nowhere", "search"))[0]["path"] == ""


def test_what_is_too_narrow_is_counted(page: Any) -> None:
    """Of 20,000 tools those are drawn that can be seen; of the others there is a number."""
    wide = edge(None, "wide", 1, 1e6, 1e6)
    found = frames(
        page, [wide, *(edge(None, f"tool{n}", 1, 1, 1) for n in range(20_000))], (), 1e-3
    )
    assert [one["path"] for one in found] == ["", "wide"]
    assert found[0]["narrower"] == 20_000


def test_many_paths_through_few_tools_are_bounded(page: Any) -> None:
    """Layers that call each other everywhere have more paths than anybody could draw."""
    layers = [
        edge(f"{layer}-{a}", f"{layer + 1}-{b}", 1, 100 - layer, 0)
        for layer in range(60)
        for a in range(4)
        for b in range(4)
    ]
    found = frames(page, [*(edge(None, f"0-{a}", 1, 400, 0) for a in range(4)), *layers])
    assert 100 < len(found) <= 2500


def test_a_click_zooms_and_another_one_leaves(page: Any) -> None:
    """The trail above says where one is; a second click on the same bar goes back."""
    page.evaluate("location.hash = '#/'")
    page.evaluate("location.hash = '#/tree'")
    page.locator(".frame", has_text="search").first.click()
    assert page.locator(".crumbs li").all_inner_texts() == ["all calls", "answer", "search"]
    page.locator(".frame", has_text="search").first.click()
    assert page.locator(".crumbs li").all_inner_texts() == ["all calls", "answer"]
    page.keyboard.press("Escape")
    assert page.locator(".crumbs li").count() == 1


def test_the_tree_is_walked_by_keys(page: Any) -> None:
    """Arrows move from bar to bar, enter zooms, and what has the focus is told below."""
    page.evaluate("location.hash = '#/'")
    page.evaluate("location.hash = '#/tree'")
    page.locator(".frame[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator(".details .told").inner_text().strip() == "search"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("search:")
    assert page.locator(".crumbs li").count() == 3


def bars(page: Any, top: dict[str, Any], now_s: float = 0) -> list[dict[str, Any]]:
    """The bars of a call's timeline, each with its caller's id."""
    found: list[dict[str, Any]] = page.evaluate(
        """([text, now]) => shmperf.timeline.lanesOf(JSON.parse(text), now).bars.map((bar) => ({
            call: bar.call.id, above: bar.above && bar.above.call.id, pid: bar.pid,
            from: bar.from, to: bar.to, lane: bar.lane, row: bar.row }))""",
        [json.dumps(top), now_s],
    )
    return found


def assert_rows_hold(found: list[dict[str, Any]]) -> None:
    """No two bars of a row overlap, and each stands below its caller where they share a lane."""
    by_id = {bar["call"]: bar for bar in found}
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for bar in found:
        rows.setdefault((bar["lane"], bar["row"]), []).append(bar)
        above = by_id.get(bar["above"])
        if above is not None and above["lane"] == bar["lane"]:
            assert bar["row"] > above["row"]
    for row in rows.values():
        row.sort(key=lambda bar: (bar["from"], bar["to"]))
        for one, other in pairwise(row):
            assert one["to"] <= other["from"]


def test_lanes_are_workers_and_rows_hold_no_two_at_once(page: Any) -> None:
    """A child without a known worker stands in its caller's lane; another's in one of its own."""
    top = call(
        1,
        0,
        10,
        call(2, 1, 4, call(4, 2, 2), call(5, 2, 2)),
        call(3, 3, 4),
        call(6, 7, 2, pid=8),
        pid=7,
    )
    found = bars(page, top)
    assert [bar["pid"] for bar in found] == [7, 7, 7, 8, 7, 7]
    assert [(bar["lane"], bar["row"]) for bar in found][:4] == [(0, 0), (0, 1), (0, 4), (1, 0)]
    assert_rows_hold(found)


def test_an_open_call_runs_to_the_edge(page: Any) -> None:
    """Until now; one that nobody timed takes no time, whatever comes after it."""
    below = call(2, 4, None, status="open"), call(3, 1, None, status="error")
    found = bars(page, call(1, 0, None, *below, status="open"), 9)
    assert [(bar["from"], bar["to"]) for bar in found] == [(0, 9), (4, 9), (1, 1)]


def test_ten_thousand_calls_have_their_places(page: Any) -> None:
    """Side by side, at once, and deep: rows hold, and it is done before one notices."""
    wide = [call(n, n / 1000, 0.0009) for n in range(2, 4000)]
    at_once = [call(n, 5, 1 + n / 10_000) for n in range(4000, 7000)]
    deep = call(9999, 9, 1)
    for number in range(9998, 9798, -1):
        deep = call(number, 9, 1, deep)
    assert_rows_hold(bars(page, call(1, 0, 10, *wide, *at_once, deep)))


@pytest.fixture
def story(page: Any) -> Any:
    """The page at one call's story."""
    page.evaluate("location.hash = '#/'")
    page.evaluate("location.hash = '#/trace/tool1'")
    page.locator(".verdict").wait_for()
    return page


def test_the_story_says_what_took_most(story: Any) -> None:
    """In its first lines: the tool, its share, and how many calls that were."""
    told = story.locator(".verdict").inner_text().replace("\u00a0", " ")
    assert told == "Most of its time: tool2 (55 %, 5.5 s, 1 call)"
    assert "below serve › route" in story.locator("main").inner_text()


def test_the_timeline_is_walked_by_keys(story: Any) -> None:
    """Down to what was called, on to what began next; the chosen one is told, text as text."""
    timeline = story.locator(".timeline")
    timeline.focus()
    story.keyboard.press("Home")
    story.keyboard.press("ArrowDown")
    assert "tool2" in story.locator(".details .told").inner_text()
    assert "<b>slow</b>" in story.locator(".details").inner_text()
    story.keyboard.press("ArrowRight")
    assert "✕ error ValueError" in story.locator(".details .told").inner_text()
    assert "ValueError" in timeline.get_attribute("aria-label")


def test_a_row_of_the_table_chooses_its_call(story: Any) -> None:
    """Thousands of rows, of which those are there that can be seen."""
    story.locator(".rows tbody tr").nth(2).click()
    assert "tool3" in story.locator(".details .told").inner_text()
    assert story.locator(".rows tbody tr").count() < 200
    assert story.locator(".rows table").get_attribute("aria-rowcount") == "8994"


def test_thousands_of_calls_are_drawn_within_frames(story: Any) -> None:
    """What is drawn at a zoom, and where a click leads, are the same calls."""
    box = story.locator(".timeline canvas").bounding_box()
    story.keyboard.press("0")
    story.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + 22 + 18 + 30)
    assert "tool2" in story.locator(".details .told").inner_text()


def at(page: Any, address: str) -> str:
    """What the page says at an address, on one line."""
    page.evaluate("location.hash = '#/nowhere'")
    page.locator(".view-none").wait_for()
    page.evaluate("(hash) => { location.hash = hash; }", address)
    page.locator(".view-none").wait_for(state="detached")
    page.locator("[aria-busy]").first.wait_for(state="detached")
    text: str = page.locator("main").inner_text()
    return " ".join(text.split())


def test_a_report_says_first_what_to_do(page: Any) -> None:
    """And what it saves; then what has changed, and the evidence, each text as text."""
    text = at(page, "#/reports")
    assert text.index("What to do") < text.index("Since the report before") < text.index("Tools")
    assert "saves up to 6.5 s" in text
    assert "fetch: 9 of 10 calls repeat one. <b>bold</b>" in text
    assert "+25 %" in text
    assert "+10.0 points" in text
    assert "1 tool is not in it" in text
    # What the page does not hold has no link.
    assert page.locator("a", has_text="20261128T000000Z").count() == 0
    page.locator("summary", has_text="evidence").first.click()
    assert "7.25 s" in page.locator(".advice dl").first.inner_text().replace("\u00a0", " ")


def test_a_report_that_is_not_there_is_told_in_its_place(page: Any) -> None:
    """With the list of those that are."""
    assert "The report does not have this" in at(page, "#/reports/20200101T000000Z")
    assert page.locator("nav.reports a").count() == 1


def test_changes_are_told_with_their_doubt(page: Any) -> None:
    """What is sure comes first; an interval without an end is said to be so."""
    text = at(page, "#/changes")
    rows = page.locator(".rows tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["slow", "quick", "few", "fresh"]
    assert "against /srv/before" in text
    said = page.locator(".rows tbody .unseen").all_text_contents()
    assert said[0].replace("\u00a0", " ") == "+20 % (+17 % to +23 %)"
    assert said[4].replace("\u00a0", " ") == "+50 % (? to +200 %)"


def test_a_report_asks_no_tool_store(page: Any) -> None:
    """Ranking needs a server: in a file it is no view, and its address says what is missing."""
    assert page.locator("#nav a", has_text="Rank").count() == 0
    assert page.locator("#nav a", has_text="What changed").count() == 1
    assert "The report does not have this" in at(page, "#/rank/find%20things")


def test_a_search_says_which_part_of_the_time_matches(page: Any) -> None:
    """Of what is shown: zoomed in, of less; a tool below one that matches counts once."""
    at(page, "#/tree")
    page.locator("input[type=search]").fill("SEARCH")
    said = page.locator(".panel [role=status]")
    # Of the 20 s of all roots 12 are searches.
    assert said.inner_text().replace("\u00a0", " ") == "“SEARCH” takes 60 % of what is shown."
    assert page.locator(".frame.match").count() == 2
    page.locator(".frame", has_text="answer").first.click()
    assert said.inner_text().replace("\u00a0", " ") == "“SEARCH” takes 90 % of what is shown."
    page.locator("input[type=search]").fill("")
    assert page.locator(".frame.match").count() == 0


def test_an_address_leads_to_where_a_tool_is_widest(page: Any) -> None:
    """Zoomed in there; one that is nowhere shows all."""
    at(page, "#/tree/embed")
    assert page.locator(".crumbs li").all_inner_texts() == [
        "all calls",
        "answer",
        "search",
        "embed",
    ]
    at(page, "#/tree/nothing")
    assert page.locator(".crumbs li").count() == 1


def test_the_whole_of_an_open_call_stays_in_sight(page: Any) -> None:
    """While it grows the drawing grows with it; what one has zoomed into stays."""
    found = page.evaluate(
        """(text) => {
            const timeline = new shmperf.timeline.Timeline(() => null);
            document.body.append(timeline.element);
            const ends = [];
            for (const [now, times] of [[5, 1], [9, 1], [9, 3], [12, 1]]) {
                timeline.show(JSON.parse(text), now);
                timeline.zoom(times);
                ends.push(timeline.view.to);
            }
            timeline.close();
            timeline.element.remove();
            return ends;
        }""",
        json.dumps(call(1, 0, None, status="open")),
    )
    assert found == [5, 9, 6, 6]

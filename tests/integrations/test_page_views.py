"""The page's tables and looks, in a real browser: many rows, odd names, keys alone, news."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import needs

from .browsing import opened_page, served
from .pages import look_of, page_in, tool_look

needs("playwright")

MANY = 20_000
MARKUP = "<script>document.title = 'taken'</script>"
LONG = "long_" + "n" * 9_995
TOOLS = [
    *(tool_look(f"tool_{n:05}", count=n, own_share=n / MANY**2) for n in range(MANY)),
    tool_look(MARKUP, count=30_000, own_share=0.3),
    tool_look(LONG, count=40_000, own_share=0.4),
]
OPEN = [
    {
        "id": f"{n:016x}",
        "tool": tool,
        "pid": 7,
        "parent": f"{n - 1:016x}" if n > 1 else None,
        "started": 1_699_999_900.0 + n,
        "running_s": 100.0 - n,
    }
    for n, tool in enumerate(["nightly", "load", "read"], start=1)
]
WORKER = {"pid": 7, "memory_bytes": 1 << 20, "cpu_percent": 0.0, "threads": 1}
LOOK = look_of(
    tools=TOOLS,
    open=OPEN,
    in_flight=3,
    workers=[WORKER | {"doing": OPEN[0]["id"], "in_flight": 3}],
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    directory = tmp_path_factory.mktemp("page")
    page_in(directory, {"errors": []}, LOOK)
    with served(directory) as address, opened_page(f"{address}/index.html") as page:
        yield page


@pytest.fixture
def page(opened: Any) -> Any:
    """A page at its table of all tools, as if just opened."""
    opened.goto(opened.url.partition("#")[0] + "#/tools")
    opened.reload()
    opened.wait_for_selector(".rows tbody tr[aria-rowindex]")
    return opened


def names(page: Any) -> list[str]:
    """The tools in the rows that are there, from above."""
    cells = page.locator(".rows tbody td[data-column=tool]")
    return [str(name) for name in cells.all_inner_texts()]


def test_of_many_rows_those_in_sight_are_there(page: Any) -> None:
    """A table of twenty thousand rows is as large as a screen, and says how many it has."""
    assert len(names(page)) < 100
    assert page.get_attribute(".rows table", "aria-rowcount") == str(len(TOOLS) + 1)
    page.eval_on_selector(".rows", "rows => { rows.scrollTop = rows.scrollHeight; }")
    page.wait_for_function("() => document.querySelector(`.rows [aria-rowindex='20003']`) !== null")
    assert len(names(page)) < 100


def test_a_heading_sorts_and_turns_the_order(page: Any) -> None:
    """Figures begin with the greatest; again, and the least is first; what is sorted by is told."""
    heading = page.locator("th", has_text="Calls").first
    heading.locator("button").click()
    assert names(page)[:3] == [LONG[:79] + "…", MARKUP, "tool_19999"]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert names(page)[:2] == ["tool_00000", "tool_00001"]
    assert heading.get_attribute("aria-sort") == "ascending"


def test_rows_are_found_as_one_types(page: Any) -> None:
    """Each key narrows the rows; how many there are is said; Esc shows all again."""
    page.keyboard.press("/")
    page.keyboard.type("TOOL_1234")
    assert names(page) == [f"tool_1234{n}" for n in range(9, -1, -1)]
    assert page.inner_text(".tallied") == "10 of 20,002"
    page.keyboard.type("zzz")
    assert page.inner_text(".table .empty") == "Nothing has this in it."
    page.keyboard.press("Escape")
    assert page.inner_text(".tallied") == "20,002 tools"


def test_keys_alone_open_a_tool_and_come_back(page: Any) -> None:
    """From the search to a row, down, into it and out again without a pointer."""
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.innerText.split('\\t')[0].trim()") == MARKUP
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.ariaRowIndex") == "20003"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1")
    assert page.inner_text("h1") == MARKUP
    page.keyboard.press("Escape")
    page.wait_for_selector(".view-tools")


def test_names_are_text_and_cut(page: Any) -> None:
    """Markup in a name is shown, never run; of a long name the page tells where the whole is."""
    assert page.title() == "Tools · shmperf"
    assert page.locator(".rows tbody script").count() == 0
    shown = page.locator("[data-column=tool] bdi").first
    assert len(shown.inner_text()) <= 80
    assert shown.get_attribute("title") == LONG
    shown.click()
    page.wait_for_selector("details.whole")
    page.locator("details.whole summary").first.click()
    assert page.inner_text("details.whole pre") == LONG
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_a_report_does_not_have_is_told_in_its_place(page: Any) -> None:
    """A part that can't be had leaves the others as they are; all errors have those of a tool."""
    page.goto(page.url.partition("#")[0] + "#/tool/tool_00007")
    page.wait_for_selector("section[aria-label='Slowest calls'] .empty")
    assert "The report does not have this" in page.inner_text("section[aria-label='Slowest calls']")
    assert "No call has failed." in page.inner_text("section[aria-label=Errors]")
    assert page.inner_text("h1") == "tool_00007"


FAILING = """async () => {
    const place = shmperf.h("div"), answers = [new Error("no such thing"), ["there"]];
    document.body.append(place);
    const ask = async () => {
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer;
    };
    await shmperf.load(place, ask, (rows) => rows.map((row) => shmperf.h("p", null, row)))();
    const told = place.querySelector("[role=alert] p").textContent;
    place.querySelector("button").click();
    await new Promise((resolve) => setTimeout(resolve));
    const found = place.textContent;
    place.remove();
    return [told, found];
}"""


def test_what_went_wrong_can_be_tried_again(page: Any) -> None:
    """A failure stands where the answer would; the next try shows it."""
    assert page.evaluate(FAILING) == ["no such thing", "there"]


def test_a_worker_shows_the_chain_that_it_is_in(page: Any) -> None:
    """What hangs is the innermost call: its callers stand before it."""
    page.goto(page.url.partition("#")[0] + "#/workers")
    page.wait_for_selector("[data-column=doing]")
    assert page.text_content("td[data-column=doing]") == "nightly › load › read"
    assert page.inner_text("[data-column=since]") == "1 min 37 s"


MERGED = """([last, news]) => {
    const found = shmperf.merged(last, news);
    return Object.fromEntries(found.tools.map((tool) => [tool.tool, tool.count]));
}"""


def test_looks_are_merged(page: Any) -> None:
    """Tools that were not sent again stay; a whole look leaves nothing of the one before."""
    last = look_of(tools=[tool_look("a", count=1), tool_look("b", count=2)])
    news = look_of(tools=[tool_look("b", count=3), tool_look("c", count=4)])
    assert page.evaluate(MERGED, [last, news | {"whole": False}]) == {"a": 1, "b": 3, "c": 4}
    assert page.evaluate(MERGED, [last, news | {"whole": True}]) == {"b": 3, "c": 4}
    assert page.evaluate(MERGED, [None, news | {"whole": False}]) == {"b": 3, "c": 4}


REFRESHED = """async ([before, after]) => {
    const place = shmperf.h("div"), answers = [before, after];
    document.body.append(place);
    const again = shmperf.load(place, async () => answers.shift(), (calls) => calls.map((call) =>
        shmperf.h("details", { "data-key": call }, shmperf.h("summary", null, call))));
    await again();
    place.querySelector("[data-key=b]").open = true;
    place.querySelector("[data-key=b] summary").focus();
    await again();
    const found = [...place.children].map((one) => [one.dataset.key, one.open]);
    const focused = document.activeElement.textContent;
    place.remove();
    return [found, focused];
}"""


def test_what_one_unfolded_stays_so(page: Any) -> None:
    """New figures neither fold what is being read nor take the focus from it."""
    found, focused = page.evaluate(REFRESHED, [["a", "b"], ["c", "b", "a"]])
    assert found == [["c", False], ["b", True], ["a", False]]
    assert focused == "b"


FIGURES = """(figures) => figures.map(([name, value]) => shmperf.format[name](value))"""


def test_figures_have_three_digits(page: Any) -> None:
    """Figures are as in a terminal; what nobody knows is a dash, never NaN."""
    asked = [
        ["duration", 0.0012345],
        ["duration", 1e-9],
        ["duration", 1234.5],
        ["duration", None],
        ["age", 3723],
        ["brief", 12_345],
        ["count", 12_345],
        ["percent", 0.0312],
        ["percent", 1],
        ["bytes", 1536],
        ["rate", None],
    ]
    found = [text.replace("\u00a0", " ") for text in page.evaluate(FIGURES, asked)]
    assert found == [
        *("1.23 ms", "1 ns", "1,235 s", "–", "1 h 2 min", "12.3 k"),
        *("12,345", "3.1 %", "100 %", "1.5 KiB", "–"),
    ]

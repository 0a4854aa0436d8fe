"""The benchmark: its figures' form, what counts as met, the chart and the README's table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from time import thread_time_ns

import pytest

from bench import overhead
from bench.__main__ import _in_half
from bench.catalogue import Catalogue, Query, Tool
from bench.choosing import Plan, choose
from bench.drain import _counted
from bench.faults import comings
from bench.faults.points import points_in
from bench.measure import Row, in_turn, interval, private_place, ratio, row_of
from bench.overhead import CHART
from bench.peers import installed
from bench.report import chart, readme
from bench.rig import rig_of
from bench.stages import STAGES, stages

ROOT = Path(__file__).parent.parent.parent
ENV = {
    "python": "3.x",
    "processor": "a chip",
    "cores": "2",
    "load": "0.1",
    "system": "a system",
    "commit": "c0",
}


def rows() -> list[Row]:
    return [row_of(title, [n, n + 1.0], "µs") for n, title in enumerate(CHART.values(), 1)]


@pytest.mark.parametrize(
    ("value", "target", "at_least", "met"),
    [
        (1, 2, False, True),
        (2, 2, False, True),
        (3, 2, False, False),
        (3, 2, True, True),
        (1, 2, True, False),
        (0, 0, False, True),
        (1, None, False, None),
    ],
)
def test_target_is_met_from_below_or_from_above(
    value: float, target: float | None, at_least: bool, met: bool | None
) -> None:
    """Costs stay at or below their targets, rates at or above."""
    row = Row(name="x", value=value, unit="µs", target=target, at_least=at_least)
    assert row.met is met
    assert row.as_dict()["met"] is met


def test_row_is_the_median_with_the_middle_half() -> None:
    """A few slow rounds move neither the figure nor the spread; ratios are taken by round."""
    row = row_of("x", [1.0, 2.0, 3.0, 4.0, 1000.0], "µs")
    assert (row.value, row.low, row.high, row.rounds) == (3.0, 2.0, 4.0, 5)
    assert ratio("x", [1.0, 20.0, 3.0], [2.0, 40.0, 6.0]).value == 0.5
    once = row_of("x", [7.0], "µs")
    assert (once.value, once.low, once.high) == (7.0, None, None)


def test_interval_of_a_median_lies_inside_the_figures() -> None:
    """Of a hundred figures the 95 % interval of the median spans ranks 40 to 60."""
    assert interval([float(n) for n in range(100)]) == (39.0, 60.0)
    assert interval([5.0]) == (5.0, 5.0)


def test_subjects_take_turns_there_and_back() -> None:
    """Nobody always follows the same one, and the first turn, which warms up, is not counted."""
    turns: list[str] = []

    def subject(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = in_turn({"a": lambda _: subject("a"), "b": lambda _: subject("b")}, rounds=2, count=1)
    assert "".join(turns) == "ab" + "ab" + "ba"
    assert found == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_every_figure_is_above_its_own_bare_call() -> None:
    """A coroutine is compared with the bare coroutine, and the stages add up to the whole."""
    names = {*overhead._SHOWN, *(shown.bare for shown in overhead._SHOWN.values()), *STAGES}
    series = {name: [5_000.0, 7_000.0] for name in names}
    series |= {name: [1_000.0, 3_000.0] for name in names if name.startswith("bare")}
    series["bare async"] = [4_000.0, 6_000.0]
    for number, name in enumerate(STAGES):
        series[name] = [2_000.0 + 100 * number, 4_000.0 + 100 * number]
    del series["structlog"]
    found = {row.name: row for row in overhead._rows(series, 3)}
    assert found["track, normal mode"].value == 4.0
    assert found["track a coroutine, normal mode"].value == 1.0
    assert found["normal mode, two arguments ÷ OpenTelemetry span"].value == 1.0
    assert found["normal mode, two arguments ÷ OpenTelemetry span"].met is False
    assert "structlog to a file" not in found
    assert found["calls lost while this was measured"].value == 3
    steps = [row.value for name, row in found.items() if "of which" in name]
    assert len(steps) == len(STAGES) + 1
    assert sum(steps) == pytest.approx(found["track, normal mode, two arguments"].value)


def test_stages_call_the_tool_and_return_what_it_does() -> None:
    """Each stage is a working wrapper, over more laps than its memory has."""
    for name, wrapper in stages(lambda one, two: (one, two)).items():
        for number in range(5_000):
            assert wrapper(number, "x") == (number, "x"), name


def test_missing_peer_is_left_out_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not installed is named, and the others are measured."""
    monkeypatch.setitem(sys.modules, "structlog", None)
    assert installed(["logging", "structlog"]) == ["logging"]
    assert capsys.readouterr().err == "structlog to a file: structlog is not installed, left out\n"


def test_rig_drains_what_it_stored() -> None:
    """Rates count records that the collector has read; a ring that overflows is an error."""
    with rig_of() as rig:
        rig.fill_families()
        families = rig.run()
        rig.fill_flat()
        assert rig.run() == families > 0
        rig.worker.add_tool("tool", slots=16)
        for _ in range(16):
            rig.store("tool")
        with pytest.raises(RuntimeError, match="full"):
            rig.store("tool")


def test_stage_is_counted_without_the_stages_that_it_calls() -> None:
    """Time within time is the inner one's, so that stages add up."""
    spent = {"outer": 0, "inner": 0}
    running: dict[int, list[int]] = defaultdict(list)

    def burn(span_ns: int) -> None:
        end = thread_time_ns() + span_ns
        while thread_time_ns() < end:
            pass

    inner = _counted("inner", lambda: burn(3_000_000), spent, running)
    start = thread_time_ns()
    _counted("outer", inner, spent, running)()
    took = thread_time_ns() - start
    assert spent["inner"] >= 3_000_000
    assert 0 <= spent["outer"] < spent["inner"]
    assert sum(spent.values()) <= took


def test_chart_is_an_image_that_names_every_peer(tmp_path: Path) -> None:
    """The same figures make the same file, with text as text."""
    for name in ("one.svg", "two.svg"):
        chart(tmp_path / name, ENV, rows())
    content = (tmp_path / "one.svg").read_text()
    assert content == (tmp_path / "two.svg").read_text()
    assert content.count("<svg ") == 1
    for name in CHART.values():
        assert name.replace("track,", "shmperf,") + "<" in content
    assert "2.5 µs<" in content
    assert "4.5 µs  (1.8 ×)<" in content


def test_chart_needs_something_to_show(tmp_path: Path) -> None:
    """Without the overhead there is a message and no file."""
    with pytest.raises(SystemExit, match="overhead"):
        chart(tmp_path / "x.svg", ENV, [Row(name="x", value=1, unit="µs")])
    assert not (tmp_path / "x.svg").exists()


def test_readme_takes_figures_between_its_markers_only(tmp_path: Path) -> None:
    """Written twice, the table is there once, ratios first, and the text around it stays."""
    path = tmp_path / "README.md"
    path.write_text((ROOT / "README.md").read_text())
    missed = Row(name="a rate", value=5, unit="records/s", target=10, at_least=True)
    better = Row(name="a ratio", value=0.5, unit="×", target=0.6)
    for _ in range(2):
        readme(path, ENV, [*rows(), missed, better, Row(name="aside", value=1, unit="µs")])
    text = path.read_text()
    assert text.count("| a rate | 5 records/s |  | ≥ 10 | **no** |") == 1
    assert text.index("| a ratio |") < text.index("| track, normal mode |")
    assert "aside" not in text
    before, _, after = (ROOT / "README.md").read_text().partition("<!-- bench: written")
    assert text.startswith(before)
    assert text.endswith(after.partition("<!-- bench: end -->")[2])
    path.write_text("no markers")
    with pytest.raises(SystemExit, match="bench: end"):
        readme(path, ENV, rows())


def test_two_halves_are_all_sections() -> None:
    """Each section is in one of them, whatever sections there are."""
    halves = [*_in_half(1), *_in_half(2)]
    assert sorted(halves) == sorted(_in_half(None))
    assert len(set(halves)) == len(halves)


def test_command_writes_the_figures(tmp_path: Path) -> None:
    """One section, run for real: a table for people and the same rows as JSON."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "idle", "--quick", "--json", str(file)]
    # Wide enough that no name is folded.
    environ = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    report = json.loads(file.read_text())
    assert report.keys() == {"env", "rows"}
    assert ENV.keys() <= report["env"].keys()
    assert len(report["rows"]) == 2
    for row in report["rows"]:
        assert {"name", "value", "unit", "target", "met"} <= row.keys()
        assert row["section"] == "idle"
        assert row["met"] is (row["value"] <= row["target"])
        assert row["name"] in done.stdout
    assert "% of a core" in done.stdout


def test_command_refuses_what_it_can_not_do() -> None:
    """An unknown section, and a chart of nothing, are told before anything is measured."""
    for arguments, said in (
        (["nothing"], "no section 'nothing'"),
        (["idle", "--svg", "x.svg"], "overhead"),
    ):
        command = [sys.executable, "-m", "bench", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr


def _words(texts: list[str]) -> list[list[float]]:
    """A vector of the words that tools and queries share; an embedder without a model."""
    known = ("rain", "weather", "city", "money", "euro", "rate", "mail", "send", "letter")
    return [[0.1, *(float(word in text.lower()) for word in known)] for text in texts]


def test_choosing_runs_in_a_world_of_real_calls() -> None:
    """Providers are called in processes of their own, and all that is chosen by was recorded."""
    tools = [
        Tool("weather", "weather and rain in a city"),
        Tool("exchange", "exchange rate of money and euro"),
        Tool("post", "send a letter or mail"),
    ]
    queries = [
        Query("will there be rain in this city?", "weather"),
        Query("what is the rate of the euro?", "exchange"),
        Query("send this mail", "post"),
    ]
    plan = Plan(warm=2, kinds=3, queries=12, breaks=1)
    policies = ("similarity alone", "expected utility", "oracle")
    with private_place() as where:
        found = choose(Catalogue(tools, queries), _words, plan, 1, where, policies)
    assert tuple(found) == policies
    for outcome in found.values():
        assert outcome.lost == 0
        assert outcome.calls == plan.queries
        assert 0 <= outcome.success <= 1
        assert 0 <= outcome.recovered <= 1
    assert found["oracle"].wrong_tool == 0.0


def test_points_are_chosen_by_files_that_have_some() -> None:
    """A file that has moved is told, and does not fall out of the campaign in silence."""
    assert {"claim-name", "leave-rename"} <= points_in("session/session.py")
    assert "announce-make" in points_in("session/membership.py")
    assert {
        *("announce-make", "mode-word", "found-mkdir", "lock-take", "presence-remove"),
        *("daemon-claim", "memory-created"),
    } <= comings._POINTS
    with pytest.raises(ValueError, match=r"session/meeting\.py"):
        points_in("session/session.py", "session/meeting.py")


def test_both_paths_stand_side_by_side_in_the_readme(tmp_path: Path) -> None:
    """A line for each thing that was measured on both, and none of it in the first table."""
    path = tmp_path / "README.md"
    path.write_text(
        "before\n<!-- bench: written by python -m bench --readme -->\nold\n<!-- bench: end -->\n"
    )
    pair = [
        Row(name="a pair, pure", value=4.0, unit="µs"),
        Row(name="a pair, compiled", value=1.0, unit="µs"),
        Row(name="a pair: compiled ÷ pure", value=0.25, unit="×", target=0.5),
    ]
    readme(path, ENV, [*rows(), *pair])
    text = path.read_text()
    assert "| a pair | 4 µs | 1 µs | 0.25 | ≤ 0.5 | yes |\n" in text
    assert text.count("a pair") == 1
    assert "old" not in text

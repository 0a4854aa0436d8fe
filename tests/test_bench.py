"""The benchmark: its figures' form, what counts as met, the chart and the README's table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import Row, interval, ratio, row_of
from bench.overhead import CHART
from bench.report import chart, readme

ROOT = Path(__file__).parent.parent
ENV = {"python": "3.x", "processor": "a chip", "cores": "2", "system": "a system", "commit": "c0"}


def rows() -> list[Row]:
    return [row_of(title, [n, n + 1.0], "µs") for n, title in enumerate(CHART.values(), 1)]


@pytest.mark.parametrize(
    ("value", "target", "at_least", "met"),
    [(1, 2, False, True), (3, 2, False, False), (3, 2, True, True), (1, None, False, None)],
)
def test_target_is_met_from_below_or_from_above(
    value: float, target: float | None, at_least: bool, met: bool | None
) -> None:
    """Costs stay at or below their targets, rates at or above."""
    row = Row(name="x", value=value, unit="µs", target=target, at_least=at_least)
    assert row.met is met
    assert row.as_dict()["met"] is met


def test_row_is_the_median_with_its_spread() -> None:
    """One slow round moves the spread and not the figure; ratios are taken round by round."""
    row = row_of("x", [1.0, 2.0, 100.0], "µs")
    assert (row.value, row.low, row.high, row.rounds) == (2.0, 1.0, 100.0, 3)
    assert ratio("x", [1.0, 20.0, 3.0], [2.0, 40.0, 6.0]).value == 0.5


def test_interval_of_a_median_lies_inside_the_figures() -> None:
    """Of a hundred figures the 95 % interval of the median spans ranks 40 to 60."""
    assert interval([float(n) for n in range(100)]) == (39.0, 60.0)
    assert interval([5.0]) == (5.0, 5.0)


def test_chart_is_an_image_that_names_every_peer(tmp_path: Path) -> None:
    """The same figures make the same file, with text as text."""
    for name in ("one.svg", "two.svg"):
        chart(tmp_path / name, ENV, rows())
    content = (tmp_path / "one.svg").read_text()
    assert content == (tmp_path / "two.svg").read_text()
    assert "OpenTelemetry span<" in content
    assert "shmperf, normal mode<" in content
    assert "2.5 µs<" in content


def test_readme_takes_figures_between_its_markers_only(tmp_path: Path) -> None:
    """Written twice, the table is there once, and the text around it stays."""
    path = tmp_path / "README.md"
    path.write_text((ROOT / "README.md").read_text())
    missed = Row(name="a rate", value=5, unit="records/s", target=10, at_least=True)
    for _ in range(2):
        readme(path, ENV, [*rows(), missed])
    text = path.read_text()
    assert text.count("| a rate | 5 records/s |  | ≥ 10 (not met) |") == 1
    before, _, after = (ROOT / "README.md").read_text().partition("<!-- bench: written")
    assert text.startswith(before)
    assert text.endswith(after.partition("<!-- bench: end -->")[2])


def test_command_writes_the_figures(tmp_path: Path) -> None:
    """One section, run for real: a table for people and the same rows as JSON."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "idle", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(file.read_text())
    assert {"python", "commit", "cores"} <= report["env"].keys()
    for row in report["rows"]:
        assert {"name", "value", "unit", "target", "met"} <= row.keys()
        assert row["name"] in done.stdout
    assert "% of a core" in done.stdout

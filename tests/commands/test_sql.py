"""``sql``: the records as tables; what is asked is answered, what is wrong is one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import shmperf
from shmperf.commands.main import main
from shmperf.storage.history import file_name
from tests.support import PYTHON, Place, outputs

ALL_KEPT = "default_perf_points: -1\nhistory: {segment_lines: 1000}\n"
HELP = Path(shmperf.__file__).parent / "help" / "exports.md"
EXAMPLE = re.compile(r'^\$ shmperf sql "(SELECT .+?)"$', re.MULTILINE | re.DOTALL)
EXAMPLES = EXAMPLE.findall(HELP.read_text())


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a storage of one call in it."""
    (tmp_path / "perf_data").mkdir()
    line = '{"tool":"search","timestamp":"2026-01-02T03:04:05.000000+00:00","data":{"d":1.5}}\n'
    (tmp_path / "perf_data" / file_name("search")).write_text(line)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHMPERF_SESSION", raising=False)
    return tmp_path


@pytest.fixture
def recorded(place: Place) -> Place:
    place.write("config/tool_perf_limits.yaml", ALL_KEPT)
    place.run_program("export/failing", "3000")
    place.wait_for_end()
    return place


def said(place: Place, *arguments: str, code: int = 0) -> tuple[str, str]:
    program = place.start_module("sql", *arguments)
    out, err = outputs(program)
    assert program.returncode == code, err
    return out, err


def test_tables_have_what_statistics_say(recorded: Place) -> None:
    """Kept calls of files and segments, exact totals, and intervals that add up to them."""
    stats = recorded.ask("stats")["tool_stats"]
    assert len(list(recorded.storage.glob("*.zst"))) > 1
    expected = [
        {"tool": tool, "calls": row["count"], "errors": row["errors"]}
        for tool, row in sorted(stats.items())
    ]
    for columns in (
        "count(*) AS calls, count(*) FILTER (status = 'error') AS errors FROM calls GROUP BY tool",
        "calls, errors FROM tools",
        "sum(calls) AS calls, sum(errors) AS errors FROM intervals GROUP BY tool",
    ):
        assert recorded.ask("sql", f"SELECT tool, {columns} ORDER BY tool") == expected
    (row,) = recorded.ask("sql", "SELECT p95_ms, max_ms FROM tools WHERE tool = 'search'")
    assert row["p95_ms"] == pytest.approx(stats["search"]["p95_s"] * 1000)
    assert row["max_ms"] == pytest.approx(stats["search"]["max_duration_s"] * 1000)


def test_percentiles_of_intervals_are_those_of_all_their_calls(recorded: Place) -> None:
    """Histograms add up: within the width of a bucket, a sixteenth of an octave."""
    query = "SELECT percentile(list(histogram), 0.95) AS p95 FROM intervals WHERE tool = 'search'"
    (row,) = recorded.ask("sql", query)
    expected = recorded.ask("stats", "search")["p95_s"] * 1000
    assert expected / 1.001 <= row["p95"] <= expected * 2 ** (1 / 16)


def test_parents_lead_from_call_to_call(recorded: Place) -> None:
    """A join of calls with those they lay below."""
    query = (
        "SELECT parents.tool AS parent, calls.tool, count(*) AS n FROM calls "
        "JOIN calls AS parents ON calls.parent = parents.id GROUP BY ALL"
    )
    fetched = recorded.ask("stats", "fetch")["count"]
    assert recorded.ask("sql", query) == [{"parent": "search", "tool": "fetch", "n": fetched}]


def test_examples_of_the_reference_say_what_statistics_say(recorded: Place) -> None:
    """Each is run as it stands there; all calls are kept, so that both must agree."""
    stats = recorded.ask("stats")["tool_stats"]
    search = stats["search"]
    found = {query: recorded.ask("sql", query.replace("\n", " ")) for query in EXAMPLES}
    every, minutes, own, slowest, identical = found.values()
    assert {row["tool"]: (row["calls"], row["errors"], row["p95_ms"]) for row in every} == {
        tool: (row["count"], row["errors"], pytest.approx(row["p95_s"] * 1000))
        for tool, row in stats.items()
    }
    assert sum(row["calls"] for row in minutes) == search["count"]
    assert sum(row["errors"] for row in minutes) == search["errors"]
    most_ms = search["max_duration_s"] * 1000 * 2 ** (1 / 16)
    assert all(0 < row["p95_ms"] <= most_ms for row in minutes)
    assert sum(row["share"] for row in own) == pytest.approx(1)
    whole_ms = sum(row["total_ms"] for row in recorded.ask("sql", "SELECT total_ms FROM tools"))
    assert 0 < sum(row["own_ms"] for row in own) <= whole_ms
    longest_s = max(row["max_duration_s"] for row in stats.values())
    assert slowest[0]["ms"] == pytest.approx(longest_s * 1000)
    assert all(row["below"] == {"fetch": "search"}.get(row["tool"]) for row in slowest)
    # Of ten different queries one fails, and each of the others was asked a tenth of the time.
    assert {row["n"] for row in identical} == {search["count"] // 10}
    assert all(0 < row["saved_ms"] < whole_ms for row in identical)


def test_a_terminal_shows_columns(recorded: Place) -> None:
    """Titles and rows; what has no row says so; what is not kept is told."""
    out, _ = said(recorded, "SELECT tool, calls FROM tools ORDER BY tool")
    assert next(line.split() for line in out.splitlines() if line.strip()) == ["tool", "calls"]
    assert "no rows" in said(recorded, "SELECT tool FROM tools WHERE tool = 'nobody'")[0]
    many = said(recorded, "SELECT * FROM range(1005)")[0]
    assert "5 more rows; --json prints all" in many


def test_a_query_may_come_by_standard_input(recorded: Place) -> None:
    """A file of SQL, piped."""
    command = f"echo 'SELECT 1 AS one' | {PYTHON} -m shmperf sql - --json"
    program = recorded.start("sh", "-c", command)
    assert json.loads(recorded.finish(program)) == [{"one": 1}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT nope FROM tools", "nope"),
        ("SELCT 1", "syntax error"),
        ("", "no statement"),
        ("SELECT * FROM read_json('https://nobody.example/x.json')", ""),
    ],
)
def test_what_is_wrong_is_one_line(recorded: Place, query: str, expected: str) -> None:
    """DuckDB's own words, without its picture of the query; nothing is left behind."""
    out, err = said(recorded, query, code=1)
    assert expected in err
    assert err.startswith("shmperf: ")
    assert err.count("\n") == 1
    assert not out


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM glob('{directory}/*')",
        "COPY tools TO '{directory}/new'",
        "COPY tools FROM '{outside}'",
        "EXPORT DATABASE '{directory}/new'",
        "ATTACH '{directory}/new'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{outside}'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_directories = ['/']",
        "SET temp_directory = '{directory}/new'",
        "PRAGMA profiling_output = '{directory}/new'",
        "CALL enable_logging(storage = 'file', storage_config = {{'path': '{directory}/new'}})",
        "SELECT 1; COPY tools TO '{directory}/new'",
        # A variable of the program that asks.
        "SELECT * FROM figures",
        "SELECT * FROM settings",
    ],
)
def test_a_query_reaches_nothing_but_its_tables(
    storage: Path, capsys: pytest.CaptureFixture[str], query: str
) -> None:
    """No file, no address, no extension, no setting: it is refused, in one line."""
    outside = storage / "outside.csv"
    outside.write_text("tool\nsecret\n")
    said = query.format(directory=storage, outside=outside)
    assert main(["sql", "--storage", "perf_data", said, "--json"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "secret" not in out + err
    assert not (storage / "new").exists()


def test_temporary_files_go_with_the_query(recorded: Place) -> None:
    """Whether it finds something or fails."""
    temporary = recorded.cwd / "temporary"
    temporary.mkdir()
    for query, code in (("SELECT count(*) FROM calls", 0), ("SELECT nope FROM calls", 1)):
        program = recorded.start_module("sql", query, TMPDIR=str(temporary))
        outputs(program)
        assert program.returncode == code
        assert list(temporary.iterdir()) == []


def test_values_of_every_kind_are_json(recorded: Place) -> None:
    """Times, numbers without end, lists and blobs; columns of one name are told apart."""
    query = (
        "SELECT 'NaN'::DOUBLE AS a, 1.5::DECIMAL(4, 2) AS b, [1, 2] AS c, {'x': 1} AS d, "
        "TIMESTAMP '2026-01-02 03:04:05' AS e, INTERVAL 1 HOUR AS f, 'a'::BLOB AS g, 1 AS h, 2 AS h"
    )
    assert recorded.ask("sql", query) == [
        {
            "a": None,
            "b": 1.5,
            "c": [1, 2],
            "d": {"x": 1},
            "e": "2026-01-02T03:04:05",
            "f": "1:00:00",
            "g": "b'a'",
            "h": 1,
            "h_2": 2,
        }
    ]


def test_names_of_any_kind_come_back(place: Place) -> None:
    """Quotes, semicolons, line ends and NUL in tools and parameters are text."""
    place.write("config/tool_perf_limits.yaml", ALL_KEPT)
    names: list[Any] = json.loads(place.run_program("export/odd_names"))
    place.wait_for_end()
    for table in ("calls", "tools", "intervals"):
        found = place.ask("sql", f"SELECT DISTINCT tool FROM {table}")  # noqa: S608  our own
        assert sorted(row["tool"] for row in found) == sorted(names)


def test_a_damaged_segment_costs_its_frame(recorded: Place) -> None:
    """The other lines are there, and what is missing is told."""
    segment = min(recorded.storage.glob("search_perf.*.zst"))
    content = bytearray(segment.read_bytes())
    content[40] ^= 0xFF
    segment.write_bytes(content)
    out, err = said(recorded, "SELECT count(*) AS n FROM calls WHERE tool = 'search'", "--json")
    (row,) = json.loads(out)
    assert 1_000 <= row["n"] < 3_000
    assert segment.name in err


def test_without_duckdb_it_says_what_to_install(recorded: Place) -> None:
    """One line, exit 1."""
    hidden = "import sys; sys.modules['duckdb'] = None; from shmperf.commands.main import main; "
    hidden += "sys.exit(main(['sql', 'SELECT 1']))"
    from tests.support import PYTHON

    program = recorded.start(PYTHON, "-c", hidden)
    _, err = outputs(program)
    assert program.returncode == 1
    assert err == "shmperf: DuckDB is not installed: pip install 'shmperf[sql]'\n"

"""The pytest plugin, in real runs of pytest, alone and with workers that die."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest

from shmperf.pytesting.budgets import Budget, BudgetError, broken, unmatched
from tests.support import PYTHON, Place, assert_books_balance, program_text
from tests.views.test_report import embedded

TESTS = 10


@pytest.fixture
def suite(place: Place) -> Iterator[Place]:
    place.write("test_suite.py", program_text("plugin/suite"))
    place.write("pytest.ini", "[pytest]\n")
    yield place
    place.wait_for_end()
    assert place.sessions() == []


def run(place: Place, *arguments: str, code: int = 0, **environ: str) -> str:
    environ = {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": "", "PYTHONWARNINGS": "", **environ}
    command = (PYTHON, "-m", "pytest", *arguments)
    return place.run(*command, code=code, **environ)


def told(place: Place, *arguments: str, code: int = 0, **environ: str) -> dict[str, Any]:
    """What a run writes as JSON; its books balance."""
    run(place, "--shmperf-json", "told.json", *arguments, code=code, **environ)
    found: dict[str, Any] = json.loads((place.cwd / "told.json").read_text())
    assert_books_balance(found)
    return found


@pytest.mark.parametrize(
    "arguments", [(), ("-n2",), ("-n2", "--dist=loadfile"), ("-n2", "--dist=worksteal")]
)
def test_tests_and_tools_are_calls(suite: Place, arguments: tuple[str, ...]) -> None:
    """Every phase of every test, and what it calls, whoever runs it."""
    found = told(suite, "-p", "no:randomly", *arguments)
    tools = found["tool_stats"]
    assert {name: tools[name]["count"] for name in ("test setup", "test", "test teardown")} == {
        "test setup": TESTS,
        "test": TESTS,
        "test teardown": TESTS,
    }
    # A module's fixture is made in every worker that runs a test of the module.
    made = tools["tool"]["count"] - 10
    assert made in (2, 4)
    assert (tools["tool"]["errors"], tools["test"]["errors"]) == (1, 1)
    assert found["lost"] == {}
    assert (found["aborted"], found["in_flight"]) == (0, 0)
    outcomes = {test["nodeid"].partition("::")[2]: test["outcome"] for test in found["tests"]}
    assert outcomes.pop("test_skipped") == "skipped"
    assert outcomes.pop("test_expected") == "xfailed"
    assert set(outcomes.values()) == {"passed"}
    assert len(found["tests"]) == TESTS
    assert all(test["call_s"] > 0 for test in found["tests"] if test["outcome"] == "passed")
    assert {bool(test["worker"]) for test in found["tests"]} == {bool(arguments)}
    suite.wait_for_end()
    storage = next((suite.cwd / ".pytest_cache/d/shmperf").iterdir())
    tree = suite.ask("tree", "--storage", str(storage))
    edges = {(node["parent"], node["tool"]): node["calls"] for node in tree}
    # A child that is not forked, the default from 3.14 on, knows nothing of the test.
    in_pool = 2 if multiprocessing.get_start_method() == "fork" else 0
    assert edges["test", "tool"] == 8 + in_pool
    assert edges["test setup", "tool"] == edges["test teardown", "tool"] == made / 2
    (line,) = [one for one in suite.lines("tool", storage) if one["data"]["p"] == '{"x":"bad"}']
    (test,) = [one for one in suite.lines("test", storage) if "test_error" in one["data"]["p"]]
    assert line["data"]["parent"] == test["data"]["id"]
    assert test["data"]["p"] == '{"test":"test_suite.py::test_error"}'


@pytest.mark.parametrize("compiled", ["1", "0"])
def test_what_a_fixture_leaves_open_is_around_its_test_alone(suite: Place, compiled: str) -> None:
    """It begins in the setup and ends in the teardown: the test is below it, the next one not."""
    suite.write("test_suite.py", program_text("plugin/fixtures_open"))
    storage = suite.cwd / "history"
    out = run(suite, "--shmperf-storage", str(storage), SHMPERF_COMPILED=compiled)
    assert "24 calls · 0 errors · 0 lost · 0 aborted" in out
    suite.wait_for_end()
    tree = suite.ask("tree", "--storage", str(storage))
    assert {(node["parent"], node["tool"]): node["calls"] for node in tree} == {
        (None, "test setup"): 5,
        ("test setup", "block"): 2,
        ("test setup", "pair"): 1,
        ("block", "pair"): 1,
        (None, "test"): 3,
        ("block", "test"): 1,
        ("pair", "test"): 1,
        ("test", "tool"): 5,
        (None, "test teardown"): 3,
        ("block", "test teardown"): 1,
        ("pair", "test teardown"): 1,
    }


def test_our_modules_are_imported_as_they_are_written(suite: Place) -> None:
    """Pytest rewrites assertions of whole packages; not ours, and the users' as before."""
    suite.write("conftest.py", program_text("plugin/no_rewriting_of_ours"))
    run(suite, "--shmperf", "-k", "number")


def test_nothing_happens_unless_asked_for(suite: Place) -> None:
    """No word, no file, no import of ours."""
    suite.write(
        "conftest.py",
        program_text("plugin/no_import_of_ours"),
    )
    out = run(suite, "-k", "skipped")
    # The header names every plugin that is installed.
    assert "shmperf" not in "".join(line for line in out.splitlines() if "plugins: " not in line)
    assert not (suite.cwd / ".pytest_cache/d/shmperf").exists()
    run(suite, "--shmperf", "--collect-only")
    assert not (suite.cwd / ".pytest_cache/d/shmperf").exists()


def test_an_ini_key_switches_it_on(suite: Place) -> None:
    """And a budget in it holds."""
    suite.write(
        "pytest.ini", "[pytest]\nshmperf = true\nshmperf_max =\n    tool:errors=0\n    *:max=60s\n"
    )
    out = run(suite, code=1)
    assert "over budget: tool: errors 1, over tool:errors=0" in out
    assert out.count("over budget") == 1


def test_summary_names_what_is_slow(suite: Place) -> None:
    """Tools with their figures, tests, the books, and where the history is."""
    out = run(suite, "--shmperf", "--shmperf-max", "nobody:count=5")
    lines = out.splitlines()
    (head,) = [line for line in lines if line.startswith("tool  ") and "p95" in line]
    row = lines[lines.index(head) + 1].split()
    assert row[:2] == ["tool", "12"]
    assert any(line.startswith("test_suite.py::test_pool") for line in lines)
    assert "calls · 1 errors · 0 lost · 0 aborted" in out
    assert "never called: nobody:count=5" in out
    (history,) = [line for line in lines if line.startswith("history: ")]
    command = history.removeprefix("history: shmperf ").split()
    assert suite.ask(*command)["tool_stats"]["tool"]["count"] == 12


@pytest.mark.parametrize("arguments", [(), ("-n2",)])
def test_a_page_shows_the_run(suite: Place, arguments: tuple[str, ...]) -> None:
    """One file with all tests, whoever ran them, and what has changed since an earlier run."""
    run(suite, "--shmperf-json", "before.json")
    out = run(suite, "--shmperf-report", "run.html", "--shmperf-against", "before.json", *arguments)
    assert "page: run.html (" in out
    found = embedded((suite.cwd / "run.html").read_bytes())
    assert found["parts"]["stats"]["tool_stats"]["test"]["count"] == TESTS
    assert_books_balance(found["parts"]["stats"])
    assert found["changes"]["against"] == "before.json"
    assert set(found["changes"]["tools"]) >= {"test", "tool"}


def test_a_page_that_can_not_be_written_fails_no_run(suite: Place) -> None:
    """A line says so, and the tests are what counts."""
    out = run(suite, "--shmperf-report", "no/where.html")
    assert "shmperf: no/where.html: No such file or directory" in out
    assert "page: " not in out


@pytest.mark.parametrize("arguments", [("-n2",), ("-n1", "--max-worker-restart=3")])
def test_a_worker_that_dies_leaves_aborted_calls(suite: Place, arguments: tuple[str, ...]) -> None:
    """The test that was killed is told apart, and its replacement goes on."""
    suite.write(
        "test_suite.py",
        program_text("plugin/worker_dies"),
    )
    found = told(suite, *arguments, code=1)
    tools = found["tool_stats"]
    assert (tools["deadly"]["aborted"], tools["test"]["aborted"], found["aborted"]) == (1, 1, 2)
    assert tools["tool"]["count"] == 2
    assert found["lost"] == {}
    outcomes = {test["nodeid"].partition("::")[2]: test["outcome"] for test in found["tests"]}
    assert outcomes == {"test_first": "passed", "test_killed": "crashed", "test_last": "passed"}


def test_failures_are_told_apart(suite: Place) -> None:
    """A failed call, a failed setup and a failed teardown; exit status as ever."""
    suite.write(
        "test_suite.py",
        program_text("plugin/failures"),
    )
    found = told(suite, code=1)
    outcomes = {test["nodeid"].partition("::")[2]: test["outcome"] for test in found["tests"]}
    assert outcomes == {"test_fails": "failed", "test_setup": "error", "test_teardown": "error"}
    errors = {name: row["errors"] for name, row in found["tool_stats"].items()}
    assert errors == {"test setup": 1, "test": 1, "test teardown": 1}


def test_subtests_are_parts_of_their_test(suite: Place) -> None:
    """Their time counts once, and one that fails fails the test."""
    suite.write(
        "test_suite.py",
        program_text("plugin/subtests"),
    )
    found = told(suite, code=1)
    (test,) = found["tests"]
    assert test["outcome"] == "failed"
    assert 0.15 <= test["call_s"] < 1.5 * found["tool_stats"]["test"]["max_duration_s"]


def test_a_session_that_is_there_is_joined(suite: Place) -> None:
    """Under ``shmperf run`` calls go there; the run speaks of its own only, and ends nothing."""
    suite.write(
        "program.py",
        program_text("plugin/joins"),
    )
    suite.shmperf("run", "--", PYTHON, "program.py", PYTHONWARNINGS="", PYTEST_ADDOPTS="")
    found = json.loads((suite.cwd / "told.json").read_text())
    counted = found["tool_stats"]["tool"]["count"]
    assert counted in (12, 14)
    assert suite.stats()["tool_stats"]["tool"]["count"] == counted + 8


def test_only_the_last_runs_are_kept(suite: Place) -> None:
    """Without the cache plugin history goes where every program's goes."""
    for _ in range(5):
        run(suite, "--shmperf", "-k", "number")
    assert len(list((suite.cwd / ".pytest_cache/d/shmperf").iterdir())) == 3
    run(suite, "--shmperf", "-k", "number", "-p", "no:cacheprovider")
    assert suite.stats()["tool_stats"]["tool"]["count"] == 8
    run(suite, "--shmperf", "-k", "number", "--shmperf-storage", "perf_data", "-p", "no:terminal")
    assert suite.stats()["tool_stats"]["tool"]["count"] == 16


def test_what_goes_wrong_with_us_fails_no_run(suite: Place) -> None:
    """No runtime directory, no place for the JSON: a line, and the tests' own result."""
    (suite.cwd / "file").write_text("")
    out = run(suite, "--shmperf", XDG_RUNTIME_DIR=str(suite.cwd / "file"))
    assert "9 passed" in out or "8 passed" in out
    out = run(suite, "--shmperf-json", "no/such/directory.json")
    assert "no/such/directory.json: No such file or directory" in out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tool", "expected TOOL:FIELD=LIMIT"),
        (":p95=1s", "expected TOOL:FIELD=LIMIT"),
        ("tool:p94=1s", "with a field of mean, p50, p95"),
        ("tool:p95", "with a field of"),
        ("tool:p95=5", "expected a duration with one of ns, us"),
        ("tool:p95=-5ms", "expected a duration"),
        ("tool:errors=5ms", "expected a number"),
        ("tool:error_rate=5ms", "expected a percentage or a fraction"),
    ],
)
def test_a_budget_that_can_t_be_read_is_wrong_usage(suite: Place, line: str, expected: str) -> None:
    """Before any test runs, and with what was expected."""
    with pytest.raises(BudgetError, match="budget"):
        list(Budget.parse(line))
    program = suite.start(PYTHON, "-m", "pytest", "--shmperf-max", line, PYTEST_ADDOPTS="")
    suite.finish(program, code=4)
    assert expected in program.error_text  # type: ignore[attr-defined]  # set there


def test_budgets_are_kept_or_broken() -> None:
    """A limit may be reached, not exceeded; patterns hold for each tool they match."""
    rows = {
        "a:b": {"count": 8, "errors": 1, "aborted": 2, "p95_s": 0.2, "max_duration_s": None},
        "c": {"count": 0, "errors": 0, "aborted": 0, "p95_s": None, "max_duration_s": None},
    }

    def lines(text: str) -> list[str]:
        return broken(Budget.parse(text), rows)

    assert lines("a:b:p95=200ms,errors=1,aborted=2,error_rate=30%") == []
    assert lines("a:b:p95=199ms") == ["a:b: p95 200 ms, over a:b:p95=199ms"]
    assert lines("a*:error_rate=0.29") == ["a:b: error_rate 30.00%, over a*:error_rate=0.29"]
    assert lines("*:max=1ns,p95=1s") == []
    assert [line.split(",")[0] for line in lines("*:count=0")] == ["a:b: count 8"]
    assert unmatched(Budget.parse("x:count=1,errors=2"), rows) == ["x:count=1", "x:errors=2"]


def test_a_run_is_compared_with_an_earlier_one(suite: Place) -> None:
    """What has surely become worse fails the run, with its name; the same run again does not."""
    suite.write("test_past.py", program_text("plugin/slower"))
    out = ("-p", "no:randomly", "test_past.py")
    then = told(suite, *out, FACTOR="1")
    suite.write("then.json", json.dumps(then))
    again = ("--shmperf-against", "then.json", "--shmperf-fail-if", "planted:p50>+100%", *out)
    assert told(suite, *again, FACTOR="1")["worse"] == []
    shown = run(suite, *again, "--shmperf-fail-if", "nobody:p50>+1%", code=1, FACTOR="20")
    assert "worse: planted: p50 +" in shown
    assert "over planted:p50>+100%" in shown
    assert "against then.json: 1 slower" in shown
    assert "not called in both runs: nobody:p50>+1%" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--shmperf-fail-if", "p50>+1%"), "with --shmperf-against, which it needs"),
        (("--shmperf-against", "nowhere"), "nothing was recorded there"),
        (("--shmperf-against", "pytest.ini"), "neither a report nor statistics"),
        (("--shmperf-against", "pytest.ini", "--shmperf-fail-if", "p50"), "expected [TOOL:]FIELD"),
    ],
)
def test_a_comparison_that_can_not_be_made_ends_before_the_tests(
    suite: Place, arguments: tuple[str, ...], expected: str
) -> None:
    """Wrong usage, in one line of pytest's own."""
    program = suite.start(PYTHON, "-m", "pytest", *arguments, PYTEST_ADDOPTS="", PYTHONWARNINGS="")
    suite.finish(program, code=4)
    assert expected in program.error_text  # type: ignore[attr-defined]  # kept by the place

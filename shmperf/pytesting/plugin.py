"""
The pytest plugin: its options, and nothing more unless one of them is given.

It stands beside the package, which every run of pytest would import with it.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from shmperf.pytesting.budgets import Budget
    from shmperf.pytesting.past import Past

__all__ = ["pytest_addoption", "pytest_configure", "pytest_unconfigure"]

_NAME = "shmperf-report"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ours, also as ini keys where a project wants them in every run."""
    group = parser.getgroup("shmperf", "how tools and tests behave (shmperf)")
    group.addoption("--shmperf", action="store_true", help="record tests and tool calls")
    group.addoption(
        "--shmperf-json", metavar="FILE", help="write statistics and tests to FILE, as JSON"
    )
    group.addoption(
        "--shmperf-report", metavar="FILE", help="write a page that shows it all to FILE"
    )
    group.addoption(
        "--shmperf-max",
        metavar="TOOL:FIELD=LIMIT",
        action="append",
        default=[],
        help="fail the run when a tool exceeds it, as in 'search:p95=200ms,errors=0'; again and "
        "again; TOOL may be a pattern, FIELD p50, p95, p99, mean, max, count, errors, aborted "
        "or error_rate",
    )
    group.addoption(
        "--shmperf-against",
        metavar="FILE",
        help="compare with an earlier run: its --shmperf-json, or a storage directory",
    )
    group.addoption(
        "--shmperf-fail-if",
        metavar="EXPR",
        action="append",
        default=[],
        help="fail the run when a tool has surely become that much worse than there, as in "
        "'search:p95>+10%%' or 'errors>+1' (percentage points); again and again",
    )
    group.addoption(
        "--shmperf-storage", metavar="DIR", help="where history goes (default: pytest's cache)"
    )
    parser.addini("shmperf", "record tests and tool calls", type="bool", default=False)
    parser.addini("shmperf_fail_if", "as --shmperf-fail-if, a line each", type="linelist")
    parser.addini("shmperf_max", "budgets, a line each, as --shmperf-max", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Begin, when asked to, and when there are tests to run."""
    option = config.option
    asked = (
        *(option.shmperf, option.shmperf_json, option.shmperf_max, option.shmperf_storage),
        *(option.shmperf_against, option.shmperf_fail_if, option.shmperf_report),
    )
    if not any(asked) and not config.getini("shmperf"):
        return
    if option.collectonly or option.help:
        return
    sys.meta_path.insert(0, _AsWritten)
    from shmperf.pytesting.phases import Phases  # noqa: PLC0415  nobody pays for it who has not asked

    config.pluginmanager.register(Phases(), "shmperf-phases")
    if hasattr(config, "workerinput"):
        return
    from shmperf.pytesting.report import Report  # noqa: PLC0415  as above

    report = Report(config, _budgets(config), _past(config))
    config.pluginmanager.register(report, _NAME)
    report.begin()


class _AsWritten:
    """
    Finds modules of ours as Python does: they assert nothing that anybody wants explained.

    Pytest rewrites the assertions of whole packages that have a plugin. To know what it has
    rewritten before it reads and hashes each source, which is two fifths of what we would cost.
    """

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python finds, of ours; None for all others."""
        if not fullname.startswith("shmperf."):
            return None
        return PathFinder.find_spec(fullname, path, target)


def _budgets(config: pytest.Config) -> list[Budget]:
    """What tools may take; raises UsageError for what can't be read."""
    from shmperf.pytesting.budgets import Budget, BudgetError  # noqa: PLC0415  as above

    lines: Sequence[str] = [*config.getini("shmperf_max"), *config.option.shmperf_max]
    try:
        return [budget for line in lines for budget in Budget.parse(line)]
    except BudgetError as error:
        raise pytest.UsageError(str(error)) from None


def _past(config: pytest.Config) -> Past | None:
    """The earlier run that this one is compared with, and what it may not be worse in."""
    from shmperf.errors import ShmperfError  # noqa: PLC0415  as above
    from shmperf.pytesting.past import Past  # noqa: PLC0415  as above

    option = config.option
    if option.shmperf_fail_if and not option.shmperf_against:
        raise pytest.UsageError("--shmperf-fail-if: with --shmperf-against, which it needs")
    if not option.shmperf_against:
        return None
    try:
        conditions = [*config.getini("shmperf_fail_if"), *option.shmperf_fail_if]
        return Past(option.shmperf_against, conditions)
    except (ShmperfError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave everything as it was."""
    if _AsWritten in sys.meta_path:
        sys.meta_path.remove(_AsWritten)
    report = config.pluginmanager.get_plugin(_NAME)
    if report is not None:
        report.leave()

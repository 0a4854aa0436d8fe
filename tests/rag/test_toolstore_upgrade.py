"""A tool store as the former version wrote it (commit aa57945), taken up by this one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

from shmperf.rag import ToolStore
from shmperf.rag.toolfile import _VERSION
from tests.support import Place

V1 = Path(__file__).with_name("v1")
EXPECTED = json.loads((V1 / "expected.json").read_text())


def test_tools_and_their_performance_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Every artifact with its summary; the file stays of the version that both can read."""
    path = tmp_path / "tools.db"
    shutil.copyfile(V1 / "tools.db", path)
    with ToolStore(path) as tools:
        assert list(tools) == EXPECTED
        assert [tool["metadata"]["perf_summary"]["call_count"] for tool in tools] == [20, 5]
        tools.put("tool_new", "new", "of this version")
        assert len(tools) == 3
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (_VERSION,) == (1,)
    connection.close()


def test_sink_goes_on_with_it(place: Place) -> None:
    """This version's sink writes the performance of a tool that is in it already."""
    place.storage.mkdir(mode=0o700)
    shutil.copyfile(V1 / "tools.db", place.storage / "tools.db")
    (place.storage / "tools.db").chmod(0o600)
    assert place.run_program("toolstore/calls_of_a_store_of_before") == "7\n"
    with ToolStore(place.storage / "tools.db") as tools:
        known = tools.get("tool_send_mail")
    assert known == EXPECTED[1]

"""Names without end, from workers that come and go: an end to them, and none is silently lost."""

from __future__ import annotations

from shmperf.testing import Room


def test_tools_beyond_those_that_a_storage_can_know_are_counted_together(room: Room) -> None:
    """Who is known stays known, who has a limit of its own gets in, the first others are told."""
    room.collector.roster.naming.most = 300
    first = room.worker(slots=4)
    for n in range(290):
        first.call(f"job {n}")
    room.turn(2)
    second = room.worker(slots=4)
    for n in range(280, 320):
        second.call(f"job {n}")
    second.call("all")
    second.begin("job 400")
    room.turn(2)
    stats = room.stats()
    counts = {tool: row["count"] for tool, row in stats["tool_stats"].items()}
    assert len(counts) == 302
    assert (counts["job 285"], counts["job 299"], counts["all"]) == (2, 1, 1)
    assert counts["tools beyond 300"] == 20
    assert stats["nameless"] == {"tools beyond 300": [f"job {n}" for n in range(300, 310)]}
    assert stats["faults"]["no_name"] == 21
    assert stats["in_flight"] == 1
    room.finish()
    assert len(room.lines("tools beyond 300")) == 21
    assert room.stats_on_disk()["nameless"] == stats["nameless"]


def test_a_cleanup_makes_room_for_other_names(room: Room) -> None:
    """What has been forgotten takes no room: later workers' tools have their names again."""
    room.collector.roster.naming.most = 20
    first = room.worker(slots=4)
    for n in range(30):
        first.call(f"job {n}")
    room.turn(2)
    assert room.stats()["tool_stats"]["tools beyond 20"]["count"] == 10
    room.collector.cleanup()
    second = room.worker(slots=4)
    second.call("new one")
    room.turn(2)
    assert "new one" in room.stats()["tool_stats"]

"""What a page's server does with names, storages and ports that are not as expected."""

from __future__ import annotations

import shutil
import socket
from urllib.parse import quote

import pytest

from shmperf.files import internals
from tests.support import Place, outputs

from .visiting import HOST, Visit

NAMES = ("<script>alert(1)</script>", "a/b", "..", "a\nb", "ü%2f?&#", "x" * 10_000, "漢" * 10_000)


def test_every_name_has_its_address(place: Place) -> None:
    """Whatever a tool is called, its calls and its story are had by that, whole."""
    place.run_program("views/odd_names", *NAMES)
    place.wait_for_end()
    visit = Visit(place)
    assert set(visit.browse("/api/stats").json["tool_stats"]) == set(NAMES)
    for name in NAMES:
        named = quote(name, safe="")
        assert [call["tool"] for call in visit.browse(f"/api/slow?tool={named}").json] == [name]
        assert visit.browse(f"/api/trace/{named}").json["call"]["tool"] == name


def test_a_storage_that_vanishes_is_told_and_comes_back(place: Place) -> None:
    """The page stays up: what it showed last, with what is the matter."""
    place.run_program("export/record")
    place.wait_for_end()
    visit = Visit(place)
    follower = visit.follow()
    assert follower.next().data["problem"] is None
    aside = place.cwd / "aside"
    place.storage.rename(aside)
    gone = follower.until(lambda look: look["problem"])
    assert "no such directory" in gone.data["problem"]
    assert gone.data["total_calls"] == 301
    answer = visit.browse("/api/alerts")
    assert answer.status == 503
    assert "no such directory" in answer.error
    aside.rename(place.storage)
    follower.until(lambda look: look["problem"] is None)
    follower.close()
    shutil.rmtree(place.storage)
    assert visit.browse("/").status == 200


def test_a_damaged_storage_is_told_once(place: Place) -> None:
    """Not at each look nor for each question, however long one looks."""
    place.run_program("export/record")
    place.wait_for_end()
    (journal,) = internals(place.storage).glob("journal.*")
    with journal.open("ab") as file:
        file.write(b"nothing that a journal holds")
    visit = Visit(place)
    for part in ("stats", "tree", "alerts", "status"):
        follower = visit.follow()
        assert follower.next().data["total_calls"] == 301
        follower.close()
        assert visit.browse(f"/api/{part}").status == 200
    visit.program.terminate()
    _, err = outputs(visit.program)
    assert err.count("the journal is damaged") == 1
    assert err.count("\n") == 1


@pytest.mark.parametrize("taken", ["next", "named"])
def test_a_taken_port_leads_to_the_next(place: Place, taken: str) -> None:
    """Only where nobody has named one."""
    place.run_program("export/record")
    place.wait_for_end()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((HOST, 8470))
            other.listen()
        except OSError:
            pass  # somebody else listens there, which is as good
        listen = ("--listen", f"{HOST}:8470") if taken == "named" else ()
        program = place.start_module("serve", *listen)
        assert program.stdout is not None
        told = program.stdout.readline()
        program.terminate()
        _, err = outputs(program)
    if taken == "named":
        assert (program.returncode, told) == (1, "")
        assert err == f"shmperf: {HOST}:8470: Address already in use\n"
    else:
        port = int(told.rpartition(":")[2].partition("/")[0])
        assert 8470 < port < 8490

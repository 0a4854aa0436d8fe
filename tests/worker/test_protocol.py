"""
The recording protocol, specified once for all who write it.

A call is begun by its row, whose id comes last; it is finished by its slot, taken and stored in one
step that no handler gets into; only then its row is free. The hot path, the long way and quick
calls (blocks, pairs, interceptors, detail) each write that out, since a function between two steps
would cost more than the steps, so their sources are read here, and what they write is compared byte
by byte.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import shmperf
from shmperf.shm.record import SLOT
from tests.support import Place

PACKAGE = Path(shmperf.__file__).parent
# Whoever writes the protocol out, and how it calls what stores a slot, a row's words, its start.
WRITERS = {
    "worker/hotpath.py": "wrapper",
    "worker/hotcoroutine.py": "wrapper",
    "worker/slots.py": "store_slot",
    "worker/quickcall.py": "_exit",
}
# What the program below calls with, as it is encoded.
GIVEN = [(), (1, "two"), {"n": 1}, ((1,), {"n": 2.5}), ([1, {"a": None}],)]
# Later parts of a long record: stored in the same way, without a row.
PARTS = ("worker/slots.py", "_store_part")
BEGINNERS = {
    "worker/hotpath.py": "wrapper",
    "worker/hotcoroutine.py": "wrapper",
    "worker/opencall.py": "_occupy_row",
    "worker/quickcall.py": "_enter",
}


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, FUNCTION):
            yield node


def function(module: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    (found,) = [node for node in functions_of(PACKAGE / module) if node.name == name]
    return found


def is_store(node: ast.stmt) -> bool:
    """Whether a statement is one call of the slot's ``pack_into``."""
    call = node.value if isinstance(node, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("store", "_store")
    )


def taking_loops(node: ast.AST) -> list[ast.For]:
    """The loops over a grant whose body stores a slot."""
    loops = [inner for inner in ast.walk(node) if isinstance(inner, ast.For)]
    return [loop for loop in loops if any(map(is_store, loop.body))]


def test_nobody_else_writes_slots() -> None:
    """Who stores a slot is in the list above; another one has to come into it."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        for node in functions_of(path):
            inner = [one for one in ast.walk(node) if isinstance(one, FUNCTION)][1:]
            deeper = {id(loop) for one in inner for loop in taking_loops(one)}
            if any(id(loop) not in deeper for loop in taking_loops(node)):
                found.add((module, node.name))
    assert found == {*WRITERS.items(), PARTS}


@pytest.mark.parametrize(("module", "name"), [*WRITERS.items(), PARTS])
def test_slot_is_taken_and_stored_in_one_step(module: str, name: str) -> None:
    """
    Between a position and its slot nothing is called, so no handler and no thread gets in.

    The position goes where the grant's range says, and comes last, as the commit word.
    """
    (loop,) = taking_loops(function(module, name))
    assert isinstance(loop.iter, ast.Name)
    assert loop.iter.id == "positions"
    position = ast.unparse(loop.target)
    statement, leaving = loop.body
    assert isinstance(leaving, (ast.Break, ast.Return))
    assert isinstance(statement, ast.Expr)
    call = statement.value
    assert isinstance(call, ast.Call)
    inner = [node for node in ast.walk(call) if isinstance(node, ast.Call)]
    assert inner == [call]
    arguments = [ast.unparse(argument) for argument in call.args]
    assert arguments[:2] == ["buffer", f"{position} + shift"]
    assert arguments[-2:] == ["body", position]
    assert arguments[2] == "call_id"
    assert len(arguments) == 2 + len(SLOT.unpack(bytes(SLOT.size)))


@pytest.mark.parametrize(("module", "name"), BEGINNERS.items())
def test_id_is_the_last_word_of_a_row(module: str, name: str) -> None:
    """Start, parent and callee stand before the id does: a reader never sees another call's."""
    assigned = [node for node in ast.walk(function(module, name)) if isinstance(node, ast.Assign)]
    stores = [
        ast.unparse(target.slice)
        for node in sorted(assigned, key=lambda node: node.lineno)
        for target in node.targets
        if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "words"
    ]
    offsets = [text.replace("row_", "").upper().removeprefix("ROW + ") for text in stores]
    assert offsets[-1] == "ROW"
    # The long way may come after a compiled call, which has written where it runs.
    thread = {"THREAD"} if name == "_occupy_row" else set()
    assert set(offsets[:-1]) == {"START", "PARENT", "CALLEE"} | thread


@pytest.mark.parametrize("module", BEGINNERS)
def test_row_is_given_up_before_it_is_free(module: str) -> None:
    """Whoever takes a call up after an interruption frees its row once: zero comes first."""
    source = (PACKAGE / module).read_text()
    frees = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("ready.append")
        and "left" not in ast.unparse(node.func)
    ]
    assert frees
    lines = source.splitlines()
    for free in frees:
        before = "".join(lines[max(0, free.lineno - 3) : free.lineno - 1])
        assert (
            "row, row = row, 0"
            in before.replace("free, ", "row, ").replace("self._row = self._row", "row = row")
            or "self.row = 0" in before
        ), lines[free.lineno - 1]


def test_everybody_writes_the_same_bytes(place: Place) -> None:
    """One call, written by each: callee aside, body and the kind in the meta word are equal."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    out = place.run_program("wrappers/slots_of_every_writer")
    slots = msgspec.json.decode(out, type=dict[str, list[list[object]]])
    assert set(slots) == {"hotpath", "hotcoroutine", "opencall", "quickcall"}
    assert all(found == slots["hotpath"] for found in slots.values())
    assert [bytes.fromhex(str(body)) for _, body in slots["hotpath"]] == [
        b"" if not given else msgspec.msgpack.encode(given) for given in GIVEN
    ]

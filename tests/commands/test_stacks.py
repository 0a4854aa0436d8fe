"""``inflight --stacks``: where in its code each open call is, and what is said where not."""

from __future__ import annotations

import os
import re
import site
import stat
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from shmperf.commands.stacks import find_py_spy
from shmperf.errors import ShmperfError
from tests.commands.test_shown import on_terminal
from tests.support import PYTHON, Place, outputs, wait_until

REFUSED = """\
#!/bin/sh
echo "Permission Denied: Try running again with elevated permissions by going 'sudo env'" >&2
exit 1
"""
TALKS_NONSENSE = "#!/bin/sh\necho '[{\"frames\": 3}]'\n"
HANGS = "#!/bin/sh\nexec sleep 600\n"
SECRETS = ("planted-password", "planted-in-a-dict", "sk-ant")


def hanging(place: Place, *arguments: str) -> Any:
    """The program, whose calls are open; its thread hangs where it is to be found."""
    program = place.start_program("commands/hangs_in_code", *arguments)
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"
    wait_until(lambda: len(place.ask("inflight")) >= 3, "the thread's calls")
    return program


def stacks(place: Place) -> dict[str, dict[str, Any]]:
    """Each open call by its tool; skips where the system forbids looking."""
    found = {row["tool"]: row for row in place.ask("inflight", "--stacks")}
    for row in found.values():
        if "forbids" in (row["stack_problem"] or ""):
            pytest.skip(row["stack_problem"])
    return found


def functions(row: dict[str, Any]) -> list[str]:
    return [frame["function"] for frame in row["stack"]]


def beside(place: Place, py_spy: str) -> list[str]:
    """The command in an interpreter that has that program as py-spy, or none."""
    folder = place.cwd / "bin"
    folder.mkdir()
    (folder / "python").symlink_to(Path(PYTHON).resolve())
    if py_spy:
        place.write("bin/py-spy", py_spy).chmod(stat.S_IRWXU)
    paths = [str(Path(__file__).parents[2]), *site.getsitepackages()]
    place.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PATH": "/usr/bin:/bin"}
    return [str(folder / "python"), "-m", "shmperf", "inflight", "--stacks"]


def test_a_hanging_call_is_found_on_its_thread(place: Place) -> None:
    """The innermost function first, file and line, without frames of ours; its caller, too."""
    program = hanging(place)
    found = stacks(place)
    assert functions(found["hangs"])[:2] == ["waits_for_ever", "hangs"]
    assert functions(found["calls_it"])[:3] == ["waits_for_ever", "hangs", "calls_it"]
    frame = found["hangs"]["stack"][0]
    assert frame.keys() == {"function", "file", "line"}
    text = Path(frame["file"]).read_text().splitlines()
    assert "lock.acquire()" in text[frame["line"] - 1]
    shown = place.shmperf("inflight", "--stacks")
    assert shown.count(f"in waits_for_ever  {frame['file']}:{frame['line']}") == 1
    assert f"in hangs  {found['hangs']['id']}" in shown
    assert "apiKey" not in shown
    outputs(program, "\n")


def test_a_coroutine_that_waits_has_no_stack_and_one_that_blocks_has(place: Place) -> None:
    """That is said of the first; the other is what keeps the loop from going on."""
    program = hanging(place)
    found = stacks(place)
    assert found["waits"]["stack"] is None
    assert "coroutine" in found["waits"]["stack_problem"]
    assert functions(found["blocks"])[0] == "blocks"
    assert "no stack: a coroutine that waits has none" in place.shmperf("inflight", "--stacks")
    outputs(program, "\n")


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_terminals_show_open_calls_in_whole_lines(place: Place, width: int) -> None:
    """No line is wider; tool and age stay, and of a stack the functions. Without UTF-8, too."""
    program = hanging(place)
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    for environ in ({}, ascii_only):
        table = on_terminal(place, width, "inflight", **environ)
        stacked = on_terminal(place, width, "inflight", "--stacks", **environ)
        for out in (table, stacked):
            assert max(map(cell_len, out.splitlines())) <= width
            assert out.isascii() or not environ
            assert "calls_it" in out
        assert re.search(r"hangs[ |]+[\d.,]+ m?s", table)
    stacks(place)
    assert "in waits_for_ever" in on_terminal(place, width, "inflight", "--stacks")
    outputs(program, "\n")


def test_a_generators_step_is_found(place: Place) -> None:
    """While it runs it is on a thread's stack, as any function is."""
    program = hanging(place, "generator")
    assert functions(stacks(place)["yields"])[0] == "yields"
    outputs(program, "\n")


def test_locals_are_masked_and_for_terminals_alone(place: Place) -> None:
    """By name, by how they look, and where a secret's value stands under another name."""
    program = hanging(place)
    stacks(place)
    shown = place.shmperf("inflight", "--stacks", "--locals")
    assert "item = 17" in shown
    assert "password = ***" in shown
    assert '"n": 17' in shown
    assert [text for text in SECRETS if text in shown] == []
    for refused in (("--locals",), ("--stacks", "--locals", "--json")):
        place.shmperf("inflight", *refused, code=2)
    outputs(program, "\n")


def test_where_the_system_forbids_it_one_line_says_so(place: Place) -> None:
    """The calls are shown all the same, and what would help; the exit code tells scripts."""
    program = hanging(place)
    command = beside(place, REFUSED)
    refused = place.start(*command)
    out, err = outputs(refused)
    assert refused.returncode == 1
    assert "hangs" in out
    (line,) = err.splitlines()
    assert "forbids" in line
    assert "sudo" in line
    assert "SYS_PTRACE" in line
    rows = place.start(*command, "--json")
    assert "forbids" in outputs(rows)[0]
    outputs(program, "\n")


def test_without_py_spy_one_line_says_what_installs_it(place: Place) -> None:
    """Neither beside the interpreter nor on the path; without open calls nobody looks for it."""
    program = hanging(place)
    command = beside(place, "")
    alone = place.start(*command)
    _, err = outputs(alone)
    assert (alone.returncode, err) == (
        1,
        "shmperf: stacks need py-spy: pip install 'shmperf[stacks]'\n",
    )
    outputs(program, "\n")
    place.wait_for_end()
    assert place.run(*command) == "no call is open\n"


@pytest.mark.parametrize(("py_spy", "said"), [(TALKS_NONSENSE, "no answer"), (HANGS, "within 2 s")])
def test_a_py_spy_that_fails_or_hangs_is_told(place: Place, py_spy: str, said: str) -> None:
    """Nothing hangs, and nothing that it says is believed."""
    program = hanging(place)
    failed = place.start(*beside(place, py_spy))
    _, err = outputs(failed)
    assert failed.returncode == 1
    assert said in err
    outputs(program, "\n")


def test_the_one_beside_the_interpreter_comes_first(tmp_path: Path) -> None:
    """Then the one on the path; without either it is an error."""
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "py-spy").touch(stat.S_IRWXU)
    assert find_py_spy(own, str(other)) == own / "py-spy"
    assert find_py_spy(tmp_path, str(other)) == other / "py-spy"
    with pytest.raises(ShmperfError, match="pip install"):
        find_py_spy(tmp_path, str(tmp_path))

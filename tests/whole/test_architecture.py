"""The structure as a test: rooms, who may import whom, and what is nowhere to be found."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import shmperf

PACKAGE = Path(shmperf.__file__).parent
ROOT = PACKAGE.parent

# What a room may import besides itself; errors, files and config are everybody's. ALL is any room.
ALL = "*"
MAY_IMPORT: dict[str, set[str]] = {
    "stdlib": set(),
    "errors": set(),
    "files": set(),
    "config": set(),
    "compiled": set(),
    "shm": set(),
    "analysis": {"shm"},
    "session": {"shm", "analysis"},
    "storage": {"analysis", "shm"},
    "worker": {"session", "shm"},
    "collector": {"session", "storage", "analysis", "shm"},
    "query": {"session", "storage", "analysis"},
    "integrations": {"worker", "shm"},
    "interceptors": {"worker", "session", "analysis", "shm"},
    "optimized_perf_tracker": {"worker", "session", "analysis"},
    "exporters": {"analysis", "storage", "session", "query"},
    "rag": {"worker", "session", "storage", "analysis", "query"},
    "fleet": {"exporters", "query", "analysis", "storage", "session"},
    "views": {"query", "analysis", "session", "exporters", "rag"},
    "commands": {ALL},
    "pytesting": {ALL},
    "testing": {ALL},
    "__init__": {"worker", "integrations"},
    "__main__": {"commands"},
}
EVERYBODYS = {"stdlib", "errors", "files", "config", "compiled"}

# Rooms that a room may import inside a function, off its hot path, beyond the table.
LATE_ROOMS = {("worker", "storage"), ("worker", "analysis"), ("optimized_perf_tracker", "storage")}

# Imports of ours inside functions, each with its reason where it stands; whole rooms of optional
# parts (`rag`, `commands`, `pytesting`, `integrations`) do so as a rule.
LATE = {
    ("integrations.startup.sitecustomize", "integrations.registry"),
    ("config.locate", "config.file"),
    ("fleet.reach", "fleet.jetstream"),
    ("session.rendezvous", "config.destinations"),
    ("session.settings", "config.file"),
    ("worker.api", "storage.state"),
    ("worker.api", "analysis.stats"),
    ("worker.api", "analysis.runreport"),
    ("worker.names", "analysis.names"),
    ("worker.process", "worker.names"),
    ("worker.outgoing", "storage.origin"),
    ("optimized_perf_tracker", "storage.state"),
}
LATE_BY_RULE = {"commands", "pytesting"}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Every module of the package: its dotted name without ours, its file, its tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts), path, ast.parse(path.read_text())


def room_of(module: str) -> str:
    return module.partition(".")[0]


def _targets(module: str, node: ast.AST) -> Iterator[str]:
    """What of ours an import statement leads to, as dotted names without ours."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith("shmperf."):
                yield alias.name.removeprefix("shmperf.")
    elif isinstance(node, ast.ImportFrom):
        full = (node.module or "").split(".") if node.module else []
        if node.level:
            full = ["shmperf", *module.split(".")][: -node.level] + full
        if full[:1] != ["shmperf"]:
            return
        for alias in node.names:
            named = [*full[1:], alias.name]
            where = PACKAGE.joinpath(*named)
            whole = where.is_dir() or where.with_suffix(".py").is_file()
            yield ".".join(named if whole else full[1:]) or "__init__"


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """What of ours *module* imports, and whether inside a function; not what only types need."""
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) not in for_types:
            for target in _targets(module, node):
                yield target, id(node) in late


def test_every_room_is_in_the_table() -> None:
    """A new room has to say whom it may import."""
    rooms = {room_of(name) for name, _, _ in modules()}
    assert rooms <= set(MAY_IMPORT)


def test_rooms_import_one_way() -> None:
    """A room imports only those that the table allows it, inside functions too."""
    wrong = []
    for name, _, tree in modules():
        room = room_of(name)
        allowed = MAY_IMPORT[room] | EVERYBODYS | {room}
        for target, is_late in _imports(name, tree):
            other = room_of(target)
            if ALL in allowed or other in allowed or (is_late and (room, other) in LATE_ROOMS):
                continue
            wrong.append(f"{name} imports {target}")
    assert not wrong


def test_there_is_no_cycle() -> None:
    """No module leads back to itself, by imports inside functions neither."""
    graph = {name: {t for t, _ in _imports(name, tree)} for name, _, tree in modules()}
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' > '.join([*above, name])}"
        if name in done:
            return
        for target in sorted(graph.get(name, ())):
            if target != name:
                walk(target, (*above, name))
        done.add(name)

    for name in graph:
        walk(name, ())


def test_late_imports_are_the_listed_ones() -> None:
    """An import of ours inside a function has a reason, and stands in the list."""
    found = {
        (name, target)
        for name, _, tree in modules()
        if room_of(name) not in LATE_BY_RULE
        for target, is_late in _imports(name, tree)
        if is_late
    }
    assert found == LATE


def test_workers_import_msgspec_and_the_standard_library() -> None:
    """What runs in a program brings no other package."""
    foreign = {"psutil", "yaml", "rich", "numpy", "sqlite3", "asyncio"}
    for name, _, tree in modules():
        if room_of(name) not in {"worker", "shm", "session", "errors", "files"}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & foreign, name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] not in foreign, name


# What programs and their tests patch, and modules that run in no program of a user's.
PATCHED = {"fcntl", "mmap", "os", "pathlib", "secrets", "subprocess", "threading", "time"}
NOT_IN_PROGRAMS = {"session.server", "session.launch", "session.sidecar"}


def test_what_runs_in_programs_has_a_standard_library_of_its_own() -> None:
    """Who mocks a function, stops a clock or patches threads changes nothing of what we do."""
    wrong = []
    for name, _, tree in modules():
        if room_of(name) not in {"worker", "shm", "session", "files"} or name in NOT_IN_PROGRAMS:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wrong += [f"{name}: {one.name}" for one in node.names if one.name in PATCHED]
            elif isinstance(node, ast.ImportFrom) and node.module in PATCHED:
                wrong.append(f"{name}: {node.module}")
    assert wrong == []


def test_no_private_name_of_another_room() -> None:
    """What begins with an underscore stays in its room."""
    wrong = []
    for name, _, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            targets = {room_of(target) for target in _targets(name, node)}
            private = [a.name for a in node.names if a.name.startswith("_")]
            if private and targets - {room_of(name)}:
                wrong.append(f"{name} takes {private} of {targets}")
    assert not wrong


def _is_broad(handler: ast.ExceptHandler) -> bool:
    names = [handler.type] if not isinstance(handler.type, ast.Tuple) else handler.type.elts
    return handler.type is None or any(
        isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in names
    )


def _says_why(source: list[str], handler: ast.ExceptHandler) -> bool:
    """A reason beside the handler, in the line above it, or as the first line within it."""
    first = handler.body[0].lineno - 1
    near = source[handler.lineno - 2 : first + 1]
    return any("#" in line for line in near)


def test_broad_excepts_say_why() -> None:
    """``except Exception`` and ``except BaseException`` have their reason beside them."""
    bare = []
    for name, path, tree in modules():
        source = path.read_text().splitlines()
        bare += [
            f"{name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ExceptHandler)
            and _is_broad(node)
            and not _says_why(source, node)
        ]
    assert not bare


_WAIVER = re.compile(r"#\s*(?:ruff: )?noqa\b|#\s*type: ignore")
_CODES = re.compile(
    r"#|(?:ruff: )?noqa(?:: ?[A-Z]+\d+(?:, ?[A-Z]+\d+)*)?|type: ignore(?:\[[^]]*\])?|fmt: skip"
)


def _waived_without_reason(source: list[str]) -> list[int]:
    """Numbers of the lines that silence a linter and say why neither in them nor just above."""
    return [
        number
        for number, line in enumerate(source, 1)
        if (waiver := _WAIVER.search(line))
        and not _CODES.sub("", line[waiver.start() :]).strip()
        and not any(_is_reason(near) for near in source[max(0, number - 4) : number - 1])
    ]


def _is_reason(line: str) -> bool:
    """A comment of words: neither a label of the campaign nor another waiver."""
    text = line.strip()
    return text.startswith("# ") and not text.startswith("# point") and not _WAIVER.match(text)


def test_waivers_say_why() -> None:
    """Whatever silences ruff or mypy has its reason beside it."""
    for bare in (
        "x()  # noqa: S608",
        "x()  # type: ignore[misc]",
        "x()  # fmt: skip  # noqa: E501",
    ):
        assert _waived_without_reason(["", "# point below: a", bare]) == [3]
        assert not _waived_without_reason(["# One line, one store.", bare])
        assert not _waived_without_reason([f"{bare}  a reason"])
    assert not [
        f"{name}:{number}"
        for name, path, _ in modules()
        for number in _waived_without_reason(path.read_text().splitlines())
    ]


def test_modules_have_one_subject() -> None:
    """No module is a drawer, and each opens with what lives there."""
    for name, _, tree in modules():
        assert name.rpartition(".")[2] not in {"utils", "helpers", "common", "base", "core"}, name
        assert ast.get_docstring(tree), name


# The hot path is written out: a call less is a tenth of what recording costs.
LONG = {
    *(("worker.hotpath", "track_function"), ("worker.hotpath", "wrapper")),
    *(("worker.hotcoroutine", "track_coroutine"), ("worker.hotcoroutine", "wrapper")),
    ("worker.quickcall", "_enter"),
}
_MOST_LINES, _MOST_METHODS = 50, 20
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _size(node: ast.AST) -> float:
    """A class's methods, a function's lines without its docstring: as a share of the most."""
    if isinstance(node, ast.ClassDef):
        return sum(isinstance(part, _FUNCTIONS) for part in node.body) / _MOST_METHODS
    if isinstance(node, _FUNCTIONS):
        body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
        return ((body[-1].end_lineno or 0) - body[0].lineno + 1) / _MOST_LINES
    return 0


def test_functions_and_classes_stay_small() -> None:
    """What no longer fits on a screen, or does too much, is parted before it goes on growing."""
    too_large = {
        (module, node.name)
        for module, _, tree in modules()
        for node in ast.walk(tree)
        if _size(node) > 1
    }
    assert too_large == LONG


def test_packages_hold_names_only() -> None:
    """The one piece of code in an ``__init__`` is what makes names lazy."""
    for name, path, tree in modules():
        if path.stem != "__init__":
            continue
        code = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert all(node.name in {"__getattr__", "__dir__"} for node in code), name


def test_dangerous_things_are_nowhere() -> None:
    """No pickle, no shell, no loader that runs what it reads, no eval."""
    for name, _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                named = {alias.name.split(".")[0] for alias in node.names}
                assert not named & {"pickle", "marshal", "shelve"}, name
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "") not in {"pickle", "marshal", "shelve"}, name
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "os.system", "os.popen"}, name
                assert not any(keyword.arg == "shell" for keyword in node.keywords), name


def test_private_files_are_opened_in_one_place() -> None:
    """How a private file is opened, a failure is worded and our directory is named stands once."""
    for name, _, tree in modules():
        if name == "files":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"O_NOFOLLOW", "strerror"}, name
            elif isinstance(node, ast.Constant):
                assert node.value != ".shmperf", name


def test_public_names_are_the_promised_ones() -> None:
    """The package exports its promise, no more and no less."""
    assert set(shmperf.__all__) == {
        "adopt",
        "annotate",
        "call",
        "cleanup_perf_data",
        "current",
        "end_tool_call",
        "flush",
        "get_perf_stats",
        "get_tracker",
        "instrument",
        "optimize",
        "propagate",
        "set_optimization_mode",
        "track",
        "track_class",
        "track_tool_call",
        "traceparent",
        "uninstrument",
    }
    assert set(shmperf.__all__) <= set(dir(shmperf))
    for name in shmperf.__all__:
        assert getattr(shmperf, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'tarck'"):
        _ = shmperf.tarck  # type: ignore[attr-defined]  # a name that is not there


# Modules of optional packages are imported by the tests that have them.
OPTIONAL = {
    "rag.pydantic_ai",
    "rag.fastmcp",
    "rag.llamaindex",
    "integrations.startup.sitecustomize",
}


@pytest.mark.parametrize(
    "name", [n for n, _, _ in modules() if not n.endswith("__") and n not in OPTIONAL]
)
def test_exported_names_exist(name: str) -> None:
    """What ``__all__`` names is there."""
    module = importlib.import_module(f"shmperf.{name}")
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), exported


# Where bits may be spelled out: where the layout is, and where a call costs more than what it does.
BITS = {"session.word", "worker.hotpath", "worker.hotcoroutine", "worker.quickcall"}


def test_bits_are_named_where_the_layout_is() -> None:
    """Nobody else shifts a word by a number, or masks one with it: the names are in shm."""
    found = [
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for module, _, tree in modules()
        if room_of(module) != "shm" and module not in BITS
        for node in ast.walk(tree)
        if is_spelled_out(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[
            (one, True)
            for one in ("x >> 16", "x << 8", "x & 0xFFFF", "0xFF & x", "x & ~1", "x & 10")
        ],
        *[(one, True) for one in ("x &= 255", "x >>= 8", "word[0] & 1", "x & 0xFF << 8")],
        *[
            (one, False)
            for one in ("1 << 20", "x >> 20", "found.st_mode & 0o077", "a & b", "x | 1")
        ],
    ],
)
def test_spelled_out_bits_are_known(text: str, expected: bool) -> None:
    """The check above sees every form, and takes no size for one."""
    found = any(map(is_spelled_out, ast.walk(ast.parse(text))))
    assert found is expected


def is_spelled_out(node: ast.AST) -> bool:
    """``x >> 8`` and ``x & 0xFF``, not sizes like ``1 << 20`` or ``x >> 20`` nor a file's mode."""
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
    elif isinstance(node, ast.AugAssign):
        left, right = node.target, node.value
    else:
        return False
    if "st_mode" in ast.unparse(node):
        return False
    if isinstance(node.op, ast.BitAnd):
        return is_number(left) != is_number(right)
    if isinstance(node.op, (ast.LShift, ast.RShift)):
        return is_number(right) and not is_number(left) and ast.unparse(right) not in SIZES
    return False


SIZES = {"10", "20", "30"}


def is_number(node: ast.expr) -> bool:
    """An integer, or what is made of integers alone."""
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return is_number(node.left) and is_number(node.right)
    return isinstance(node, ast.Constant) and isinstance(node.value, int)

"""The structure as a test: who may import whom, and what is nowhere to be found."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shmperf

PACKAGE = Path(shmperf.__file__).parent
# Each file with a subject of its own; a package here is one, in the order of its parts.
PARTS = {
    "interceptors": ("quickcall", "chain", "tracking", "bugcatcher", "perfcatcher", "everywhere"),
    "rag": (
        *("protocol", "coalesce", "delivery", "chroma", "qdrant", "pgvector", "lancedb"),
        *("summary", "sentence", "artifact", "catalogue", "toolfile", "toolsearch", "toolstore"),
        *("stores", "track", "sink"),
        *("utility", "facts", "breaker", "live", "ranking", "retrieval"),
        *("llamaindex", "pydantic_ai", "fastmcp"),
    ),
    "pytesting": ("budgets", "phases", "report"),
}
MODULES = sorted([*(path.stem for path in PACKAGE.glob("*.py")), *PARTS])

# A module imports only what stands before it. It may grow; it may not turn around.
LAYERS = (
    ("errors", "options", "config"),
    ("record", "ring", "inflight", "memory", "segment"),
    ("presence", "places", "session", "meeting", "control"),
    ("capture", "parents"),
    ("garbage", "worker", "opencall", "hotpath", "wrappers", "classes", "observer"),
    ("limits", "family", "treestate", "calltree", "totals", "statistics", "bug", "anomaly"),
    ("journal", "store", "ledger"),
    ("drain", "intake", "disk", "flusher", "sampling", "sinkkeeper", "collector", "daemon"),
    (
        "tracker",
        "arrivals",
        "instrumentation",
        "interceptors",
        "optimized_perf_tracker",
        "__init__",
    ),
    ("rag",),
    ("wording", "answers", "screens", "running", "demo", "doctor", "cli", "pytesting", "__main__"),
)
ORDER = [name for layer in LAYERS for name in layer]

WORKER = {
    "worker",
    "opencall",
    "hotpath",
    "wrappers",
    "observer",
    "tracker",
    "capture",
    "interceptors",
}
COLLECTOR = {"drain", "intake", "disk", "flusher", "sampling", "collector", "daemon"}
COLLECTOR |= {"sinkkeeper"}

# Imports inside functions, each with its reason where it stands.
LATE = {
    ("errors", "logging"),
    ("session", "config"),
    ("options", "config"),
    ("sampling", "psutil"),
    ("tracker", "ledger"),
    ("tracker", "statistics"),
    ("optimized_perf_tracker", "ledger"),
    ("cli", "demo"),
    ("cli", "running"),
    ("cli", "daemon"),
    ("cli", "doctor"),
    ("cli", "rag"),
}

# Foreign code, and the collector's guards.
BROAD = {
    "arrivals",
    "errors",
    "capture",
    "opencall",
    "hotpath",
    "wrappers",
    "observer",
    "interceptors",
    "collector",
    "disk",
    "rag",
}


def files(name: str) -> list[Path]:
    if name in PARTS:
        return [PACKAGE / name / f"{part}.py" for part in (*PARTS[name], "__init__")]
    return [PACKAGE / f"{name}.py"]


def trees() -> Iterator[tuple[str, ast.Module]]:
    for name in MODULES:
        for path in files(name):
            yield name, ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Module names with whether they are ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level and node.module is None:
                yield from ((alias.name, True) for alias in node.names)
            elif (node.module or "").startswith("shmperf."):
                yield str(node.module).split(".")[1], True
            else:
                yield (node.module or "").split(".")[0], bool(node.level)
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], False) for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def late_imports(name: str, tree: ast.AST) -> set[tuple[str, str]]:
    return {(name, found) for function in functions(tree) for found, _ in imports(function)}


def test_every_module_has_its_place() -> None:
    """The order names every module once."""
    assert sorted(ORDER) == MODULES


def test_imports_go_one_way() -> None:
    """A module imports only what stands before it: there are no cycles."""
    for name, tree in trees():
        late = {found for _, found in late_imports(name, tree)}
        for found, ours in imports(tree):
            if ours and found not in late and found not in PARTS.get(name, ()):
                assert ORDER.index(found) < ORDER.index(name), f"{name} imports {found}"


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_a_package_have_an_order(name: str) -> None:
    """Every file of a package is named, and imports only those before it."""
    order = (*PARTS[name], "__init__")
    assert sorted(order) == sorted(path.stem for path in (PACKAGE / name).glob("*.py"))
    for place, path in enumerate(files(name)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in order[:place], f"{path.stem} imports {node.module}"


def test_worker_and_collector_meet_in_bytes() -> None:
    """Neither side imports the other."""
    for name, tree in trees():
        ours = {found for found, is_ours in imports(tree) if is_ours}
        if name in WORKER:
            assert not ours & COLLECTOR, name
        if name in COLLECTOR:
            assert not ours & WORKER, name


def test_vector_stores_are_for_nobody_else() -> None:
    """Workers and collector never import the package for vector stores, nor numpy."""
    for name, tree in trees():
        if ORDER.index(name) < ORDER.index("rag"):
            assert not {found for found, _ in imports(tree)} & {"rag", "numpy", "sqlite3"}, name
    assert ORDER.index("rag") > max(map(ORDER.index, WORKER | COLLECTOR))


def test_late_imports_are_the_listed_ones() -> None:
    """An import inside a function has a reason."""
    found = {pair for name, tree in trees() for pair in late_imports(name, tree)}
    assert found == LATE


def test_broad_excepts_stand_around_foreign_code_only() -> None:
    """``except Exception`` is for what others wrote, and for the collector's guards."""
    found = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    }
    assert found <= BROAD


def test_modules_have_one_subject() -> None:
    """No module is a drawer, and each opens with what lives there."""
    assert not set(MODULES) & {"utils", "helpers", "common", "base", "core"}
    for name, tree in trees():
        assert ast.get_docstring(tree), name


def test_dangerous_things_are_nowhere() -> None:
    """No pickle, no shell, no loader that runs what it reads, no eval."""
    for name, tree in trees():
        names = {found for found, _ in imports(tree)}
        assert not names & {"pickle", "marshal", "shelve"}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "os.system", "os.popen"}, name
                assert not any(keyword.arg == "shell" for keyword in node.keywords), name


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
        "propagate",
        "set_optimization_mode",
        "track",
        "track_class",
        "track_tool_call",
        "uninstrument",
    }
    for name in shmperf.__all__:
        assert getattr(shmperf, name).__doc__


@pytest.mark.parametrize("name", [n for n in MODULES if not n.startswith("__")])
def test_exported_names_exist(name: str) -> None:
    """What ``__all__`` names is there."""
    module = __import__(f"shmperf.{name}", fromlist=["*"])
    for exported in module.__all__:
        assert hasattr(module, exported), exported

"""
The standard library as it is, whatever a program or its tests have patched or will patch.

Tests freeze clocks, mock ``os.getpid`` and replace the file system; gevent exchanges locks, waiting
and sleeping. What we measure and store must not depend on it: a frozen end gives durations of
years, a mocked pid another worker, a greenlet that is switched to in a lock lost calls.

    os, time, fcntl, mmap, secrets   namespaces of functions of their own
    get_ident, RLock, Socket         threads and sockets of the system, never of greenlets
    Path                             a path whose looks and deeds go by that ``os``

What is written in C is made anew from its module, so nobody's search for the well-known functions
(freezegun goes through all modules for them) finds ours, and what was patched before this module
was imported is not taken over. ``os.environ`` is the program's own.
"""

from __future__ import annotations

import _io
import _socket
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from io import open as _open
from os import PathLike, fspath
from stat import S_ISDIR, S_ISREG
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

__all__ = [
    "Path",
    "RLock",
    "Socket",
    "fcntl",
    "get_ident",
    "mmap",
    "os",
    "perf_counter_ns",
    "secrets",
    "thread_time_ns",
    "time",
]


def _anew(name: str) -> dict[str, Any]:
    """The names of a module that is written in C, made once more; its own where that can't be."""
    __import__(name)
    spec: ModuleSpec | None = find_spec(name)
    try:
        assert spec is not None  # noqa: S101  for the type checker: it has just been imported
        assert spec.loader is not None  # noqa: S101  the same
        module: ModuleType = module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, SystemError):
        module = sys.modules[name]
    return vars(module)


def _tidied(path: str) -> str:
    """Without the parts that say nothing: ``.``, and slashes beyond the first."""
    if "//" not in path and "/." not in path and not path.endswith("/") and path[:1] != ".":
        return path or "."
    root = path[: len(path) - len(path.lstrip("/"))]
    # POSIX lets two slashes at the start mean something else.
    root = root if root == "//" else root[:1]
    return root + "/".join([part for part in path.split("/") if part not in ("", ".")]) or "."


if TYPE_CHECKING:
    import fcntl
    import mmap
    import os
    import secrets
    import time
    from pathlib import Path
    from socket import socket as Socket  # noqa: N812  a class that is named like one
    from threading import RLock, get_ident
    from time import perf_counter_ns, thread_time_ns
else:
    import os as _os
    import secrets as _secrets

    _open = _io.open
    os = SimpleNamespace(**{**vars(_os), **_anew("posix"), "environ": _os.environ, "fdopen": _open})
    time = SimpleNamespace(**_anew("time"))
    fcntl = SimpleNamespace(**_anew("fcntl"))
    mmap = SimpleNamespace(**_anew("mmap"))
    secrets = SimpleNamespace(**vars(_secrets))
    perf_counter_ns, thread_time_ns = time.perf_counter_ns, time.thread_time_ns
    # The same clock on Linux, and the one that time-machine leaves alone.
    time.monotonic = time.perf_counter
    get_ident, RLock = map(_anew("_thread").get, ("get_ident", "RLock"))
    for _function in (perf_counter_ns, thread_time_ns, get_ident):
        # Tracked functions that are sent by value hold them: found here, by name, on arrival.
        _function.__module__ = __name__

    class Socket(_socket.socket):
        """A socket of the system's, as a context manager."""

        def __enter__(self) -> Self:
            """Itself."""
            return self

        def __exit__(self, *_: object) -> None:
            """Close it."""
            self.close()

    class PurePath:
        """
        A path as a text, equal to every path that reads the same.

        Why not `pathlib`: with what that imports it would be a fifth of a worker's import. What a
        path can do besides is left to it, for commands and the collector, which have it anyway.
        """

        __slots__ = ("_text",)

        def __init__(self, path: Any) -> None:
            self._text = path._text if isinstance(path, PurePath) else _tidied(fspath(path))

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            from pathlib import PosixPath  # noqa: PLC0415  the reason stands above

            return getattr(PosixPath(self._text), name)

        def __fspath__(self) -> str:
            return self._text

        __str__ = __fspath__

        def __repr__(self) -> str:
            return f"Path({self._text!r})"

        def __truediv__(self, other: Any) -> Self:
            text = fspath(other)
            if not text.startswith("/"):
                text = self._text + ("" if self._text.endswith("/") else "/") + text
            return type(self)(text)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, PurePath | PathLike) and self._text == fspath(other)

        def __hash__(self) -> int:
            return hash(self._text)

        def __lt__(self, other: Any) -> bool:
            return self._text.split("/") < fspath(other).split("/")

        def __gt__(self, other: Any) -> bool:
            return self._text.split("/") > fspath(other).split("/")

        @property
        def name(self) -> str:
            """The last part; nothing of a root, or of where the program works."""
            return "" if self._text == "." else self._text.rpartition("/")[2]

        @property
        def parent(self) -> Self:
            """The directory that it lies in; itself where there is none above."""
            name = self._text.rpartition("/")[2]
            return type(self)(self._text[: -len(name)]) if name else self

        def with_name(self, name: str) -> Self:
            """Beside it, of that name."""
            return self.parent / name

        def is_absolute(self) -> bool:
            """True when it does not depend on where the program works."""
            return self._text.startswith("/")

    class Path(PurePath):
        """A path whose looks and deeds go by the functions above; only those that are used here."""

        __slots__ = ()

        @classmethod
        def cwd(cls) -> Self:
            """Where the program works."""
            return cls(os.getcwd())

        def stat(self, *, follow_symlinks: bool = True) -> Any:
            """What is known of the file."""
            return os.stat(self, follow_symlinks=follow_symlinks)

        def lstat(self) -> Any:
            """The same, of a link itself."""
            return os.lstat(self)

        def is_dir(self) -> bool:
            """True for a directory; False also where it can't be looked at."""
            return self._is(S_ISDIR)

        def is_file(self) -> bool:
            """True for a plain file; False also where it can't be looked at."""
            return self._is(S_ISREG)

        def exists(self) -> bool:
            """True for anything that is there."""
            return self._is(lambda _: True)

        def _is(self, check: Any) -> bool:
            try:
                return bool(check(self.stat().st_mode))
            except (OSError, ValueError):  # ValueError: a name with a null character
                return False

        def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            """Make the directory."""
            try:
                os.mkdir(self, mode)
            except FileNotFoundError:
                if not parents or self.parent == self:
                    raise
                self.parent.mkdir(parents=True, exist_ok=True)
                self.mkdir(mode, exist_ok=exist_ok)
            except OSError:
                if not exist_ok or not self.is_dir():
                    raise

        def unlink(self, missing_ok: bool = False) -> None:
            """Remove the file."""
            try:
                os.unlink(self)
            except FileNotFoundError:
                if not missing_ok:
                    raise

        def rmdir(self) -> None:
            """Remove the empty directory."""
            os.rmdir(self)

        def rename(self, target: Any) -> Any:
            """Give it another name."""
            os.rename(self, target)
            return type(self)(target)

        def replace(self, target: Any) -> Any:
            """Give it another name, in the place of what has it."""
            os.replace(self, target)
            return type(self)(target)

        def iterdir(self) -> Iterator[Self]:
            """What is in the directory."""
            return iter([self / name for name in os.listdir(self)])

        def open(self, *args: Any, **kwargs: Any) -> Any:
            """Open the file."""
            return _open(self, *args, **kwargs)

        def read_bytes(self) -> bytes:
            """All that is in it."""
            with _open(self, "rb") as file:
                return file.read()

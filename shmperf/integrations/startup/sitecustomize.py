"""
Run by the interpreter as it starts, in programs under ``shmperf run --instrument``.

That command puts this directory in front of ``PYTHONPATH``, which child processes inherit. Whoever
has a ``sitecustomize`` of their own keeps it: it is run after this one, and stays the module of
that name. An interpreter that has no shmperf is left alone.
"""

# ruff: noqa: INP001  no package, but a directory that is searched for one module

import importlib
import os
import sys


def _run_the_other() -> None:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  no more imports
    sys.path[:] = [path for path in sys.path if path != here]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        # The import that is under way expects a module of that name.
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


def _instrument() -> None:
    names = os.environ.get("SHMPERF_INSTRUMENT")
    if not names:
        return
    try:
        from shmperf.integrations.registry import instrument_when_imported  # noqa: PLC0415  if it is here
    except ImportError:
        return
    instrument_when_imported(names.split(","))


_instrument()
_run_the_other()

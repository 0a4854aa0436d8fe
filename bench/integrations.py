"""
What an integration adds to a framework's own cost of calling a tool that does nothing.

Each framework is measured in a process of its own, a tool's call with the switch on and off in
turn. Frameworks that are not installed are left out, and named on stderr; so are those that take
seconds to start, with ``--quick``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import shmperf
from shmperf.integrations.registry import installed

from .measure import Row, in_turn, private_place, row_of, run_python

__all__ = ["integrations"]

_COUNT = 500
_SLOW = ("dask", "ray")
_PER_RUN = 20

Subject = Callable[[int], float]


def integrations(*, quick: bool) -> list[Row]:
    """The rows: each framework's call without, and what the integration adds to it."""
    rounds = 5 if quick else 15
    rows: list[Row] = []
    for name in _SUBJECTS:
        if name not in installed() or (quick and name in _SLOW):
            reason = "slow" if name in installed() else "not installed"
            print(f"{name} is left out: {reason}", file=sys.stderr)
            continue
        series = _measured(name, min(rounds, 3) if name in _SLOW else rounds)
        pairs = zip(series["with"], series["without"], strict=True)
        added = [(one - other) / 1000 for one, other in pairs]
        rows.append(row_of(f"{name}, without", [one / 1000 for one in series["without"]], "µs"))
        rows.append(row_of(f"{name}, added", added, "µs"))
    return rows


def _measured(name: str, rounds: int) -> dict[str, list[float]]:
    with private_place() as (cwd, environ):
        environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
        environ |= {"PYTHONWARNINGS": "ignore", "OTEL_SDK_DISABLED": "false"}
        environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        code = f"from bench.integrations import main; main({name!r}, {rounds})"
        found: dict[str, list[float]] = json.loads(run_python(code, cwd, environ).splitlines()[-1])
        return found


def main(name: str, rounds: int) -> None:
    """Measure one framework in this process, and print the series as one line of JSON."""
    with _SUBJECTS[name]() as subject:
        found = in_turn({"without": subject, "with": _instrumented(name, subject)}, rounds, _COUNT)
    recorded = shmperf.get_perf_stats("tool")["count"]
    assert recorded > rounds * _COUNT * 0.9, f"{name}: {recorded} calls were recorded"
    print(json.dumps(found))


def _instrumented(name: str, subject: Subject) -> Subject:
    def run(count: int) -> float:
        # Frozen instances can't be found, and some integrations look for those that exist.
        gc.unfreeze()
        shmperf.instrument(name)
        try:
            shmperf.get_perf_stats("tool")
            return subject(count)
        finally:
            shmperf.uninstrument(name)

    return run


def _tool(key: str) -> str:
    """Do nothing."""
    return key


def tool(key: str) -> str:
    """Do nothing, in a worker process that finds it by its name."""
    return key


def _named_tool() -> Callable[[str], str]:
    def tool(key: str) -> str:
        """Do nothing."""
        return key

    return tool


def _timed(call: Callable[[], Any]) -> Subject:
    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count):
            call()
        return (perf_counter_ns() - start) / count

    return run


def _timed_runs(run_once: Callable[[], Any]) -> Subject:
    """Runs of an agent whose model asks for several tools at once."""

    def run(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count // _PER_RUN):
            run_once()
        return (perf_counter_ns() - start) / (count // _PER_RUN * _PER_RUN)

    return run


@contextmanager
def _multiprocessing() -> Iterator[Subject]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        yield _timed(lambda: pool.apply(tool, ("a",)))


@contextmanager
def _concurrent_futures() -> Iterator[Subject]:
    with ThreadPoolExecutor(1) as executor:
        yield _timed(lambda: executor.submit(tool, "a").result())


@contextmanager
def _threading() -> Iterator[Subject]:
    def call() -> None:
        thread = threading.Thread(target=tool, args=("a",))
        thread.start()
        thread.join()

    yield _timed(call)


@contextmanager
def _langchain() -> Iterator[Subject]:
    from langchain_core.tools import StructuredTool  # noqa: PLC0415

    tool = StructuredTool.from_function(_named_tool())
    yield _timed(lambda: tool.invoke({"key": "a"}))


@contextmanager
def _mcp() -> Iterator[Subject]:
    from mcp.client.client import Client  # noqa: PLC0415
    from mcp.server.mcpserver import MCPServer  # noqa: PLC0415

    def run(count: int) -> float:
        async def use() -> float:
            server = MCPServer("bench")
            server.tool()(_named_tool())
            async with Client(server) as client:
                await client.call_tool("tool", {"key": "a"})
                start = perf_counter_ns()
                for _ in range(count):
                    await client.call_tool("tool", {"key": "a"})
                return (perf_counter_ns() - start) / count

        return asyncio.run(use())

    yield run


@contextmanager
def _fastmcp() -> Iterator[Subject]:
    from fastmcp import FastMCP  # noqa: PLC0415

    def run(count: int) -> float:
        async def use() -> float:
            server = FastMCP("bench")
            server.tool(_named_tool())
            await server.call_tool("tool", {"key": "a"})
            start = perf_counter_ns()
            for _ in range(count):
                await server.call_tool("tool", {"key": "a"})
            return (perf_counter_ns() - start) / count

        return asyncio.run(use())

    yield run


@contextmanager
def _openai_agents() -> Iterator[Subject]:
    from agents import Agent, ModelResponse, Runner, Usage, function_tool  # noqa: PLC0415
    from agents.models.interface import Model  # noqa: PLC0415
    from openai.types.responses import (  # noqa: PLC0415
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    class Scripted(Model):
        def __init__(self) -> None:
            self.has_asked = False

        async def get_response(self, *_: Any, **__: Any) -> Any:
            output: list[Any] = [
                ResponseFunctionToolCall(
                    name="tool", arguments='{"key": "a"}', call_id=str(at), type="function_call"
                )
                for at in range(_PER_RUN)
            ]
            if self.has_asked:
                text = ResponseOutputText(text="done", type="output_text", annotations=[])
                output = [
                    ResponseOutputMessage(
                        id="m",
                        content=[text],
                        role="assistant",
                        status="completed",
                        type="message",
                    )
                ]
            self.has_asked = not self.has_asked
            return ModelResponse(output=output, usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    agent = Agent(name="bench", model=Scripted(), tools=[function_tool(_named_tool())])
    yield _timed_runs(lambda: Runner.run_sync(agent, "go"))


@contextmanager
def _pydantic_ai() -> Iterator[Subject]:
    from pydantic_ai import Agent  # noqa: PLC0415
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart  # noqa: PLC0415
    from pydantic_ai.models.function import FunctionModel  # noqa: PLC0415

    def answer(messages: list[Any], _: Any) -> ModelResponse:
        if len(messages) > 1:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("tool", {"key": "a"}) for _ in range(_PER_RUN)])

    async def tool(key: str) -> str:
        return key

    agent = Agent(FunctionModel(answer))
    agent.tool_plain(tool)
    yield _timed_runs(lambda: agent.run_sync("go"))


@contextmanager
def _opentelemetry() -> Iterator[Subject]:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    # The process's own: the benchmark freezes what there is, and freezing hides others.
    trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("bench")
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "tool"}

    def call() -> None:
        with tracer.start_as_current_span("execute_tool tool", attributes=attributes):
            _tool("a")

    yield _timed(call)


@contextmanager
def _celery() -> Iterator[Subject]:
    from celery import Celery  # noqa: PLC0415

    app = Celery("bench", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True
    task = app.task(_named_tool(), name="bench.tool")
    yield _timed(lambda: task.delay("a"))


@contextmanager
def _dask() -> Iterator[Subject]:
    from distributed import Client, LocalCluster  # noqa: PLC0415

    cluster = LocalCluster(
        dashboard_address=None, processes=False, n_workers=1, threads_per_worker=1
    )
    with cluster, Client(cluster) as client:

        def run(count: int) -> float:
            start = perf_counter_ns()
            client.gather(client.map(_named_tool(), range(count), pure=False))
            return (perf_counter_ns() - start) / count

        yield run


@contextmanager
def _ray() -> Iterator[Subject]:
    import ray  # noqa: PLC0415

    def run(count: int) -> float:
        # What the switch changes is in the workers, which start with Ray.
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(Path("ray").absolute()),
        )
        try:
            task = ray.remote(_named_tool())
            ray.get(task.remote("a"))
            start = perf_counter_ns()
            for _ in range(count):
                ray.get(task.remote("a"))
            return (perf_counter_ns() - start) / count
        finally:
            ray.shutdown()

    yield run


_SUBJECTS: dict[str, Callable[[], Any]] = {
    "multiprocessing": _multiprocessing,
    "concurrent.futures": _concurrent_futures,
    "threading": _threading,
    "langchain": _langchain,
    "mcp": _mcp,
    "fastmcp": _fastmcp,
    "openai-agents": _openai_agents,
    "pydantic-ai": _pydantic_ai,
    "opentelemetry": _opentelemetry,
    "celery": _celery,
    "dask": _dask,
    "ray": _ray,
}

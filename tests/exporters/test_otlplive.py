"""Spans that are sent while a session runs: a real receiver, nothing missing, nothing twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from shmperf.analysis.stats import Figures
from shmperf.config.options import Export, Otlp
from shmperf.exporters.families import Reading
from shmperf.exporters.otlplive import Metrics, Spans
from shmperf.exporters.reading import ask
from shmperf.session.client import Client
from shmperf.shm.record import Call
from shmperf.storage.consumer import Consumer
from shmperf.storage.lines import jsonl
from shmperf.storage.outbox import Outbox, call_lines
from shmperf.testing import Clock

from .receiver import Receiver, Reply, attributes, receiving, spans_in
from .test_families import totals_of

ALERT = b'{"kind":"alert","alert":{}}\n'
FIRST_NS = 1_790_000_000_000_000_000


def call(number: int, tool: str = "search", **changes: Any) -> Call:
    """A finished call of that id."""
    start_ns = FIRST_NS + number * 1_000
    return Call(tool, number, 42, 0, start_ns, 7_000_000, 0, '{"q":"hidden"}', **changes)


@pytest.fixture
def server() -> Iterator[Receiver]:
    """One on this machine."""
    with receiving() as found:
        yield found


class Story:
    """An outbox, who sends from it, and the clock."""

    def __init__(self, storage: Path, server: Receiver) -> None:
        self.storage, self.clock, self.url = storage, Clock(), server.url
        first = Consumer(storage, "otlp")
        first.register()
        first.close()
        self.outbox = Outbox(storage)
        self.spans = self.new()

    def new(self, environ: Mapping[str, str] | None = None, **options: Any) -> Spans:
        """Another process of it."""
        otlp = Otlp(**{"endpoint": self.url, **options})
        return Spans(self.storage, otlp, environ or {}, self.clock)

    def again(self, environ: Mapping[str, str] | None = None, **options: Any) -> None:
        """It was killed, and there is another."""
        self.spans.close()
        self.spans = self.new(environ, **options)

    def put(self, *calls: Call, before: bytes = ALERT, most_bytes: int = 1 << 30) -> None:
        """Calls, behind an alert."""
        self.outbox.prepare(most_bytes)
        self.outbox.append(before + call_lines(jsonl(calls)))
        self.outbox.commit()

    def run(self) -> None:
        """All that can be sent now."""
        while self.spans.step():
            pass


@pytest.fixture
def story(tmp_path: Path, server: Receiver) -> Iterator[Story]:
    """A story with that server."""
    found = Story(tmp_path, server)
    yield found
    found.spans.close()


def test_each_call_is_a_span_once(story: Story, server: Receiver) -> None:
    """Also where another process goes on; without parameters."""
    story.put(*map(call, range(1, 4)))
    story.run()
    story.put(call(4))
    story.run()
    story.again()
    story.put(call(5))
    story.run()
    assert server.ids() == {f"{number:016x}": 1 for number in range(1, 6)}
    assert "gen_ai.tool.call.arguments" not in attributes(server.spans()[0])
    report = story.spans.look()
    assert (report.sent, report.waiting, report.dropped, report.problem) == (1, 0, 0, None)


def test_parameters_are_sent_where_that_is_said(story: Story, server: Receiver) -> None:
    """As history shows them."""
    story.again(arguments=True)
    story.put(call(1))
    story.run()
    assert attributes(server.spans()[0])["gen_ai.tool.call.arguments"] == '{"q":"hidden"}'


@pytest.mark.parametrize("status", [429, 502, 503, 504, -1, -2])
def test_what_may_be_taken_later_is_sent_later(story: Story, server: Receiver, status: int) -> None:
    """After a pause; nothing overtakes, and nothing is told of the URL but its host."""
    server.replies = [Reply(status)] * 2
    story.put(call(1))
    story.run()
    assert not story.spans.step()
    assert story.spans.report.problem
    assert len(server.asked) == 1
    for _ in range(2):
        story.clock.now_s += 4.0
        story.run()
    assert server.ids() == {f"{1:016x}": 1}
    assert story.spans.look().problem is None


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 500])
def test_what_is_refused_is_counted(story: Story, server: Receiver, status: int) -> None:
    """And not in the way of the next; nothing is followed anywhere."""
    server.replies = [Reply(status, (("Location", f"{server.url}/elsewhere"),))]
    story.put(call(1), call(2))
    story.run()
    story.put(call(3))
    story.run()
    assert server.ids() == {f"{3:016x}": 1}
    report = story.spans.look()
    assert (report.sent, report.dropped) == (1, 2)
    assert f"HTTP {status}" in (report.last_error or "")


def test_retry_after_is_heeded(story: Story, server: Receiver) -> None:
    """Who says when to come again is not asked before."""
    server.replies = [Reply(503, (("Retry-After", "30"),))]
    story.put(call(1))
    for wait_s, tries in ((29.0, 1), (2.0, 2)):
        story.run()
        story.clock.now_s += wait_s
        story.run()
        assert len(server.asked) == tries


def test_what_is_too_much_is_sent_in_halves(story: Story, server: Receiver) -> None:
    """Down to one span, which is then refused."""
    server.replies = [Reply(413)] * 3
    story.put(*map(call, range(1, 9)), before=b"")
    story.run()
    assert [len(spans_in(message)) for _, _, message in server.asked[:4]] == [8, 4, 2, 1]
    assert server.ids() == {f"{number:016x}": 1 for number in range(1, 9)}
    story.again()
    story.put(call(9))
    server.replies = [Reply(413)]
    story.run()
    assert (story.spans.look().sent, story.spans.look().dropped) == (0, 1)


def test_who_answers_many_too_late_gets_fewer(story: Story, server: Receiver) -> None:
    """Nothing is sent for ever in vain; as many again as soon as it answers quickly."""
    story.again({"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"})
    story.put(*map(call, range(1, 601)), before=b"")
    server.most_in_time = 200
    for _ in range(2):
        story.run()
        assert "in time" in (story.spans.look().problem or "")
        story.clock.now_s += 4.0
    server.most_in_time = 300
    story.run()
    sizes = [len(spans_in(message)) for _, _, message in server.asked]
    assert sizes == [600, 300, 150, 300, 150]
    assert server.ids() == {f"{number:016x}": 1 for number in range(1, 601)}


def test_partial_success_is_counted(story: Story, server: Receiver) -> None:
    """What it leaves out is dropped, and its reason told, in one line."""
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too\nlong"
    server.replies = [Reply(200, (), answer.SerializeToString())]
    story.put(*map(call, range(1, 6)))
    story.run()
    report = story.spans.look()
    assert (report.sent, report.dropped, report.problem) == (3, 2, None)
    assert (report.last_error or "").endswith("rejected 2: too long")


@pytest.mark.parametrize("body", [b"\x00" * 99, b"\x0a\xff", b"\x0a\x7fshort", b"<html>", b"\x0b"])
def test_garbage_behind_a_success_is_none(story: Story, server: Receiver, body: bytes) -> None:
    """It was taken; what else was said nobody knows."""
    server.replies = [Reply(200, (), body)]
    story.put(call(1))
    story.run()
    report = story.spans.look()
    assert (report.sent, report.dropped, report.problem, report.last_error) == (1, 0, None, None)


def test_reason_of_a_refusal_is_told(story: Story, server: Receiver) -> None:
    """As the protocol carries it, a Status."""
    said = b"\x12\x0bno such key"
    server.replies = [Reply(401, (), said)]
    story.put(call(1))
    story.run()
    assert (story.spans.look().last_error or "").endswith("refused: HTTP 401: no such key")


def test_variables_of_the_standard_are_followed(story: Story, server: Receiver) -> None:
    """Headers and compression; who a URL names is shown as Basic authorization."""
    environ = {
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-scope=some%20one",
    }
    url = server.url.replace("//", "//user:word@")
    story.again(environ, endpoint=url, headers={"x-more": "mine"})
    story.put(call(1))
    story.run()
    ((path, headers, _),) = server.asked
    assert path == "/v1/traces"
    assert headers["content-encoding"] == "gzip"
    assert (headers["x-scope"], headers["x-more"]) == ("some one", "mine")
    assert headers["authorization"].startswith("Basic ")
    assert server.ids() == {f"{1:016x}": 1}


def test_receiver_that_comes_back_gets_all(story: Story) -> None:
    """Killed in the middle and started again on its port: nothing missing, nothing twice."""
    with receiving() as first:
        story.again(endpoint=first.url)
        story.put(call(1), call(2))
        story.run()
        port, found = first.server_port, first.ids()
    story.put(call(3))
    story.run()
    assert "refused" in (story.spans.look().problem or "").lower()
    assert story.spans.look().waiting == 2
    story.clock.now_s += 2.0
    with receiving(port) as second:
        story.run()
        found += second.ids()
    assert found == {f"{number:016x}": 1 for number in range(1, 4)}


def test_connection_that_was_closed_meanwhile_is_made_anew(story: Story, server: Receiver) -> None:
    """At once: a receiver that lets idle connections go is no failure."""
    story.put(*map(call, range(1, 6_001)))
    assert story.spans.step()
    assert story.spans.step()
    assert server.connections == 1
    server.hang_up()
    story.run()
    assert server.ids() == {f"{number:016x}": 1 for number in range(1, 6_001)}
    assert (server.connections, story.spans.look().problem) == (2, None)


def test_server_of_one_thread_hears_both(tmp_path: Path) -> None:
    """Nobody holds a connection that he does not need: the other would wait for ever."""
    with receiving(is_alone=True) as server:
        story, counting = Story(tmp_path, server), Counting(tmp_path, server.url)
        for number in (1, 2):
            story.put(call(number))
            story.run()
            counting.step(10.0)
        story.spans.close()
        assert len(server.of("/v1/traces")) == len(server.of("/v1/metrics")) == 2


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_server_that_hangs_is_let_go(story: Story, said: bytes) -> None:
    """In the time that the environment allows; what speaks something else at once."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        held: list[socket.socket] = []

        def hang() -> None:
            connection, _ = hanging.accept()
            connection.sendall(said)
            held.append(connection)

        thread = threading.Thread(target=hang)
        thread.start()
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        story.again({"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}, endpoint=url)
        story.put(call(1))
        story.run()
        thread.join()
        for connection in held:
            connection.close()
    report = story.spans.look()
    assert (report.sent, report.dropped, report.waiting) == (0, 0, 2)
    assert report.problem


def test_what_the_outbox_can_not_hold_is_counted(story: Story, server: Receiver) -> None:
    """The backend away for long costs disk within the bound; the newest are there still."""
    server.replies = [Reply(503)]
    story.put(call(1))
    story.run()
    for number in range(2, 40):
        story.put(*(call(1_000 * number + n) for n in range(400)), most_bytes=1 << 20)
    put = 1 + 38 * 400
    story.clock.now_s += 2.0
    story.run()
    report = story.spans.look()
    # Lines are counted, an alert's among them: of what is gone nobody knows what it was.
    assert 0 < put - report.sent <= report.dropped <= put - report.sent + 39
    assert f"{39_399:016x}" in server.ids()


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"call"',
        '{"kind":"call","tool":7,"data":{"id":[],"s":"x"}}',
        '{"kind":"call","tool":"t","timestamp":"","data":{"id":"short","s":1}}',
        '{"kind":"call","tool":"t","timestamp":"no time","data":{"id":"0000000000000005"}}',
        '{"kind":"call","tool":"t","timestamp":"","data":{"id":"0000000000000000","s":1e400}}',
    ],
)
def test_damaged_lines_are_in_nobodys_way(story: Story, server: Receiver, line: str) -> None:
    """What is no call, or has no id or time of ours, is passed over."""
    story.outbox.prepare(1 << 30)
    story.outbox.append(f"{line}\n".encode())
    story.put(call(1))
    story.run()
    assert server.ids() == {f"{1:016x}": 1}


@pytest.mark.parametrize("tool", ['"quoted"', "a\nb", "a\0b", "x" * 10_000, "\ud800", "κλήση"])
def test_odd_names_are_sent_as_they_are(story: Story, server: Receiver, tool: str) -> None:
    """What is no UTF-8 as its escape."""
    story.put(call(1, tool.encode("utf-8", "backslashreplace").decode()))
    story.run()
    (span,) = server.spans()
    assert attributes(span)["gen_ai.tool.name"] == tool.encode("utf-8", "backslashreplace").decode()


def test_two_never_read_at_once(story: Story, server: Receiver) -> None:
    """The second says so, and goes on where the first has left off."""
    story.put(call(1))
    story.run()
    second = story.new()
    assert not second.step()
    assert "running" in (second.report.problem or "")
    story.spans.close()
    story.clock.now_s += 2.0
    story.put(call(2))
    while second.step():
        pass
    second.close()
    assert server.ids() == {f"{number:016x}": 1 for number in (1, 2)}


def test_spans_that_nobody_wants_are_not_sent(story: Story, server: Receiver) -> None:
    """And don't fill the outbox."""
    story.again(spans=False)
    story.put(call(1))
    story.run()
    assert (server.asked, story.spans.look().waiting) == ([], 0)


# --- metrics --------------------------------------------------------------------------------------


class Counting:
    """Metrics that are sent there, of what has been counted so far, and their clock."""

    def __init__(self, storage: Path, endpoint: str, **options: Any) -> None:
        self.clock, self.calls, self.read = Clock(), 0, 0
        otlp = Otlp(endpoint=endpoint, interval_seconds=10.0, **options)
        self.metrics = Metrics(storage, Export(otlp=otlp), {}, self.clock)

    def reading(self) -> Reading:
        """One more call than the last time."""
        self.read += 1
        return Reading(Figures(totals={"search": totals_of(*[1_000] * self.calls)}))

    def step(self, passed_s: float, *, is_last: bool = False) -> None:
        """After so long."""
        self.clock.now_s += passed_s
        self.calls += 1
        self.metrics.step(self.reading, is_last=is_last)


def told(server: Receiver) -> list[int]:
    """How many calls each request knew of."""
    return [
        metric.exponential_histogram.data_points[0].count
        for message in server.of("/v1/metrics")
        for metric in message.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "gen_ai.execute_tool.duration"
    ]


@pytest.fixture
def counting(tmp_path: Path, server: Receiver) -> Counting:
    """With that server."""
    return Counting(tmp_path, server.url)


def test_metrics_are_sent_once_an_interval(counting: Counting, server: Receiver) -> None:
    """And once more in the end; nobody is asked in between."""
    for passed_s in (0.0, 1.0, 8.0, 2.0, 10.0):
        counting.step(passed_s)
    counting.step(0.1, is_last=True)
    assert told(server) == [1, 4, 5, 6]
    assert counting.read == 4


def test_metrics_that_were_not_taken_are_in_the_next(counting: Counting, server: Receiver) -> None:
    """As soon as the backend takes any, and as they are then."""
    server.replies = [Reply(503, (("Retry-After", "15"),))]
    for passed_s in (0.0, 11.0, 5.0):
        counting.step(passed_s)
        if passed_s == 11.0:
            assert "metrics to" in (counting.metrics.report.problem or "")
    assert told(server) == [3]
    assert counting.metrics.report.problem is None


def test_backend_without_metrics_is_told(counting: Counting, server: Receiver) -> None:
    """As the last error; nothing waits for it, and nothing is dropped."""
    server.replies = [Reply(404)] * 9
    counting.step(0.0)
    report = counting.metrics.report
    assert (report.problem, report.dropped) == (None, 0)
    assert (report.last_error or "").endswith("refused: HTTP 404")
    assert len(server.asked) == 1


def test_metrics_that_nobody_wants_are_not_sent(tmp_path: Path, server: Receiver) -> None:
    """Nor is anybody asked for them."""
    counting = Counting(tmp_path, server.url, metrics=False)
    counting.step(0.0, is_last=True)
    assert (server.asked, counting.read) == ([], 0)


def test_collector_that_does_not_answer_is_told(
    tmp_path: Path, counting: Counting, server: Receiver
) -> None:
    """And asked again at the next interval."""
    counting.metrics.step(lambda: ask(Client(tmp_path), 0.1))
    assert "collector" in (counting.metrics.report.problem or "")
    counting.step(10.0)
    assert (told(server), counting.metrics.report.problem) == ([1], None)

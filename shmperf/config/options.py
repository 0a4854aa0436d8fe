"""
Every option once: its type, bounds, default and, in its group's docstring, one sentence about it.

The YAML file, its errors and `shmperf config` are made from these structs, and a session's settings
travel to its workers as their msgpack. Workers import this module, so it imports no YAML, and its
annotations are no texts: msgspec would evaluate each of them, at four times the cost of these.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = [
    "COMPRESSIONS",
    "STORES",
    "WHEN_FULL",
    "Anomaly",
    "Capture",
    "CollectorOptions",
    "Every",
    "Export",
    "Fleet",
    "HistoryOptions",
    "Limit",
    "Optimization",
    "Options",
    "Otlp",
    "Prometheus",
    "Rag",
    "Ring",
    "Sampling",
    "Storage",
    "Watch",
    "address_of",
    "expected_of",
    "servers_of",
]

# Where performance facts can be kept: the one of our own, and those that have an adapter.
STORES = ("tools", "chroma", "qdrant", "pgvector", "lancedb")

_HIGHEST_PORT = 65_535
_WEB, _NATS = ("http", "https"), ("nats", "tls")
_NAMED = {"http": "an http", "nats": "a nats"}

COMPRESSIONS = ("zstd", "gzip", "off")
WHEN_FULL = ("stop", "drop_oldest")

_SECRETS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "authorization",
    "cookie",
    "credential",
    "session_id",
)
_SECRET_WORDS = ("auth", "oauth", "pwd", "jwt", "bearer", "passcode", "creds")

Limit = Annotated[int, Meta(ge=-1, le=1_000_000_000)]
Every = Annotated[int, Meta(ge=1, le=1_000_000)]


class Optimization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Recording everything, to choose and tune tools by.

    enabled: start in optimization mode
    trigger_threshold: calls of the session after which a run starts by itself; 0: never
    min_interval_seconds: least time between two runs that start so
    run_calls: calls in detail after which a run ends
    run_seconds: seconds after which it ends all the same
    cleanup_on_optimize: whether cleanup_perf_data() forgets history and statistics
    """

    enabled: bool = False
    trigger_threshold: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 10_000
    min_interval_seconds: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600
    run_calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    run_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60
    cleanup_on_optimize: bool = True


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Where and how often history is written.

    path: directory; relative to where the session was founded
    async_save: write in batches; false writes every batch as it is drained
    batch_size: kept records that are worth a write, of a tool that keeps more than these
    flush_interval_seconds: longest time a kept record waits for its write
    max_bytes: what the files of tools with limit -1 may fill in sum
    outbox_bytes: what waits for other systems may fill; beyond it the oldest goes
    """

    path: Annotated[str, Meta(min_length=1)] = "perf_data"
    async_save: bool = True
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    flush_interval_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 30
    # Settings travel as msgpack, which knows no integers beyond 64 bits.
    max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 62)] = 10 << 30
    outbox_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 62)] = 1 << 30

    def __post_init__(self) -> None:
        if "\0" in self.path:
            raise ValueError("path: a path without NUL characters")


class Rag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Performance facts beside each tool in a RAG store.

    enabled: keep performance facts in the tool store
    cluster_with_tool: keep them in the tool's own artifact
    embedding_include: let them take part in what is embedded; needs an embedder
    url: where it is, relative to the storage directory; empty: tools.db
    embedder: module:function from texts to vectors, for embedding_include
    interval_seconds: least time between two updates of one tool
    half_life_seconds: age at which a call counts half in what is recent
    """

    enabled: bool = True
    cluster_with_tool: bool = True
    embedding_include: bool = False
    store: Annotated[
        str,
        Meta(description=f"{', '.join(STORES)}; empty: tools, if there is one"),
    ] = ""
    url: str = ""
    embedder: str = ""
    interval_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 1
    half_life_seconds: Annotated[float, Meta(gt=0, le=31_536_000)] = 600

    def __post_init__(self) -> None:
        if self.store not in ("", *STORES):
            raise ValueError(f"store: one of {', '.join(STORES)}, or nothing")
        if self.store not in ("", "tools") and not self.url:
            raise ValueError(f"store: with a url, which {self.store} needs")
        if self.embedding_include and not self.embedder:
            raise ValueError("embedding_include: with an embedder, which it needs")
        if self.embedding_include and self.store not in ("", "tools"):
            raise ValueError("embedding_include: with the store tools, which alone can embed")
        if self.embedding_include and not self.cluster_with_tool:
            raise ValueError("embedding_include: with cluster_with_tool, which it needs")
        if self.embedder and not re.fullmatch(r"[\w.]+:[\w.]+", self.embedder):
            raise ValueError("embedder: module:function")
        if "\0" in self.url:
            raise ValueError("url: text without NUL characters")


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What is recorded of parameters.

    secret_keys: parameters whose names contain one of these, however spelled, become ***
    secret_words: the same for names of which a whole word is one of these: not author
    """

    # An empty one would be contained in every name.
    secret_keys: tuple[Annotated[str, Meta(min_length=1)], ...] = _SECRETS
    secret_words: tuple[Annotated[str, Meta(min_length=1)], ...] = _SECRET_WORDS


class Ring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The workers' shared memory.

    budget_bytes: memory of one worker's records; names and many open calls add to it
    first_slots: records in a tool's first ring; a power of two
    """

    budget_bytes: Annotated[int, Meta(ge=1 << 18, le=1 << 30)] = 6 << 20
    first_slots: Annotated[int, Meta(ge=4, le=4096)] = 16

    def __post_init__(self) -> None:
        if self.first_slots & (self.first_slots - 1):
            raise ValueError("first_slots: a power of two")


class CollectorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The process that drains.

    idle_wait_ms: longest pause between two looks that nobody asks for
    sample_interval_seconds: how often memory and CPU of workers are sampled
    """

    idle_wait_ms: Annotated[int, Meta(ge=1, le=1000)] = 500
    sample_interval_seconds: Annotated[float, Meta(gt=0, le=3600)] = 5


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Recording some calls for all; counts and failures stay exact.

    every: record every so manieth call of a tool; 1 = all
    tools: the same for single tools, by name
    overhead_budget: share of a tool's own time that recording may cost; 0 = as every says
    """

    every: Every = 1
    tools: dict[str, Every] = {}
    overhead_budget: Annotated[float, Meta(ge=0, le=1)] = 0


def expected_of(url: str, schemes: tuple[str, str] = _WEB) -> str:
    """What should stand in the place of the URL *url*; nothing if something can be sent there."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme.lower() not in schemes:
        return f"{_NAMED[schemes[0]]} or {schemes[1]} URL, env:NAME, or nothing"
    if not re.fullmatch("[!-~]+", url):
        return "a URL without spaces, in ASCII"
    authority = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(.*))?", authority)
    if parts is None:
        return "a URL with a host"
    port = parts[2] or "80"
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= _HIGHEST_PORT:
        return f"a URL whose port is from 1 to {_HIGHEST_PORT}"
    return ""


def servers_of(urls: str) -> list[str]:
    """
    The URLs of NATS servers in *urls*, separated by commas; ValueError where one is none.

    A comma in a password stays in it: only one before a scheme separates.
    """
    found = re.split(r",(?=[A-Za-z][A-Za-z0-9+.-]*://)", urls)
    for url in found:
        expected = expected_of(url, _NATS)
        if not expected and "," in url.rpartition("@")[2]:
            expected = "a scheme before each host"
        if expected:
            raise ValueError(expected)
    return found


def _check_url(key: str, value: str) -> None:
    # Most have none: then no pattern is compiled as this module is imported.
    expected = "" if not value or re.fullmatch(r"env:\w+", value) else expected_of(value)
    if expected:
        raise ValueError(f"{key}: {expected}")


def address_of(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 address in brackets; ValueError where it is none."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):([0-9]{1,5})", text, re.ASCII)
    if found is None or int(found[3]) > _HIGHEST_PORT:
        raise ValueError("expected HOST:PORT")
    return found[1] or found[2], int(found[3])


class Anomaly(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What turned bad: alerts on durations, errors, stuck calls, silence, losses and memory.

    enabled: watch for what turns bad
    interval_seconds: how often calls are looked at, as a group
    effect: how many times slower is worth an alert
    stuck_factor: an open call is stuck after so many times its p99
    webhook: URL that alerts are sent to, or env:NAME of a variable; empty: none
    """

    enabled: bool = True
    interval_seconds: Annotated[float, Meta(ge=1, le=3600)] = 30
    effect: Annotated[float, Meta(gt=1, le=1_000)] = 1.25
    stuck_factor: Annotated[float, Meta(ge=1, le=1_000_000)] = 10
    webhook: str = ""

    def __post_init__(self) -> None:
        _check_url("webhook", self.webhook)


class HistoryOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Lines of tools that keep all: compressed, and let go in the end.

    segment_lines: lines of a file that become a segment
    retention_days: days that lines, reports and alerts stay; 0 = for ever
    when_full: at storage.max_bytes stop, or drop_oldest to let the oldest segment go
    """

    compress: Annotated[str, Meta(description=f"{', '.join(COMPRESSIONS)}")] = "zstd"
    segment_lines: Annotated[int, Meta(ge=100, le=100_000_000)] = 50_000
    retention_days: Annotated[float, Meta(ge=0, le=36_500)] = 0
    when_full: str = "stop"

    def __post_init__(self) -> None:
        if self.compress not in COMPRESSIONS:
            raise ValueError(f"compress: one of {', '.join(COMPRESSIONS)}")
        if self.when_full not in WHEN_FULL:
            raise ValueError(f"when_full: one of {', '.join(WHEN_FULL)}")


class Prometheus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An endpoint that Prometheus scrapes, while the session runs.

    listen: HOST:PORT on this machine, as 127.0.0.1:9464; empty: none
    """

    listen: str = ""

    def __post_init__(self) -> None:
        try:
            _ = self.listen and address_of(self.listen)
        except ValueError as error:
            raise ValueError(f"listen: {str(error).removeprefix('expected ')}") from None


class Otlp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What is sent to an OpenTelemetry backend, over OTLP/HTTP.

    endpoint: URL before /v1/traces, or env:NAME of a variable; empty: none
    headers: sent with each request; values may be env:NAME
    interval_seconds: how often metrics are sent
    spans: send kept calls as spans
    metrics: send counts and histograms
    arguments: send parameters with the spans
    """

    endpoint: str = ""
    headers: dict[str, str] = {}
    interval_seconds: Annotated[float, Meta(ge=1, le=3600)] = 10
    spans: bool = True
    metrics: bool = True
    arguments: bool = False

    def __post_init__(self) -> None:
        _check_url("endpoint", self.endpoint)
        for name, value in self.headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError("headers: names of HTTP headers")
            if not re.fullmatch(r"[\t -~]*", value):
                raise ValueError("headers: values in one line of ASCII, or env:NAME")


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    To other systems, while the session runs.

    most_tools: tools with metrics of their own; others are summed
    """

    most_tools: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    prometheus: Prometheus = Prometheus()
    otlp: Otlp = Otlp()


class Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Records, totals and facts of many nodes, through NATS JetStream.

    url: nats:// or tls:// URLs of its servers, with commas between, or env:NAME; empty: none
    node: what this node is called; empty: the host's name
    stream: the JetStream stream; names of its buckets begin with it
    records: publish kept calls; totals and alerts are in any case
    arguments: publish their parameters, too
    facts: share with the other nodes what is known of tools
    credentials: a .creds file, or env:NAME of a variable that says which; empty: none
    ca: file with the certificates that vouch for the servers'; empty: the system's
    """

    url: str = ""
    node: Annotated[str, Meta(max_length=255)] = ""
    stream: str = "shmperf"
    records: bool = True
    arguments: bool = False
    facts: bool = True
    credentials: str = ""
    ca: str = ""

    def __post_init__(self) -> None:
        if self.url and not re.fullmatch(r"env:\w+", self.url):
            try:
                servers_of(self.url)
            except ValueError as error:
                raise ValueError(f"url: {error}") from None
        if self.stream != "shmperf" and not re.fullmatch("[A-Za-z0-9_-]{1,40}", self.stream):
            raise ValueError("stream: up to 40 of A-Z, a-z, 0-9, _ and -")
        for key in ("node", "credentials", "ca"):
            if not getattr(self, key).isprintable():
                raise ValueError(f"{key}: text in one line")


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How `PerfCatcherInterceptor` wants durations watched; from its environment variables."""

    variance_threshold: Annotated[float, Meta(ge=0, le=1_000)] = 0.2
    min_samples: Annotated[int, Meta(ge=1, le=10_000)] = 10
    window_size: Annotated[int, Meta(ge=2, le=10_000)] = 100


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The whole configuration.

    default_perf_points: records kept per tool; 0 = do not track, -1 = keep all
    tool_limits: the same for single tools, by name
    """

    default_perf_points: Limit = 100
    tool_limits: dict[str, Limit] = {}
    optimization: Optimization = Optimization()
    storage: Storage = Storage()
    rag: Rag = Rag()
    capture: Capture = Capture()
    ring: Ring = Ring()
    collector: CollectorOptions = CollectorOptions()
    sampling: Sampling = Sampling()
    anomaly: Anomaly = Anomaly()
    history: HistoryOptions = HistoryOptions()
    export: Export = Export()
    fleet: Fleet = Fleet()

    def limit_of(self, tool: str) -> int:
        """Records kept of *tool*: 0 means it is not tracked, -1 that all are kept."""
        return self.tool_limits.get(tool, self.default_perf_points)

    def every_of(self, tool: str) -> int:
        """Every so manieth call of *tool* is recorded."""
        return self.sampling.tools.get(tool, self.sampling.every)

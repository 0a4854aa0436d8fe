"""What the vector stores' adapters share: addresses, refusals, and one kind of error."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from shmperf.errors import StoreError
from shmperf.rag.delivery import Batched, Summary, admit, parse_url, shown, take_option


class Memory(Batched):
    """A store in a dictionary that can be made to fail."""

    batch_size = 3

    def __init__(self, *names: str) -> None:
        self.held: dict[str, Summary] = {name: {} for name in names}
        self.batches: list[int] = []
        self.opened = 0
        self.failure: BaseException | None = None
        super().__init__("scheme://user:word@host/place?table=x")

    def _open(self) -> None:
        self.opened += 1

    def _check(self) -> None:
        pass

    def _release(self) -> None:
        raise OSError("already gone")

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        self.batches.append(len(batch))
        if self.failure is not None:
            raise self.failure
        found = batch.keys() & self.held.keys()
        for name in found:
            self.held[name] |= batch[name]
        return found

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        found = [(name, self.held[name]) for name in names if name in self.held]
        # As if every name had another artifact, added later.
        return [*found, *((name, {}) for name, _ in found)]


def test_a_url_is_a_place_and_options() -> None:
    """The place is what stands before the question mark, also when it is a directory."""
    assert parse_url("a dir/of mine?table=t", "table") == ("a dir/of mine", {"table": "t"})
    found = parse_url("http://h:1/x?collection=c&tenant=t", "collection", ("tenant",))
    assert found == ("http://h:1/x", {"collection": "c", "tenant": "t"})


@pytest.mark.parametrize("url", ["place", "place?table=", "?table=x", "place?tabel=x", ""])
def test_a_url_without_its_table_is_refused(url: str) -> None:
    """A url that misses what it needs, or says what nobody reads, is an error in one line."""
    with pytest.raises(StoreError) as caught:
        parse_url(url, "table")
    assert "\n" not in str(caught.value)


def test_an_option_is_taken_out_of_another_ones_url() -> None:
    """What is left is the other one's, unchanged."""
    url = "postgresql://u@/db?host=/tmp/x&table=public.tools&sslmode=disable"
    rest, table = take_option(url, "table")
    assert table == "public.tools"
    assert rest == "postgresql://u@/db?host=%2Ftmp%2Fx&sslmode=disable"
    with pytest.raises(StoreError, match=r"needs \?table=NAME"):
        take_option("postgresql://u:secret@h/db", "table")


def test_messages_show_no_password() -> None:
    """A url in a message has neither user nor password nor options."""
    assert shown("postgresql://u:secret@h:1/db?password=secret") == "postgresql://h:1/db"
    store = Memory("a")
    store.failure = OSError("broken\nand more")
    with pytest.raises(StoreError) as caught:
        store.update_perf({"a": {"call_count": 1}})
    assert str(caught.value) == "scheme://host/place: OSError: broken"


@pytest.mark.parametrize(
    "value",
    [
        *(float("nan"), float("inf"), -float("inf"), 2**63, -(2**63) - 1),
        *([1], {"a": 1}, b"x", "\0", "\ud800", object()),
    ],
)
def test_what_a_store_would_spoil_is_refused(value: object) -> None:
    """One such value refuses its summary, and no other."""
    found = admit({"bad": {"call_count": 1, "x": value}, "good": {"call_count": 2}})
    assert found == ({"good": {"call_count": 2}}, 0, 1)


def test_what_a_store_can_hold_is_admitted() -> None:
    """Finite numbers within 64 bits, truth values, texts and None."""
    summary = {"a": 2**63 - 1, "b": -(2**63), "c": 1e308, "d": True, "e": None, "f": "é"}
    assert admit({"x": summary, "": {}}) == ({"x": summary, "": {}}, 0, 0)


def test_a_name_that_is_no_text_is_not_found() -> None:
    """Half a surrogate pair or a zero byte is in no store."""
    store = Memory("a")
    assert store.update_perf({"\ud800": {}, "a\0": {}, "a": {"call_count": 1}}) == 2
    assert store.read_perf(["\ud800", "a"]) == {"a": {"call_count": 1}}
    assert store.refused == 0


def test_batches_are_bounded_and_names_sent_once() -> None:
    """No request carries more than a batch."""
    store = Memory("t0", "t1")
    assert store.update_perf({f"t{i}": {"call_count": i} for i in range(8)}) == 6
    assert store.batches == [3, 3, 2]
    assert store.read_perf(["t1", "t1", "t5"]) == {"t1": {"call_count": 1}}


def test_an_artifact_without_a_summary_hides_none() -> None:
    """Of several artifacts of a name, the one that has a summary is read."""
    store = Memory("a", "b")
    store.update_perf({"a": {"call_count": 1}})
    assert store.read_perf(["a", "b"]) == {"a": {"call_count": 1}}


def test_nothing_to_send_is_no_request() -> None:
    """Neither an empty update nor one that is refused whole reaches the store."""
    store = Memory("a")
    assert store.update_perf({}) == 0
    assert store.update_perf({"a": {"x": float("nan")}}) == 0
    assert (store.batches, store.refused) == ([], 1)


def test_a_failure_opens_the_store_again() -> None:
    """The call after a failure starts afresh, whatever letting go said."""
    store = Memory("a")
    store.failure = ValueError()
    with pytest.raises(StoreError, match="ValueError"):
        store.update_perf({"a": {"call_count": 1}})
    store.failure = None
    assert store.update_perf({"a": {"call_count": 1}}) == 0
    assert store.opened == 2


def test_an_interruption_is_passed_on() -> None:
    """What is no failure of the store is not told as one, and lets go of it too."""
    store = Memory("a")
    store.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        store.update_perf({"a": {"call_count": 1}})
    store.failure = type("PanicException", (BaseException,), {})("a package panicked")
    with pytest.raises(StoreError, match="a package panicked"):
        store.update_perf({"a": {"call_count": 1}})
    assert store.opened == 2

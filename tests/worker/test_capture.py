"""Parameters of any kind become bytes: bounded, in order, and never a failure of the tool."""

from __future__ import annotations

import collections
import ctypes
import datetime as dt
import enum
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED, SUMMARY_CHARACTERS
from shmperf.worker.capture import (
    Cut,
    error_class,
    error_text,
    failed_body,
    picture,
    picture_all,
    short_body,
)
from shmperf.worker.walk import Walk
from tests.support import Place

unpack = msgspec.msgpack.decode


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no picture")


class Large:
    def __repr__(self) -> str:
        return "L" * 1_000_000


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

ODD = [
    Broken(),
    Large(),
    CYCLE,
    1 << 70,
    -(1 << 5000),
    "\ud800",
    {1: 2, None: 3, (1, 2): {4, 5}},
    collections.OrderedDict(a=1),
    frozenset({1}),
    b"\xff" * 10,
    bytearray(5),
    memoryview(b"abc"),
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    float("nan"),
    object,
    [[[[[[[[[[1]]]]]]]]]],
    {"k" * 1000: "v" * 1000},
]


@pytest.mark.parametrize("value", ODD, ids=[str(n) for n in range(len(ODD))])
def test_anything_becomes_bytes_that_decode(value: object) -> None:
    """Values that msgpack does not know, or that are hostile, are shown, bounded."""
    small = picture((value,), {"k": value})
    assert len(small.body) < 6_000
    unpack(small.body)
    unpack(picture_all((value,), {"k": value}).body)


def test_repr_that_raises_is_counted() -> None:
    """A repr that raises shows the class, and is told."""
    # Of classes of its own: one whose repr met a pause of the machine is not asked again.
    first, second = (type("Broken", (Broken,), {})() for _ in range(2))
    found = picture((first,), {})
    assert found.failures == 1
    assert unpack(found.body) == ["<Broken: repr failed>"]
    assert picture_all((second,), {}).failures == 1


def test_a_large_string_is_only_looked_at_where_it_is_shown() -> None:
    """50 MB cost what the summary shows of them."""
    found = picture(("x" * 50_000_000,), {})
    assert len(found.body) < 300
    assert found.flags & PRUNED


def test_a_large_container_is_not_walked_to_its_end() -> None:
    """Of an endless sequence as much is taken as the summary can show."""

    class Endless(list[int]):
        def __iter__(self) -> Any:
            return iter(range(10**9))

    assert len(picture((Endless(),), {}).body) < 1_000


@given(
    st.lists(st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=30), st.none()), max_size=4),
    st.dictionaries(st.text(min_size=1, max_size=5), st.floats(allow_nan=False), max_size=3),
)
def test_short_parameters_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    """What is short enough is encoded whole, and decodes to itself."""
    body = short_body(tuple(args), kwargs)
    if body is None:
        return
    found = unpack(body)
    if args and kwargs:
        assert found == [args, kwargs]
    else:
        assert found == (kwargs or args)


def test_keywords_beside_positions_are_flagged() -> None:
    """Both kinds of arguments travel together, and say so."""
    assert picture((1,), {"a": 2}).flags & NAMED
    assert unpack(picture_all((1,), {"a": 2}).body) == [[1], {"a": 2}]


def test_everything_is_kept_whole_in_optimization_mode() -> None:
    """All parameters, whatever their size."""
    value = {"deep": [{"text": "x" * 100_000}] * 3}
    assert unpack(picture_all((), value).body) == value


def test_error_is_bounded_and_never_raises() -> None:
    """An error's class and text are bounded; a str that raises is shown as such."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Odd()) == "<str failed>"
    assert len(error_text("x" * 100_000)) == 10_000
    assert error_class(Odd()).endswith("Odd")
    assert unpack(failed_body(b"", "E")) == [None, "E"]


class Text(str):
    """A str whose every method that could be called is hostile."""

    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __getitem__(self, _: object) -> str:
        raise RuntimeError("no slice")

    def encode(self, *_: object) -> bytes:
        raise RuntimeError("no bytes")


class ShownAsText:
    def __repr__(self) -> str:
        return Text("shown")


class Bytes(bytes):
    def __getitem__(self, _: object) -> Any:
        raise RuntimeError("no slice")


class Items(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no members")


class Mapping(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no keys")


class Proxy:
    """What lazy strings and local proxies do: they claim to be of the class that they stand for."""

    def __init__(self, claimed: type) -> None:
        self.claimed = claimed

    @property
    def __class__(self) -> type:
        return self.claimed

    @__class__.setter
    def __class__(self, _: type) -> None:
        raise TypeError

    def __repr__(self) -> str:
        return "<proxy>"


class Liar:
    @property
    def __class__(self) -> type:
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, _: type) -> None:
        raise TypeError


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class Color(enum.IntEnum):
    RED = 1


def released_view() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def deep(kind: Callable[[Any], Any], depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = kind(value)
    return value


HOSTILE = {
    "text": lambda: Text("x"),
    "text key": lambda: {Text("x"): 1},
    "repr gives a hostile text": ShownAsText,
    "bytes": lambda: Bytes(b"abc"),
    "list": lambda: Items([1]),
    "dict": lambda: Mapping(a=1),
    "proxy of str": lambda: Proxy(str),
    "proxy of bytes": lambda: Proxy(bytes),
    "proxy of dict": lambda: Proxy(dict),
    "proxy of list": lambda: Proxy(list),
    "mock of str": lambda: Mock(spec=str),
    "mock of dict": lambda: Mock(spec=dict),
    "mock of list": lambda: Mock(spec=list),
    "liar": Liar,
    "endless repr": Endless,
    "class": lambda: Broken,
    "function": lambda: deep,
    "lambda": lambda: lambda: None,
    "generator": lambda: (n for n in range(3)),
    "error": lambda: ValueError("x"),
    "enum": lambda: Color.RED,
    "complex": lambda: 1j,
    "range": lambda: range(10**12),
    "ellipsis": lambda: ...,
    "scalar view": lambda: memoryview(ctypes.c_int(5)),
    "released view": released_view,
    "flat view of rows": lambda: memoryview(bytes(range(12))).cast("B", (3, 4)),
    "every second byte": lambda: memoryview(bytes(range(12)))[::2],
    "view of floats": lambda: memoryview(bytes(16)).cast("d"),
    "deep lists": lambda: deep(lambda inner: [inner], 5_000),
    "deep dicts": lambda: deep(lambda inner: {"k": inner}, 5_000),
    "deep tuples": lambda: deep(lambda inner: (inner,), 600),
    "cycle of dicts": lambda: _cycle_of_dicts(),  # noqa: PLW0108  defined below
    "huge": lambda: 1 << 1_000_000,
    "huge negative": lambda: -(10**3000),
    "huge key": lambda: {1 << 100_000: 1},
    "surrogate key": lambda: {"\udfff": "\ud800x"},
    "surrogate in a repr": lambda: {("\ud800",): 1},
    "keys of one text": lambda: {1: "a", "1": "b"},
    "null characters": lambda: "\x00" * 10,
}


def _cycle_of_dicts() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = [found]
    return found


@pytest.mark.parametrize("take", [picture, picture_all])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_object_is_able_to_make_it_fail(make: Callable[[], Any], take: Any) -> None:
    """Any object becomes bytes beside the parameters around it, which are not lost with it."""
    found = take((1, make(), "after"), {"k": make()})
    args, kwargs = unpack(found.body)
    assert (args[0], args[2]) == (1, "after")
    assert list(kwargs) == ["k"]
    if take is picture:
        assert len(found.body) < 6_000


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_look_at_hostile_parameters_never_fails(make: Callable[[], Any]) -> None:
    """What is not plainly short is left to a picture; looking is safe."""
    for body in (short_body((make(),), {}), short_body((), {"k": make()})):
        assert body is None or unpack(body)


def test_failures_are_counted_one_by_one() -> None:
    """Each repr that raises is told, and none hides the values beside it."""
    # Of a type each: one that met a pause of the machine is shown without from then on.
    first, second, third, *more = (type("Broken", (Broken,), {})() for _ in range(5))
    found = picture((first, 1, second), {"a": third, "b": 2})
    assert found.failures == 3
    assert unpack(found.body)[0][1] == 1
    assert picture_all((more[0], 1, more[1]), {}).failures == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "x" * size,
        lambda size: b"x" * size,
        bytearray,
        lambda size: memoryview(bytes(size)),
        lambda size: {"k": ["x" * size]},
        lambda size: "\N{GRINNING FACE}" * (size // 4),
        lambda size: [0] * (size // 8),
        lambda size: {str(n): n for n in range(size // 256)},
        lambda size: set(range(size // 64)),
    ],
    ids=["str", "bytes", "bytearray", "view", "nested", "wide", "list", "dict", "set"],
)
def test_of_50_megabytes_only_a_beginning_is_looked_at(make: Callable[[int], Any]) -> None:
    """A large value is not copied: what is taken of it is as small as what is shown."""
    value = make(50_000_000)
    tracemalloc.start()
    try:
        found = picture((value,), {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert len(found.body) < 2_000


class Counted:
    """An object that knows how often it was shown."""

    shown = 0

    def __repr__(self) -> str:
        Counted.shown += 1
        return "counted"


@pytest.mark.parametrize(
    "hold",
    [
        list,
        tuple,
        lambda values: dict(enumerate(values)),
        lambda values: dict.fromkeys(values, 1),
        set,
        lambda values: [[value] for value in values],
    ],
    ids=["list", "tuple", "dict", "keys", "set", "nested"],
)
def test_no_more_members_are_shown_than_fit(hold: Callable[[list[Counted]], Any]) -> None:
    """Foreign code runs only for what the summary can show."""
    # A type of its own: one that met a pause of the machine is shown without from then on.
    kind = type("Counted", (Counted,), {})
    value = hold([kind() for _ in range(10_000)])
    Counted.shown = 0
    found = picture((value,), {})
    assert 0 < Counted.shown <= SUMMARY_CHARACTERS
    assert found.flags & PRUNED


JSON_LIKE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=20),
    ),
    max_leaves=60,
)
ANYTHING = st.recursive(
    st.one_of(
        JSON_LIKE,
        st.text(st.characters(), max_size=300),
        st.binary(max_size=300),
        st.integers(),
        st.complex_numbers(),
        st.builds(Broken),
        st.builds(Large),
        st.datetimes(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.tuples(inner, inner),
        st.dictionaries(
            st.one_of(st.text(), st.integers(), st.binary(), st.tuples(st.integers())), inner
        ),
        st.frozensets(st.one_of(st.integers(), st.text(), st.binary())),
    ),
    max_leaves=20,
)
ARGUMENTS = st.lists(ANYTHING, max_size=4).map(tuple)
KEYWORDS = st.dictionaries(st.text(st.characters(), max_size=300), ANYTHING, max_size=4)


@settings(max_examples=200)
@given(ARGUMENTS, KEYWORDS)
def test_summary_is_bounded_whatever_is_in_it(args: tuple[Any, ...], kwargs: Any) -> None:
    """A picture decodes and takes no more than a few slots."""
    found = picture(args, kwargs)
    assert len(found.body) <= 8 * BODY_BYTES
    shown = unpack(found.body)
    if found.flags & NAMED:
        assert len(shown) == 2
    assert bool(found.flags & NAMED) == bool(args and kwargs)


@settings(max_examples=200)
@given(ARGUMENTS, KEYWORDS)
def test_optimization_mode_shows_any_parameters(args: tuple[Any, ...], kwargs: Any) -> None:
    """Whatever the parameters, all of them are there and decode."""
    found = picture_all(args, kwargs)
    shown = unpack(found.body)
    if args and kwargs:
        assert found.flags & NAMED
        assert len(shown[0]) == len(args)
        assert len(shown[1]) == len(kwargs)
    else:
        assert len(shown) == len(args or kwargs)


@settings(max_examples=200)
@given(st.lists(JSON_LIKE, max_size=4).map(tuple), st.dictionaries(st.text(max_size=9), JSON_LIKE))
def test_plain_parameters_are_whole_in_optimization_mode(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Plain values of any size come back equal, and nothing says otherwise."""
    kwargs = {key.encode("utf-8", "replace").decode(): value for key, value in kwargs.items()}
    found = picture_all(args, kwargs)
    assert found.flags == (NAMED if args and kwargs else 0)
    shown = unpack(found.body)
    assert shown == ([list(args), kwargs] if args and kwargs else (kwargs or list(args)))


@pytest.mark.parametrize(
    "odd", [1 << 70, CYCLE, "\ud800", {None: {1}}, Broken()], ids=lambda odd: type(odd).__name__
)
def test_an_odd_value_does_not_cost_those_beside_it(odd: Any) -> None:
    """What msgpack refuses is shown; large plain values beside it stay whole."""
    shown = unpack(picture_all(("x" * 100_000, odd, list(range(5_000))), {}).body)
    assert shown[0] == "x" * 100_000
    assert shown[2] == list(range(5_000))


@pytest.mark.parametrize("beside", [None, 1 << 70], ids=["plain", "odd"])
@pytest.mark.parametrize("size", [10, 5_000])
def test_bytes_are_whole_in_optimization_mode_or_said_to_be_cut(size: int, beside: Any) -> None:
    """No parameter is left out in silence, whatever stands beside it."""
    found = picture_all((b"x" * size, beside), {})
    shown = unpack(found.body)[0]
    is_whole = shown in {b"x" * size, repr(b"x" * size)}
    assert is_whole or found.flags & PRUNED


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63) + 1, -(2**63) + 1),
        (2**64, str(2**64)),
        (-(2**70), str(-(2**70))),
        (1 << 5_000, "<int of 5001 bits>"),
        ("\ud800", "\\ud800"),
        (CYCLE, [[[[["…"]]]]]),
        (b"\xff", "b'\\xff'"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (frozenset({1}), [1]),
        ({1: {2}}, {"1": [2]}),
        ((1, (2,)), [1, [2]]),
        (True, True),
        (Color.RED, repr(Color.RED)),
    ],
    ids=str,
)
def test_each_kind_of_value_has_one_picture(value: object, shown: object) -> None:
    """Values that msgpack lacks are shown the way people read them."""
    assert unpack(picture((value,), {}).body) == [shown]


def test_what_fits_is_not_said_to_be_cut() -> None:
    """A picture of short parameters carries no mark."""
    assert picture(("short", [1, 2], {"a": None}), {}).flags == 0


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (([0] * 13,), {}),
        (({"k" * 49: 1},), {}),
        (({1: 1},), {}),
        (([[1]],), {}),
        ((b"x",), {}),
        ((object(),), {}),
        ((1 << 70,), {}),
        (("\ud800",), {}),
        ((), {"a": ["x" * 49]}),
    ],
    ids=range(9),
)
def test_what_is_not_plainly_short_is_left_to_a_picture(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """The quick way takes nothing that would not fit a slot or might run foreign code."""
    assert short_body(args, kwargs) is None


@given(
    st.lists(st.one_of(st.integers(), st.text(max_size=200), st.lists(st.text())), max_size=6),
    st.dictionaries(st.text(max_size=9), st.one_of(st.none(), st.text(max_size=200)), max_size=6),
)
def test_a_short_body_fits_a_slot(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Whatever takes the quick way lies in one slot."""
    body = short_body(tuple(args), kwargs)
    assert body is None or len(body) <= BODY_BYTES


class Told(Exception):
    """An error whose text is what a test wants."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        return self.text


class Endlessly(Exception):
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    "error",
    [
        Told(Text("hostile")),
        Told(None),  # type: ignore[arg-type]
        Told("\ud800"),
        Told("x" * 50_000_000),
        Endlessly(),
        ValueError(Broken()),
        KeyError(ShownAsText()),
        Text("hostile"),
        "\ud800" * 20_000,
    ],
    ids=range(9),
)
def test_no_error_is_able_to_make_its_text_fail(error: BaseException | str) -> None:
    """The text of any error is bounded, plain and can be stored."""
    text = error_text(error)
    assert type(text) is str
    assert len(text) <= 60_000
    assert text.encode()


@given(st.text(st.characters(), max_size=100))
def test_text_of_an_error_is_kept(text: str) -> None:
    """What an error says is what is stored, characters that have no bytes escaped."""
    assert error_text(Told(text)) == text.encode("utf-8", "backslashreplace").decode()


def test_class_of_an_error_is_named_as_people_do() -> None:
    """The qualified name, bounded, without the module."""

    class Inner(Exception):
        pass

    assert error_class(ValueError()) == "ValueError"
    assert error_class(Inner()).endswith("<locals>.Inner")
    assert len(error_class(type("E" * 5_000, (Exception,), {})())) == SUMMARY_CHARACTERS


@given(st.text(st.characters(), max_size=200), JSON_LIKE)
def test_failed_body_carries_parameters_and_class(error: str, value: Any) -> None:
    """Of a failed call both come back, whatever the class is called."""
    body = picture((value,), {}).body
    params, name = unpack(failed_body(body, error))
    assert params == unpack(body)
    assert name == error.encode("utf-8", "backslashreplace").decode()


def test_failed_body_is_bounded() -> None:
    """Parameters too large to repeat beside an error are left out, never the outcome."""
    body = msgspec.msgpack.encode(["x" * 1_000_000])
    assert len(failed_body(body, "E")) < 1_000
    assert unpack(failed_body(body, "E"))[0] is None


@given(
    st.lists(st.text("xy", max_size=400), max_size=3),
    st.dictionaries(st.text("abc", min_size=1, max_size=5), st.text("xy", max_size=400)),
)
def test_long_strings_are_cut_to_what_a_summary_shows(
    args: list[str], kwargs: dict[str, str]
) -> None:
    """A body is a Cut exactly when something is missing, and what is there are beginnings."""
    body = short_body(tuple(args), kwargs)
    if body is None:
        return
    found = unpack(body)
    given, named = found if args and kwargs else (found, {}) if args else ([], found or {})
    assert all(a.startswith(b) for a, b in zip(args, given, strict=True))
    assert all(kwargs[key].startswith(text) for key, text in named.items())
    assert isinstance(body, Cut) == ((list(given), dict(named)) != (args, kwargs))


def test_a_long_text_is_recorded_as_its_beginning(place: Place) -> None:
    """Two hundred characters of it in normal mode, and the line says that it was cut."""
    place.run_program("capture/long_text_recorded_as_its")
    place.wait_for_end()
    one, two, three, four = (line["data"] for line in place.lines("tool"))
    assert one["p"] == ('{"text":"' + "y" * 200)[:200]
    assert one["truncated"]
    assert "truncated" not in two
    assert three["p"].startswith('{"text":"short","more":"wwww')
    assert three["truncated"]
    assert len(three["p"]) == 200
    assert four["params"] == {"text": "all", "more": "v" * 5_000}


@pytest.mark.parametrize(
    "hold",
    [
        list,
        tuple,
        lambda texts: {"k": [texts, texts]},
        collections.deque,
        lambda texts: [b"", *texts],
    ],
)
def test_a_text_over_and_over_is_not_written_without_end(hold: Callable[[list[str]], Any]) -> None:
    """What is held once and would be gigabytes is cut, and said to be."""
    text = "y" * (8 << 20)
    found = picture_all((hold([text] * 1_000),), {})
    assert found.flags & PRUNED
    assert len(found.body) < 300 << 20


def test_where_memory_is_short_a_program_goes_on(place: Place) -> None:
    """Parameters that there is no memory to write out are summed up, and the call is there."""
    assert place.run_program("capture/more_than_memory") == ""
    found = place.stats()
    assert (found["total_calls"], found["lost"], found["aborted"]) == (6, {}, 0)


@pytest.mark.parametrize("kind", [OrderedDict, Counter, lambda pairs: defaultdict(int, pairs)])
def test_kinds_of_dicts_are_taken_as_dicts(kind: Callable[[Any], Any]) -> None:
    """As they are, at the cost of a dict; and so is what they hold."""
    found = picture_all((kind({f"key {n}": n for n in range(5_000)}),), {})
    assert unpack(found.body) == [{f"key {n}": n for n in range(5_000)}]
    assert found.flags == 0


def test_what_is_walked_for_too_long_is_cut_and_says_so() -> None:
    """A second of walking at most, by a clock that says so; what was taken by then is there."""
    times = iter(range(0, 10**12, 10**7))
    walk = Walk(1 << 40, 40, 2_000, is_whole=True, clock=lambda: next(times))
    shown = walk.copy(deque(range(1_000)))
    assert shown == list(range(100))
    assert walk.pruned

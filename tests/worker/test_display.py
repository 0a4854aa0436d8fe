"""Objects are shown by their fields and first members, at a bounded cost, in both modes."""

from __future__ import annotations

import argparse
import array
import collections
import dataclasses
import functools
import gc
import json
import sys
import tracemalloc
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.config.options import Options
from shmperf.shm.mask import Mask
from shmperf.shm.record import DETAIL, NAMED, PRUNED, SLOT, Callee, decode, meta_of
from shmperf.worker.capture import error_text, picture, picture_all
from shmperf.worker.walk import Walk
from tests.support import Place

unpack = msgspec.msgpack.decode
SENTINEL = "hunter2"


@dataclasses.dataclass
class Data:
    user: Any
    password: Any
    unshown: Any = dataclasses.field(default=SENTINEL, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    user: Any
    api_key: Any


class Named(NamedTuple):
    user: Any
    token: Any


class Struct(msgspec.Struct):
    user: Any
    secret: Any


class Row(msgspec.Struct, array_like=True):
    user: Any
    secret: Any


class Handwritten:
    """Looks after its own repr, which names the password."""

    def __init__(self, user: Any, password: Any) -> None:
        self.user, self.password = user, password

    def __repr__(self) -> str:
        return f"Handwritten(user={self.user!r}, passWord={self.password!r})"


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause of a busy machine in a ``repr`` is no slow one; who tests that has a clock."""
    assert Walk.__init__.__kwdefaults__["clock"]
    monkeypatch.setitem(Walk.__init__.__kwdefaults__, "clock", lambda: 0)


OBJECTS: dict[str, Callable[[Any, Any], Any]] = {
    "dataclass": Data,
    "slots": Slotted,
    "named tuple": Named,
    "namedtuple": collections.namedtuple("Old", ["user", "password"]),  # noqa: PYI024  the old way
    "struct": Struct,
    "row": Row,
    "namespace": lambda user, secret: types.SimpleNamespace(user=user, password=secret),
    "arguments": lambda user, secret: argparse.Namespace(user=user, api_key=secret),
    "user dict": lambda user, secret: collections.UserDict(user=user, pwd=secret),
    "proxy": lambda user, secret: types.MappingProxyType({"user": user, "jwt": secret}),
    "chain": lambda user, secret: collections.ChainMap({"user": user}, {"apiKey": secret}),
    "partial": lambda user, secret: functools.partial(print, user, password=secret),
    "items": lambda user, secret: {"user": user, "Authorization": secret}.items(),
    "repr": Handwritten,
    "error": lambda user, secret: ValueError(user, {"password": secret}),
}


def call_of(value: Any, *, in_detail: bool) -> Any:
    """The call that a reader makes of what a worker takes of *value*."""
    found = (picture_all if in_detail else picture)((value,), {"k": [value]})
    body = msgspec.msgpack.encode([msgspec.Raw(found.body), *[None] * 5])
    kind = found.flags | NAMED
    body, kind = (body, kind | DETAIL) if in_detail else (found.body, kind)
    slot = SLOT.unpack(SLOT.pack(7, 3, 1, 2, meta_of(1, kind, len(body) & 0xFF), b"", 256))
    capture = Options().capture
    mask = Mask(capture.secret_keys, capture.secret_words)
    return decode(slot, body, Callee("tool", ("a",)), mask, 1)


@pytest.mark.parametrize("in_detail", [False, True], ids=["normal", "optimization"])
@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_a_secret_in_a_field_is_masked(make: Callable[[Any, Any], Any], in_detail: bool) -> None:
    """Whatever kind of object holds it, in both modes, alone and in a list."""
    call = call_of(make("ann", SENTINEL), in_detail=in_detail)
    assert SENTINEL not in call.params
    assert "***" in call.params
    assert "ann" in call.params


HOLDERS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: (1, inner),
    lambda inner: {"k": inner},
    lambda inner: {"k": inner}.items(),
    lambda inner: Data(inner, None),
    lambda inner: Named(inner, None),
    lambda inner: Row(inner, None),
    lambda inner: collections.deque([inner]),
    lambda inner: types.SimpleNamespace(k=inner),
    lambda inner: functools.partial(print, k=inner),
    lambda inner: {"k": [inner, {"author": inner}]},
]


@given(
    st.sampled_from(list(OBJECTS.values())),
    st.lists(st.sampled_from(HOLDERS), max_size=6),
    st.booleans(),
)
def test_no_secret_comes_out_of_any_object(
    make: Callable[[Any, Any], Any], holders: list[Callable[[Any], Any]], in_detail: bool
) -> None:
    """However deep it lies in objects and containers of whatever kinds."""
    value = make("ann", SENTINEL)
    for hold in holders:
        value = hold(value)
    assert SENTINEL not in call_of(value, in_detail=in_detail).params


@pytest.mark.parametrize("in_detail", [False, True], ids=["normal", "optimization"])
def test_fields_stand_under_their_names(in_detail: bool) -> None:
    """Objects are maps of what their repr would name, in order."""
    for made in (Data(1, 2), Slotted(1, 2), Named(1, 2), Struct(1, 2), Row(1, 2)):
        shown = json.loads(call_of(made, in_detail=in_detail).params)["a"]
        assert next(iter(shown.items())) == ("user", 1)
        assert list(shown.values()) == [1, "***"]


@pytest.mark.parametrize("in_detail", [False, True], ids=["normal", "optimization"])
def test_attrs_classes_are_shown_by_their_fields(in_detail: bool) -> None:
    """With a dict and with slots; fields that their repr leaves out are left out."""
    attrs = pytest.importorskip("attrs", reason="attrs is not installed")
    for slots in (False, True):
        fields = {"user": attrs.field(), "token": attrs.field(), "more": attrs.field(repr=False)}
        made = attrs.make_class("Made", fields, slots=slots)("ann", SENTINEL, SENTINEL)
        shown = json.loads(call_of(made, in_detail=in_detail).params)["a"]
        assert shown == {"user": "ann", "token": "***"}


@pytest.mark.parametrize("in_detail", [False, True], ids=["normal", "optimization"])
def test_pydantic_models_are_shown_by_their_fields(in_detail: bool) -> None:
    """What was given beyond them too; fields that their repr leaves out are left out."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    made = pydantic.create_model(
        "Made",
        __config__={"extra": "allow"},
        user=(str, ...),
        more=(str, pydantic.Field(default=SENTINEL, repr=False)),
    )(user="ann", apiKey=SENTINEL, n=1)
    shown = json.loads(call_of(made, in_detail=in_detail).params)["a"]
    assert shown == {"user": "ann", "apiKey": "***", "n": 1}


MEGABYTES = 10_000_000
LARGE: dict[str, Callable[[], Any]] = {
    "dataclass": lambda: Data(["x"] * MEGABYTES, None),
    "slots": lambda: Slotted("x" * MEGABYTES, None),
    "named tuple": lambda: Named(list(range(MEGABYTES // 8)), None),
    "struct": lambda: Struct("x" * MEGABYTES, None),
    "deque": lambda: collections.deque(["x"] * (MEGABYTES // 8)),
    "array": lambda: array.array("d", bytes(MEGABYTES)),
    "view": lambda: memoryview(bytes(MEGABYTES)).cast("B", (10, MEGABYTES // 10)),
    "keys": lambda: dict.fromkeys(range(MEGABYTES // 64)).keys(),
    "values": lambda: dict.fromkeys(range(MEGABYTES // 64)).values(),
    "items": lambda: dict.fromkeys(range(MEGABYTES // 64)).items(),
    "user list": lambda: collections.UserList(["x"] * (MEGABYTES // 8)),
    "user dict": lambda: collections.UserDict(dict.fromkeys(range(MEGABYTES // 64))),
    "user string": lambda: collections.UserString("x" * MEGABYTES),
    "chain": lambda: collections.ChainMap(dict.fromkeys(range(MEGABYTES // 64))),
    "proxy": lambda: types.MappingProxyType(dict.fromkeys(range(MEGABYTES // 64))),
    "namespace": lambda: types.SimpleNamespace(a="x" * MEGABYTES),
    "partial": lambda: functools.partial(print, "x" * MEGABYTES),
    "error": lambda: ValueError(["x"] * (MEGABYTES // 8)),
    "bytes": lambda: type("Octets", (bytes,), {})(MEGABYTES),
    "counter": lambda: collections.Counter(range(MEGABYTES // 64)),
    "key": lambda: {tuple(range(MEGABYTES // 8)): 1},
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_of_a_large_object_only_a_beginning_is_taken(make: Callable[[], Any]) -> None:
    """What a summary takes costs as little memory as what it shows, whatever holds it."""
    value = make()
    picture((value,), {})
    tracemalloc.start()
    try:
        found = picture((value,), {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.failures == 0
    assert peak < 100_000
    assert len(found.body) < 2_000


def test_the_text_of_an_error_takes_no_more_than_is_kept() -> None:
    """An exception that holds a large object tells its beginning."""
    error = ValueError(["x" * 10] * 1_000_000)
    tracemalloc.start()
    try:
        text = error_text(error)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text.startswith("['xxxxxxxxxx', 'xxx")
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "error", [ValueError("x"), ValueError(), ValueError("x", 1), KeyError("k"), OSError(2, "no")]
)
def test_the_text_of_an_error_is_its_own(error: Exception) -> None:
    """What people know an error by does not change."""
    assert error_text(error) == str(error)


@dataclasses.dataclass
class Friend:
    name: str
    friends: list[Friend] = dataclasses.field(default_factory=list)


def friends() -> list[Friend]:
    """Some who all know each other: there are more ways through them than can be written down."""
    found = [Friend(str(number)) for number in range(12)]
    for one in found:
        one.friends += found
    return found


def doubled() -> list[Any]:
    """A list of nothing but itself, forty levels deep: a terabyte when written out."""
    found: list[Any] = []
    for _ in range(39):
        found = [found, found]
    return found


def twice_itself() -> list[Any]:
    found: list[Any] = []
    found += [found, found]
    return found


@pytest.mark.parametrize("take", [picture, picture_all])
@pytest.mark.parametrize("make", [friends, doubled, twice_itself])
def test_what_holds_itself_comes_to_an_end(make: Callable[[], Any], take: Any) -> None:
    """However many ways lead through objects that hold each other, and it says that some is cut."""
    found = take((make(), "after"), {})
    if take is picture_all:
        assert unpack(found.body)[1] == "after"
    assert found.flags & PRUNED
    assert len(found.body) < 50_000_000


def test_what_stands_twice_is_shown_twice() -> None:
    """The same object in many places is shown in each, in optimization mode."""
    one, shared = Data("ann", 1), [1, 2]
    found = picture_all(([one] * 30_000, [shared] * 30_000, {"a": shared, "b": shared}), {})
    assert unpack(found.body) == [
        [{"user": "ann", "password": 1}] * 30_000,
        [[1, 2]] * 30_000,
        {"a": [1, 2], "b": [1, 2]},
    ]
    assert found.flags == 0


# --- a repr that takes its time ------------------------------------------------------------------


class Clock:
    """A clock that a repr moves on."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def slow_type(clock: Clock, took_ns: list[int]) -> type:
    """A type whose reprs take so long, one after the other; the last goes on."""

    def show(_: object) -> str:
        clock.now_ns += took_ns.pop(0) if len(took_ns) > 1 else took_ns[0]
        return "shown"

    return type("Slow", (), {"__repr__": show, "__module__": "app.models"})


def shown_by(kind: type, clock: Clock, times: int) -> list[str]:
    return [Walk(200, 6, 200, clock=clock).copy([kind()])[0] for _ in range(times)]


def test_a_type_whose_repr_is_slow_is_shown_by_its_name() -> None:
    """One repr of more than a millisecond is the last."""
    clock = Clock()
    kind = slow_type(clock, [1_000_001])
    assert shown_by(kind, clock, 4) == ["shown", *["<app.models.Slow>"] * 3]


def test_a_type_whose_repr_is_quick_is_shown() -> None:
    """A millisecond is allowed."""
    clock = Clock()
    assert shown_by(slow_type(clock, [1_000_000]), clock, 50) == ["shown"] * 50


def test_a_pause_of_the_machine_is_not_held_against_a_type() -> None:
    """A type whose repr was quick many times keeps it when once it was late, not when often."""
    clock = Clock()
    kind = slow_type(clock, [*[1_000] * 30, 5_000_000, *[1_000] * 30, *[5_000_000] * 9])
    shown = shown_by(kind, clock, 80)
    assert shown[:62] == ["shown"] * 62
    assert shown[-1] == "<app.models.Slow>"


def test_a_very_slow_repr_was_no_pause() -> None:
    """However often it was quick before."""
    clock = Clock()
    kind = slow_type(clock, [*[1_000] * 100, 300_000_000])
    assert shown_by(kind, clock, 102) == [*["shown"] * 101, "<app.models.Slow>"]


def test_a_type_that_is_gone_leaves_nothing() -> None:
    """What is known of types keeps none of them alive."""
    kinds: list[Any] = [
        type("Passing", (), {}),
        type("Slotted", (Slotted,), {"__slots__": ()}),
        dataclasses.make_dataclass("Made", ["a"], slots=True),
        collections.namedtuple("Old", ["a"]),  # noqa: PYI024  the old way
    ]
    gone = [weakref.ref(kind) for kind in kinds]
    picture((kinds[0](), kinds[1](1, 2), kinds[2](1), kinds[3](1)), {})
    kinds.clear()
    gc.collect()
    assert [kind() for kind in gone] == [None] * 4


# --- lazy and huge -------------------------------------------------------------------------------


class Untouchable:
    """Whatever is asked of it would run a query."""

    ran: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        self.ran.append(name)
        raise AssertionError(name)

    def __repr__(self) -> str:
        self.ran.append("repr")
        return "rows"

    def __iter__(self) -> Iterator[Any]:
        self.ran.append("iter")
        return iter(())

    def __len__(self) -> int:
        self.ran.append("len")
        return 0

    def __bool__(self) -> bool:
        self.ran.append("bool")
        return True


@pytest.mark.parametrize("take", [picture, picture_all])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("django.db.models.query", "QuerySet"),
        ("django.db.models.base", "Model"),
        ("django.utils.functional", "LazyObject"),
        ("sqlalchemy.orm.query", "Query"),
        ("sqlalchemy.engine.result", "Result"),
        ("polars.lazyframe.frame", "LazyFrame"),
        ("pyspark.sql.dataframe", "DataFrame"),
        ("torch.nn.modules.module", "Module"),
        ("peewee", "ModelSelect"),
    ],
)
def test_what_is_lazy_stays_so(module: str, name: str, take: Any) -> None:
    """A query is shown by its type, one of a class of the program's own too, and nothing runs."""
    known = type(name, (Untouchable,), {"__module__": module})
    own = type("Own", (known,), {"__module__": "shop.models"})
    Untouchable.ran.clear()
    found = take((known(), [own()], {"k": own()}), {})
    top = module.partition(".")[0]
    assert unpack(found.body) == [
        f"<{top}.{name}>",
        ["<shop.models.Own>"],
        {"k": "<shop.models.Own>"},
    ]
    assert Untouchable.ran == []


@pytest.mark.parametrize("take", [picture, picture_all])
def test_frames_and_tensors_are_shown_by_their_shape(take: Any) -> None:
    """Type, shape and what else can be told at once; no library is imported for it."""
    frame = type("DataFrame", (), {"__module__": "pandas.core.frame", "shape": (1_000, 3)})
    tensor = type("Tensor", (), {"__module__": "torch", "shape": [2, 3], "dtype": "float32"})
    image = type("Image", (), {"__module__": "PIL.Image", "mode": "RGB", "size": (64, 48)})
    # Another test of this process may have needed one of them.
    before = {"pandas", "torch", "PIL"} & set(sys.modules)
    assert unpack(take((frame(), tensor(), image()), {}).body) == [
        "<pandas.DataFrame shape=(1000, 3)>",
        "<torch.Tensor shape=(2, 3) dtype=float32>",
        "<PIL.Image mode=RGB size=(64, 48)>",
    ]
    assert {"pandas", "torch", "PIL"} & set(sys.modules) == before


def test_arrays_of_numpy_are_shown_by_their_shape() -> None:
    """An array is not printed; a number of numpy's is."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    found = picture((numpy.zeros((1_000, 1_000)), numpy.float64(1.5)), {})
    array, number = unpack(found.body)
    assert array == "<numpy.ndarray shape=(1000, 1000) dtype=float64>"
    assert "1.5" in number


def test_a_dict_that_changes_meanwhile_is_shown_as_far_as_it_goes() -> None:
    """What another thread does to a parameter costs its end, not the others."""
    growing: dict[Any, Any] = {}

    class Growing:
        def __repr__(self) -> str:
            growing[len(growing)] = 1
            return "grown"

    growing["first"] = Growing()
    assert unpack(picture((growing, "after"), {}).body) == [{"first": "grown"}, "after"]


def test_objects_are_recorded_by_their_fields(place: Place) -> None:
    """In a real program, in both modes: no secret on disk, no query run."""
    place.run_program("capture/objects_by_their_fields")
    place.wait_for_end()
    on_disk = b"".join(
        path.read_bytes() for path in Path(place.storage).rglob("*") if path.is_file()
    )
    assert SENTINEL.encode() not in on_disk
    normal, detailed, failed = (line["data"] for line in place.lines("login"))
    assert json.loads(normal["p"])["account"] == {"user": "ann", "password": "***"}
    assert detailed["params"]["account"] == {"user": "ann", "password": "***"}
    assert detailed["params"]["rows"] == "<shop.QuerySet>"
    assert failed["error"] == "refused for password=***"

"""
What readers go by: which objects of a partition count, and which lines are in them.

    <place>/manifest/p00/<epoch>-<version>-<digest>.json    immutable; the objects, what is stored
                                                            of each storage, how far in the stream
                         list-<digest>.json                 immutable; older objects, many, so that
                                                            a manifest stays small; it names these
    bucket manifests: <place's identity>.p00              the head: which of them is in force,
                                                            and what is being written next

A commit is one compare-and-set of the head, by the revision that the holder of the partition has
seen or written last. Whoever takes a partition over writes the head first, with an epoch of its
own; from then on the former holder's commit is refused, however late it comes, whatever its clock.

    killed after …                          the next one
    the cut is sealed                       takes the same messages to the same end, and writes the
                                            same objects under the same names
    objects are written                     the same: they are written over by themselves
    the manifest is written                 the same; a reader without a broker may see it already:
                                            it is whole, and holds what the next one is going to
    committed, nothing acknowledged         begins behind it; what the broker sends again is there

A reader with a broker reads the head; without one, the highest epoch and version that is whole. An
object that a newer manifest leaves out stays for a while, for readers of the older one (see
`compaction`).

Why the head is no file: a bucket has no compare-and-set that all of them keep, a broker has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from shmperf.errors import FormatError, StoreError

from .engine import Engine, Entry, Stale
from .objects import Missing, Objects
from .ranges import Range, Ranges
from .wire import partition_name

__all__ = [
    "Head",
    "Manifest",
    "Manifests",
    "OwnHead",
    "Sealed",
    "StoredObject",
    "StoredOrigin",
    "epoch_of",
    "manifest_name",
    "manifest_names",
    "manifests_in",
    "place_of",
    "read_list",
    "read_manifest",
    "read_whole",
    "refuse_others",
]

SCHEMA = 2
DIRECTORY = "manifest"
_NAME = re.compile(r"manifest/(p\d{2,6})/(\d{10})-(\d{16})-([0-9a-f]{32})\.json\Z")
_LIST = re.compile(r"manifest/p\d{2,6}/list-([0-9a-f]{32})\.json\Z")
_ATTEMPTS = 5
# So many objects are named in a manifest itself, before the older half goes into a list.
_MOST_OBJECTS = 4096


class StoredObject(msgspec.Struct, frozen=True):
    """A file that counts: of which kind, day and node its rows are, how many, of which messages."""

    name: str
    kind: str
    day: str
    node: str
    rows: int
    size: int
    first: int
    last: int


class StoredOrigin(msgspec.Struct):
    """
    Which lines of a node's storage were taken, and which it told as dropped.

    Of those taken, *left_out* are no rows, on purpose; how many is enough to know: where calls are
    left out and totals are not, they alternate for ever. What is between the ranges and in none of
    them was published, and never came: the stream had let it go. So was what is before the first
    one, where the stream had let messages go by then (``is_late``); at most, for an outbox may have
    had lines before it was published.

    A node whose spool is full drops all the time. So of very many ranges the older ones that were
    dropped are *settled*: they stand among those taken, and are a count. A line of them that came
    yet would be passed over.

    One stays for ever, some hundred bytes: its lines may come again at any time.
    """

    node: str
    origin: str
    taken: list[Range] = []
    left_out: int = 0
    dropped: list[Range] = []
    is_late: bool = False
    settled: int = 0

    @property
    def lines(self) -> int:
        """How many were taken, as rows or left out."""
        return len(Ranges(self.taken)) - self.settled

    @property
    def told_dropped(self) -> int:
        """How many were told as dropped, and never came."""
        return len(Ranges(self.dropped)) + self.settled

    @property
    def known(self) -> Ranges:
        """All lines whose fate is known."""
        return Ranges([*self.taken, *self.dropped])

    @property
    def missing(self) -> int:
        """How many lines were passed over by nobody's will: the stream let them go."""
        known = self.known
        before = next(iter(known), (0, 0))[0] if self.is_late else 0
        return before + sum(after - first for first, after in known.holes())


class Manifest(msgspec.Struct, kw_only=True):
    """A state of a partition; ``next`` is the first message of the stream that is not in it."""

    schema: int = SCHEMA
    stream: str
    partition: int
    partitions: int
    epoch: int
    version: int
    next: int
    # When the stream was made whose message that is: of another one all are still to be taken.
    created: str = ""
    objects: list[StoredObject] = []
    # Names of files with further objects; none in what readers get, which is whole.
    lists: list[str] = []
    origins: list[StoredOrigin] = []
    # Messages that were no batches of ours, by what was wrong.
    refused: dict[str, int] = {}


class _Schema(msgspec.Struct):
    schema: int


class Sealed(msgspec.Struct, frozen=True):
    """
    A cut that was begun: the messages up to *last*, into objects named after *epoch*.

    Of the stream that was *created* then; of another one its end says nothing.
    """

    epoch: int
    last: int
    created: str = ""


class Head(msgspec.Struct, frozen=True):
    """What is in force: the manifest's name, empty before the first; who holds the partition."""

    epoch: int
    manifest: str = ""
    sealed: Sealed | None = None


def manifest_name(manifest: Manifest, digest: str) -> str:
    """Where it lies."""
    version = f"{manifest.epoch:010d}-{manifest.version:016d}-{digest}"
    return f"{DIRECTORY}/{partition_name(manifest.partition)}/{version}.json"


class Manifests:
    """Heads in a bucket of the engine, manifests in a place; for the holder of a partition."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        """Of what is collected into *objects*."""
        self._engine = engine
        self._bucket = "manifests"
        self._objects = objects
        self._identity = objects.identity()

    def head(self, partition: int) -> tuple[Head | None, int]:
        """What is in force, and its revision; None and 0 before the first."""
        found = self._engine.get(self._bucket, self._key(partition))
        return (None, 0) if found is None else (_head_in(found), found.revision)

    def set_head(self, partition: int, head: Head, revision: int) -> int:
        """Put *head* in force if the last one has that *revision*; Stale where it has another."""
        body = msgspec.msgpack.encode(head)
        return self._engine.put(self._bucket, self._key(partition), body, revision)

    def write(self, manifest: Manifest) -> str:
        """A file of it, which nobody goes by yet; its name."""
        body = msgspec.json.encode(manifest)
        name = manifest_name(manifest, _digest(body))
        self._objects.write(name, body)  # point: fleet-manifest
        return name

    def shortened(self, manifest: Manifest, most: int = _MOST_OBJECTS) -> Manifest:
        """*manifest* with its older objects in a list of their own, where there are very many."""
        if len(manifest.objects) <= most:
            return manifest
        ordered = sorted(manifest.objects, key=lambda one: (one.last, one.name))
        older, newer = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
        body = msgspec.json.encode(older)
        name = f"{DIRECTORY}/{partition_name(manifest.partition)}/list-{_digest(body)}.json"
        self._objects.write(name, body)  # point: fleet-list
        return msgspec.structs.replace(manifest, objects=newer, lists=[*manifest.lists, name])

    def in_force(self) -> list[Manifest]:
        """Those of all partitions, by the broker; StoreError where one can't be read."""
        prefix = f"{self._identity}."
        entries = self._engine.entries(self._bucket).entries
        heads = [_head_in(one) for one in entries if one.key.startswith(prefix)]
        return [read_whole(self._objects, head.manifest) for head in heads if head.manifest]

    def _key(self, partition: int) -> str:
        return f"{self._identity}.{partition_name(partition)}"


class OwnHead:
    """The head of a partition, in the hands of its holder; one thread."""

    def __init__(self, manifests: Manifests, partition: int) -> None:
        """Not known yet."""
        self.now = Head(0)
        self._manifests = manifests
        self._partition = partition
        self._revision = 0
        self._is_unsure = False

    def claim(self, head: Head, revision: int) -> None:
        """Put *head* in the place of another one's; Stale where somebody was quicker."""
        self._revision = self._manifests.set_head(self._partition, head, revision)
        self.now, self._is_unsure = head, False

    def set(self, head: Head) -> None:
        """
        Compare and set; of one whose answer got lost it is looked up whether it was heard.

        Stale where another one has claimed it.
        """
        if self._is_unsure:
            self._look_up(head)
            if self.now == head:
                return
        try:
            self._is_unsure = True
            self._revision = self._manifests.set_head(self._partition, head, self._revision)
        except Stale:
            # By our own former try, perhaps, that was heard late.
            self._look_up(head)
            if self.now != head:
                raise
        self.now, self._is_unsure = head, False

    def _look_up(self, wanted: Head) -> None:
        found, revision = self._manifests.head(self._partition)
        if found is None or found not in (wanted, self.now):
            raise Stale(f"{partition_name(self._partition)}: another collector holds it")
        self.now, self._revision = found, revision
        self._is_unsure = False


def _head_in(entry: Entry) -> Head:
    try:
        return msgspec.msgpack.decode(entry.value, type=Head)
    except msgspec.MsgspecError:
        raise FormatError(f"{entry.key}: the broker's value is no head of ours") from None


def read_manifest(objects: Objects, name: str) -> Manifest:
    """The manifest of that name; StoreError: it is not whole; FormatError: of another version."""
    matched = _NAME.match(name)
    if matched is None:
        raise FormatError(f"{name!r} is no name of a manifest")
    body = objects.read(name)
    if _digest(body) != matched[4]:
        raise StoreError(f"{objects.place}/{name}: damaged, or not all of it came")
    try:
        schema = msgspec.json.decode(body, type=_Schema).schema
        if schema != SCHEMA:
            raise FormatError(
                f"{objects.place}/{name}: found a manifest of version {schema}, "
                f"expected {SCHEMA}; use the shmperf that wrote it"
            )
        return msgspec.json.decode(body, type=Manifest)
    except msgspec.MsgspecError as error:
        raise FormatError(f"{objects.place}/{name}: {error}") from None


def read_whole(objects: Objects, name: str) -> Manifest:
    """The same with all objects, those in its lists too."""
    found = read_manifest(objects, name)
    older = [one for listed in found.lists for one in read_list(objects, listed)]
    return msgspec.structs.replace(found, objects=[*older, *found.objects], lists=[])


def read_list(objects: Objects, name: str) -> list[StoredObject]:
    """The objects of a list; StoreError where it is not whole."""
    matched = _LIST.match(name)
    if matched is None:
        raise FormatError(f"{name!r} is no name of a list of objects")
    body = objects.read(name)
    if _digest(body) != matched[1]:
        raise StoreError(f"{objects.place}/{name}: damaged, or not all of it came")
    try:
        return msgspec.json.decode(body, type=list[StoredObject])
    except msgspec.MsgspecError as error:
        raise FormatError(f"{objects.place}/{name}: {error}") from None


def manifest_names(objects: Objects, partition: str = "") -> dict[str, list[str]]:
    """The names of manifests by partition, the newest first; of all of them, or of one."""
    found: dict[str, list[str]] = {}
    names = objects.names(f"{DIRECTORY}/{partition}" if partition else DIRECTORY)
    for name in sorted(names, reverse=True):
        matched = _NAME.match(name)
        if matched is not None:
            found.setdefault(matched[1], []).append(name)
    return found


def epoch_of(name: str) -> int:
    """The epoch in the name of a manifest."""
    return place_of(name)[0]


def place_of(name: str) -> tuple[int, int]:
    """Epoch and version in the name of a manifest: the greater one is in force."""
    matched = _NAME.match(name)
    return (0, 0) if matched is None else (int(matched[2]), int(matched[3]))


def manifests_in(objects: Objects) -> list[Manifest]:
    """
    The newest manifest of each partition that is whole, without a broker; none in an empty place.

    Raises StoreError where a partition has some, and none can be read.
    """
    for _ in range(_ATTEMPTS):
        names = manifest_names(objects)
        try:
            return [_newest(objects, names[partition]) for partition in sorted(names)]
        except Missing:
            # Superseded and deleted between the look and the reading.
            continue
    raise StoreError(f"{objects.place}: its manifests change faster than they are read")


def refuse_others(objects: Objects, names: Mapping[str, Sequence[str]], stream: str) -> None:
    """
    Raise StoreError where what lies there under *names*, by partition, is of another stream.

    Each stream has heads of its own, and would take the other's files for what was left behind.
    """
    for partition in sorted(names):
        for name in names[partition]:
            try:
                found = read_manifest(objects, name).stream
            except StoreError:
                # Deleted since, or not whole: what it was of, nobody can say.
                continue
            if found != stream:
                raise StoreError(
                    f"{objects.place}: it belongs to the stream {found}, not to {stream}: "
                    "use another place"
                )
            break


def _newest(objects: Objects, names: list[str]) -> Manifest:
    problem: StoreError | None = None
    for name in names:
        try:
            return read_whole(objects, name)
        except Missing:
            raise
        except StoreError as error:
            problem = problem or error
    raise problem or StoreError(f"{objects.place}: no manifest")


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16, person=b"shmperf manifest").hexdigest()

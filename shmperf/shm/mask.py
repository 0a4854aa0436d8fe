"""
What hides secrets in a call's parameters, metadata and error, before anything is kept or shown.

A value is a secret by the name that it stands under, or by how it looks (see `credentials`).

Names are compared without their spelling: ``apiKey``, ``API-KEY``, ``api.key`` and ``x_api key``
are all *apikey*, which is looked for anywhere in a name. Short words such as *auth* and *pwd* are
looked for as whole words, since *author* is none. What a name turned out to be is remembered.

A name and its value may stand in a dict or an object's fields; as a pair in a list, as headers do;
as ``{"name": …, "value": …}``; or in a text: ``password=x``, ``{'apiKey': 'x'}``, a header's line,
an element of XML, a block of YAML.

Counts are no secrets: ``max_tokens=256`` and ``"tokens": 512`` are what people tune their tools by.
Nor are words that only begin as one: a *tokenizer* is a program, and a *secretary* a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec

from .credentials import HIDDEN, NEEDLES, without_credentials

__all__ = ["Mask"]

_MOST_KEYS, _LONGEST_KEY = 4_096, 200
_HARMLESS, _SECRET, _COUNT = 0, 1, 2
_CONTAINERS = frozenset({dict, list})
_TEXTS = frozenset({str, bytes})
_PAIR, _TRIPLE = 2, 3
# A pair may say in a third place whether it is one to be hidden, as HPACK's headers do.
_FLAGS = frozenset({bool, int, type(None)})
_SHORTEST_NEEDLE = 3
_LATIN_1 = 256

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\da-zA-Z_]+|\d+")
_ORDINARY = re.compile(r"(?:de|re)?tokeni[sz]\w*|secretar\w*|cookiecutter\w*")
_COUNTING = frozenset({"count", "counts", "limit", "budget", "usage", "max", "min", "num", "total"})
_NAMING = ("name", "key", "header")

# Left of a word, the rest of its name; right of it the same, a sign, and the value.
_NAME_BEFORE = re.compile(r"(\(\s*)?(b?\\*[\"'])?((?:[\w-]{1,30} )?[\w.-]{0,60})\Z")
_ASSIGNED = re.compile(
    r"(?P<name>[\w.-]{0,60})(?P<closed>\\*[\"']\]?)?\s{0,8}(?P<sign>=>|=(?!=)|:(?![:/])|%3[Dd]|,)\s{0,8}"
    r"(?P<opened>b?\\*[\"'])?"
)
# An option of a command: "--password x".
_GIVEN = re.compile(
    r"(?P<name>[\w.-]{0,60})(?P<closed>)(?P<sign>)\s{1,8}(?!-)(?P<opened>\\*[\"'])?"
)
# In words: "WITH PASSWORD 'x'". Of a password alone: an "unexpected token '<'" is none.
_QUOTED = re.compile(r"(?P<name>)(?P<closed>)(?P<sign>)\s{1,8}(?P<opened>\\*[\"'])")
_QUOTED_WORDS = ("passw", "passphrase", "pwd")
_ELEMENT = re.compile(
    r"(?P<name>[\w.-]{0,60})(?:\s[^<>=]{1,60}=[^<>]{0,200})?(?<!/)>(?P<raw><!\[CDATA\[)?"
)
_ELEMENT_BEFORE = re.compile(r"<(?:[\w.-]{1,30}:)?\Z")
_BLOCK = re.compile(r"[|>][-+\d]{0,2}[ \t]*(?:\r?\n(?:[ \t]+[^\n]*|[ \t]*(?=\r?\n)))+")
_OPTION = re.compile(r"(?:\A|\s)--[\w-]*\Z")
_PLAIN_VALUE = re.compile(r"[^\s,;&)}\]\"']+")
_ENCODED_VALUE = re.compile(r"(?:(?!%26)[^\s,;&)}\]\"'])+")
_BRACKET = re.compile(r"[\w.]*[(\[{]")
_BRACKETS = re.compile(r"[()\[\]{}]")
_REST_OF_LINE = re.compile(r"[^\r\n\"']+")
_NO_VALUES = frozenset({"none", "null", "true", "false", "undefined", "nan", HIDDEN})
_HEADERS = ("authorization", "cookie")
_NAME_CHARACTERS = 100
_LONGEST_COUNTS = 2_000

# What a text must have to give a name a value, or to hold a credential that is no plain word.
_NAMING_SIGNS, _LOOKING_SIGNS = ("=", ":", "(", "--", "<", "'", '"', "%3d"), "-_.@"
# "pwd=x" is as short as it gets; in a body it has two bytes before it.
_SHORTEST = 7


def _fits(needle: str) -> bool:
    return max(map(ord, needle), default=0) < _LATIN_1


def _encoded(needle: str) -> bytes:
    return needle.encode("latin-1")


def _words(name: str) -> list[str]:
    """The words of *name* in lower case, however they are put together."""
    return [word.casefold() for word in _WORD.findall(unicodedata.normalize("NFKC", name))]


def _sign_of(needle: str) -> str:
    """A sign without which there is none of *needle*'s family; empty where it needs none."""
    found = {"://": "@", "xox": "-", "eyj": ".", "curl ": "-"}.get(needle)
    return found or next((one for one in _LOOKING_SIGNS if one in needle), "")


_PLAIN_LOOKS = tuple(needle for needle in NEEDLES if not _sign_of(needle))
_LOOKS = tuple(
    (sign, tuple(needle for needle in NEEDLES if _sign_of(needle) == sign))
    for sign in _LOOKING_SIGNS
)


class Mask:
    """What hides secrets; it remembers the names that it has looked at. The collector's thread."""

    __slots__ = ("_known", "_needles", "_parts", "_plain", "_raw", "_whole", "_words")

    def __init__(self, secret_keys: Sequence[str], secret_words: Sequence[str] = ()) -> None:
        """
        For values under names that contain one of *secret_keys*, in any spelling, or of whose
        words one is in *secret_words*.
        """
        joined = {key: "".join(_words(key)) for key in secret_keys}
        self._parts = tuple(dict.fromkeys(text for text in joined.values() if text))
        # What has no letters is looked for as it is.
        self._raw = tuple(key for key, text in joined.items() if not text)
        self._whole = frozenset("".join(_words(word)) for word in secret_words) - {""}
        self._words = _needles([*secret_keys, *secret_words])
        # A body is looked at as latin-1, a text as it is.
        named = tuple({*self._words, *(word.encode().decode("latin-1") for word in self._words)})
        self._needles = (*((sign, named) for sign in _NAMING_SIGNS), *_LOOKS)
        self._known: dict[str, int] = {}
        self._plain: dict[tuple[str, ...], bool] = {}

    # --- names -----------------------------------------------------------------------------------

    def hides_none_of(self, names: tuple[str, ...]) -> bool:
        """True when no value under one of these *names* is a secret, whatever it is."""
        plain = self._plain.get(names)
        if plain is None:
            if len(self._plain) >= _MOST_KEYS:
                self._plain.clear()
            plain = self._plain[names] = not any(map(self._look, names))
        return plain

    def hides(self, name: str, value: Any) -> bool:
        """True when *value* under *name* is a secret."""
        found = self._known.get(name)
        if found is None:
            found = self._look(name)
        return found != _HARMLESS and not (found == _COUNT and _is_count(value))

    def _look(self, name: str) -> int:
        words = [word for word in _words(name) if self._says_something(word)]
        joined = "".join(words)
        found = _HARMLESS
        if (
            any(part in joined for part in self._parts)
            or not self._whole.isdisjoint(words)
            or any(raw in name for raw in self._raw)
        ):
            found = _COUNT if _is_of_counts(words) else _SECRET
        if len(name) <= _LONGEST_KEY:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[name] = found
        return found

    def _says_something(self, word: str) -> bool:
        return word in self._parts or word in self._whole or _ORDINARY.fullmatch(word) is None

    # --- values ----------------------------------------------------------------------------------

    def suspects(self, body: bytes) -> bool:
        """True unless no text in *body*, none of them cut, holds a secret under another name."""
        if len(body) < _SHORTEST:
            return False
        # As a str: what is in it is found five times as fast as in bytes.
        return self._suspects_in(body.lower().decode("latin-1"))

    def needles(self) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
        """
        For the compiled path: what `suspects` looks for, each behind the sign that it needs.

        What is no latin-1 is in no body that is looked at as such.
        """
        wanted = (("", _PLAIN_LOOKS), *self._needles)
        return tuple(
            (sign.encode(), tuple(map(_encoded, filter(_fits, found)))) for sign, found in wanted
        )

    def _suspects_in(self, lowered: str) -> bool:
        for needle in _PLAIN_LOOKS:
            if needle in lowered:
                return True
        for sign, needles in self._needles:
            if sign in lowered:
                for needle in needles:
                    if needle in lowered:
                        return True
        return False

    def masked(self, value: Any, *, in_texts: bool = True, is_cut: bool = False) -> Any:
        """
        *value*, unpacked, with every secret replaced; keys become strings.

        *in_texts*: what stands under harmless names is looked through, too. *is_cut*: texts in it
        may end before their ends.
        """
        shown = self._by_name(value) if type(value) in _CONTAINERS else value
        return self._in_texts(shown, is_cut) if in_texts else shown

    def text(self, text: str, *, is_cut: bool = False) -> str:
        """*text* without secrets: neither keys nor what stands behind a secret's name."""
        if not is_cut and not self._suspects_in(text.lower()):
            return text
        return without_credentials(self._without_named(text), is_cut=is_cut)

    def _by_name(self, value: Any) -> Any:
        if type(value) is list:
            return self._list_by_name(value)
        shown = {}
        for key, member in value.items():
            name = key if type(key) is str else _named(key)
            if self.hides(name, member):
                shown[name] = HIDDEN
            else:
                shown[name] = self._by_name(member) if type(member) in _CONTAINERS else member
        if "value" in shown and self._is_named_secret(shown):
            shown["value"] = HIDDEN
        return shown

    def _list_by_name(self, value: list[Any]) -> list[Any]:
        is_pair = len(value) == _PAIR or (len(value) == _TRIPLE and type(value[2]) in _FLAGS)
        if is_pair and type(value[0]) in _TEXTS:
            name = _named(value[0])
            if self.hides(name, value[1]):
                return [name, HIDDEN, *value[_PAIR:]]
        shown, option = [], ""
        for member in value:
            kind = type(member)
            if option and kind not in _CONTAINERS:
                said = _parsed(member) if kind is str else member
                shown.append(HIDDEN if self.hides(option, said) else member)
            else:
                shown.append(self._by_name(member) if kind in _CONTAINERS else member)
            # The value of an option of a command follows it: ["--password", "x"].
            is_option = kind is str and member[:2] == "--" and "=" not in member
            option = member[:_NAME_CHARACTERS] if is_option else ""
        return shown

    def _is_named_secret(self, value: dict[str, Any]) -> bool:
        names = [value.get(key) for key in _NAMING]
        return any(type(name) is str and self.hides(name, value["value"]) for name in names)

    def _in_texts(self, value: Any, is_cut: bool) -> Any:
        kind = type(value)
        if kind is dict:
            return {
                self.text(name, is_cut=is_cut): self._in_texts(member, is_cut)
                for name, member in value.items()
            }
        if kind is list:
            return [self._in_texts(member, is_cut) for member in value]
        if kind is str:
            return self.text(value, is_cut=is_cut)
        if kind is not bytes:
            return value
        found = value.decode("latin-1")
        shown = self.text(found, is_cut=is_cut)
        return value if shown == found else shown

    # --- names and values in a text --------------------------------------------------------------

    def _without_named(self, text: str) -> str:
        lowered = text.lower()
        if len(lowered) != len(text):
            # The one letter whose small form is two characters.
            lowered = text.replace("\u0130", "I").lower()
        shown, done = [], 0
        for start, end in _places(lowered, self._words):
            # What is hidden is looked at no more: brackets that nobody closes reach to the end.
            span = self._span(text, start, end) if start >= done else None
            if span is not None:
                shown += [text[done : span[0]], HIDDEN]
                done = span[1]
        return "".join([*shown, text[done:]])

    def _span(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        """Where in *text* the value is that belongs to the name around a word of it."""
        before = _NAME_BEFORE.search(text[max(0, start - _NAME_CHARACTERS) : start])
        opened, left = (before[1] and before[2], before[3]) if before else (None, "")
        assigned = _ASSIGNED.match(text, end) or _GIVEN.match(text, end)
        if assigned is None:
            return self._span_beside(text, start, end, left)
        sign = assigned["sign"]
        if sign == "," and not (opened and assigned["closed"] and assigned["opened"]):
            return None
        if not sign and not _OPTION.search(left):
            return self._span_beside(text, start, end, left)
        at = assigned.end()
        name = left + text[start:end] + assigned["name"]
        if not self.hides(name, ""):
            return None
        return self._unless_plain(text, name, at, _end_of_value(text, at, assigned, name))

    def _span_beside(self, text: str, start: int, end: int, left: str) -> tuple[int, int] | None:
        """The same where no sign stands between them: XML's elements, and words before a quote."""
        element = _ELEMENT.match(text, end)
        name_at = start - len(left)
        if element and _ELEMENT_BEFORE.search(text[max(0, name_at - _NAME_CHARACTERS) : name_at]):
            name, at = left + text[start:end] + element["name"], element.end()
            stop = text.find("]]>" if element["raw"] else "<", at)
            stop = len(text) if stop < 0 else stop
        else:
            quoted = _QUOTED.match(text, end)
            if quoted is None or not text[start:end].lower().startswith(_QUOTED_WORDS):
                return None
            name, at = left + text[start:end], quoted.end()
            stop = _end_of_value(text, at, quoted, name)
        return self._unless_plain(text, name, at, stop) if self.hides(name, "") else None

    def _unless_plain(self, text: str, name: str, at: int, stop: int) -> tuple[int, int] | None:
        value = text[at:stop]
        if not value or value.lower() in _NO_VALUES or not self.hides(name, _parsed(value)):
            return None
        return at, stop


def _places(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where any of *words* stands in *text*, in order."""
    found = []
    for word in words:
        at = text.find(word)
        while at >= 0:
            found.append((at, at + len(word)))
            at = text.find(word, at + len(word))
    return sorted(found)


def _named(key: Any) -> str:
    return key.decode("latin-1") if type(key) is bytes else str(key)


def _needles(names: Sequence[str]) -> tuple[str, ...]:
    """Words of which one stands in every spelling of each of *names*; no more than needed."""
    longest: set[str] = set()
    for name in names:
        words = [word for word in _words(name) if len(word) >= _SHORTEST_NEEDLE]
        longest.add(max(reversed(words), key=len, default=name.lower()))
    return tuple(
        word
        for word in sorted(longest)
        if not any(part in word for part in longest if part != word)
    )


def _is_of_counts(words: list[str]) -> bool:
    if words and words[-1].endswith("tokens"):
        return True
    return "tokens" in words or ("token" in words and not _COUNTING.isdisjoint(words))


def _is_count(value: Any) -> bool:
    """True of a number, of none, and of what holds nothing else."""
    if value is None or isinstance(value, (int, float)):
        return True
    if type(value) is dict:
        value = list(value.values())
    return type(value) is list and all(isinstance(one, (int, float)) for one in value)


def _parsed(text: str) -> Any:
    """What *text* says, if that is a number or holds numbers."""
    if text[:1] in "[{" and len(text) < _LONGEST_COUNTS:
        try:
            return msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            return text
    try:
        return float(text)
    except ValueError:
        return text


def _end_of_value(text: str, at: int, assigned: re.Match[str], name: str) -> int:
    opened = assigned["opened"]
    if opened:
        quote = opened.lstrip("b")
        if len(quote) == 1:
            found = re.compile(rf"(?:[^{quote}\\]|\\.)*\\?", re.DOTALL).match(text, at)
            return found.end() if found else at
        end = text.find(quote, at)
        return len(text) if end < 0 else end
    bracket = _BRACKET.match(text, at)
    if bracket:
        return _end_of_bracket(text, bracket.end() - 1)
    block = _BLOCK.match(text, at)
    if block:
        return block.end()
    words = "".join(_words(name))
    pattern = _ENCODED_VALUE if assigned["sign"][:1] == "%" else _PLAIN_VALUE
    if any(word in words for word in _HEADERS):
        pattern = _REST_OF_LINE
    found = pattern.match(text, at)
    return found.end() if found else at


def _end_of_bracket(text: str, at: int) -> int:
    """Behind the bracket that closes the one at *at*; the text's end where none does."""
    depth = 0
    for found in _BRACKETS.finditer(text, at):
        depth += 1 if found[0] in "([{" else -1
        if not depth:
            return found.end()
    return len(text)

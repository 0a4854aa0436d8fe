"""
Credentials inside a text: known by how they look, wherever they stand.

A parameter under a harmless name, an error's text, the ``repr`` of an object, a line of a log: what
begins as keys begin (``sk-``, ``ghp_``, a JWT's ``eyJ``), follows ``Bearer``, stands between
``://user:`` and ``@`` or in a private key's block is replaced by ``***``; the text around it stays.

Each family has a few letters without which there is none of it. They are looked for first, by C's
search for a plain text, and only what has them is looked at by a pattern: a megabyte of prose costs
a millisecond. A text that was cut may end in the middle of a key: there any length will do.

Why not entropy: hashes, ids and vectors look as random as keys do, and people search by them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeAlias

__all__ = ["HIDDEN", "NEEDLES", "without_credentials"]

HIDDEN = "***"

# How the keys of these services begin, what they are made of, and how many characters follow.
_KEY, _PLAIN = "[A-Za-z0-9_-]", "[A-Za-z0-9_]"
_PREFIXES = (
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _PLAIN, 8),  # GitHub
    (("github_pat_",), _PLAIN, 16),
    (("glpat-",), _KEY, 8),  # GitLab
    (("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-"), _KEY, 8),  # Slack
    (("hooks.slack.com/services/",), "[A-Za-z0-9/]", 8),
    (("AKIA", "ASIA"), "[A-Z0-9]", 16),  # AWS
    (("AIza",), _KEY, 30),  # Google
    (("ya29.",), "[A-Za-z0-9_.-]", 20),
    (("hf_", "npm_", "gsk_"), "[A-Za-z0-9]", 20),  # Hugging Face, npm, Groq
    (("pypi-", "dop_v1_", "shpat_"), _KEY, 30),
    (("sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"), "[A-Za-z0-9_+/=]", 8),  # Stripe
    (("SG.",), "[A-Za-z0-9_.-]", 40),  # SendGrid
)
_BEARER = re.compile(r"(bearer\s+)([\w.~+/=-]+)", re.IGNORECASE)
_BASIC = re.compile(r"(basic\s+)([A-Za-z0-9+/]{4,}={0,2})(?![\w+/=])", re.IGNORECASE)
_SK = re.compile(r"sk-[\w-]+")
_JWT = re.compile(r"eyJ[\w-]+(?:\.[\w-]*){0,4}")
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END)[\s\S])*(?:-----END [A-Z0-9 ]*-----)?"
)
_USERINFO = re.compile(r"(://[^\s/@:\"']*:)([^\s/@\"']+)(?=@)")
# What GitHub and others take without a user before it; a name alone is mostly shorter, or plain.
_ALONE = re.compile(r"(://)([^\s/@:\"']{16,})(?=@)")
_CUT_ALONE = re.compile(r"(://)([^\s/@:\"'.]{16,})\Z")
_CUT_USERINFO = re.compile(r"(://[^\s/@:\"']+:)(?!\d{1,5}\Z)([^\s/@\"']+)\Z")
# "curl -u me:x", among its other options.
_CURL = re.compile(r"(curl\s(?:[^\n]{0,200}?\s)??(?:-u|--user)[\s=]+[\"']?[^\s:\"']+:)([^\s\"']+)")

_WORD_BEFORE = re.compile(r"[A-Za-z0-9]\Z")
# Of a text in quotes or in an address, where a letter may be part of a line's end or a blank.
_ESCAPE_BEFORE = re.compile(r"(?:\\[A-Za-z]|%[0-9A-Fa-f]{2})\Z")

# What is said about bearer tokens in plain words.
_WORDS = re.compile(
    r"(?:tokens?|auth(?:entication|ori[sz]ation)?|schemes?|headers?|realm|errors?|format|prefix"
    r"|type|http|security|credentials?|method)[.=]*",
    re.IGNORECASE,
)
_SK_LETTERS = 16
_SK_LEAST = 8
_BEARER_LEAST = 4
_BEARER_LETTERS = 16

_Hide: TypeAlias = Callable[[str, bool], str]


class _Prefixed(NamedTuple):
    """A prefix, what a key is made of behind it, and of how many letters at least."""

    prefix: str
    letters: str
    least: int

    def hide(self, text: str, is_cut: bool) -> str:
        whole, cut = _patterns(self)
        shown = whole.sub(_unless_in_word, text)
        return cut.sub(_unless_in_word, shown) if is_cut else shown


@cache
def _patterns(key: _Prefixed) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """
    The pattern of a whole *key*, and that of one which the text's end cuts.

    Made when the first such prefix is met: most collectors meet none, and would start later by it.
    """
    begins = re.escape(key.prefix) + key.letters
    return re.compile(f"{begins}{{{key.least},}}"), re.compile(rf"{begins}*\Z")


def _unless_in_word(found: re.Match[str]) -> str:
    # Not by a look behind: a pattern that begins with plain letters is searched for much faster.
    return found[0] if _is_in_word(found) else HIDDEN


def _is_in_word(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - 3) : found.start()]
    return _WORD_BEFORE.search(before) is not None and _ESCAPE_BEFORE.search(before) is None


def _hide_sk(text: str, is_cut: bool) -> str:
    def shown(found: re.Match[str]) -> str:
        if _is_in_word(found):
            return found[0]
        if is_cut and found.end() == len(found.string):
            return HIDDEN
        key = found[0][3:]
        has_digit = len(key) >= _SK_LEAST and any(letter.isdigit() for letter in key)
        is_long = max(map(len, key.split("-"))) >= _SK_LETTERS
        return HIDDEN if has_digit or is_long else found[0]

    return _SK.sub(shown, text)


def _hide_bearer(text: str, is_cut: bool) -> str:
    def shown(found: re.Match[str]) -> str:
        word, token = found[1], found[2]
        if _is_in_word(found):
            return found[0]
        is_at_end = is_cut and found.end() == len(found.string)
        if _WORDS.fullmatch(token) or (len(token) < _BEARER_LEAST and not is_at_end):
            return found[0]
        # In the middle of a sentence somebody may be the bearer of anything.
        if word[0] == "b" and token.isalpha() and len(token) < _BEARER_LETTERS and not is_at_end:
            return found[0]
        return word + HIDDEN

    return _BEARER.sub(shown, text)


def _hide_basic(text: str, is_cut: bool) -> str:
    def shown(found: re.Match[str]) -> str:
        if _is_in_word(found):
            return found[0]
        if not (is_cut and found.end() == len(found.string)):
            try:
                if b":" not in base64.b64decode(found[2], validate=True):
                    return found[0]
            except (binascii.Error, ValueError):
                return found[0]
        return found[1] + HIDDEN

    return _BASIC.sub(shown, text)


def _hide_jwt(text: str, is_cut: bool) -> str:
    def shown(found: re.Match[str]) -> str:
        parts = found[0].split(".")
        is_whole = len(parts) > 1 and len(parts[0]) > 7 and len(parts[1]) > 3
        is_at_end = is_cut and found.end() == len(found.string)
        return HIDDEN if (is_whole or is_at_end) and not _is_in_word(found) else found[0]

    return _JWT.sub(shown, text)


def _hide_pem(text: str, is_cut: bool) -> str:  # noqa: ARG001  one shape for all families
    return _PEM.sub(HIDDEN, text)


def _hide_userinfo(text: str, is_cut: bool) -> str:
    shown = _ALONE.sub(_unless_name, _USERINFO.sub(rf"\1{HIDDEN}", text))
    if is_cut:
        shown = _CUT_ALONE.sub(_unless_name, _CUT_USERINFO.sub(rf"\1{HIDDEN}", shown))
    return shown


def _unless_name(found: re.Match[str]) -> str:
    is_key = any(map(str.isdigit, found[2])) and any(map(str.isalpha, found[2]))
    return found[1] + HIDDEN if is_key else found[0]


def _hide_curl(text: str, is_cut: bool) -> str:  # noqa: ARG001  one shape for all families
    return _CURL.sub(rf"\1{HIDDEN}", text)


# A text in lower case without which there is none of a family, and how that is hidden.
_FAMILIES: tuple[tuple[str, _Hide], ...] = (
    ("-----begin ", _hide_pem),
    ("bearer", _hide_bearer),
    ("basic ", _hide_basic),
    ("eyj", _hide_jwt),
    ("sk-", _hide_sk),
    ("://", _hide_userinfo),
    ("curl ", _hide_curl),
    *(
        (prefix.lower(), _Prefixed(prefix, letters, least).hide)
        for prefixes, letters, least in _PREFIXES
        for prefix in prefixes
    ),
)
# A whole text that holds a credential holds one of these, whatever its case.
NEEDLES = ("xox", *(needle for needle, _ in _FAMILIES if not needle.startswith("xox")))


def without_credentials(text: str, *, is_cut: bool = False) -> str:
    """*text* with what looks like a credential replaced; *is_cut* if its end may be missing."""
    lowered = text.lower()
    for needle, hide in _FAMILIES:
        if needle in lowered:
            text = hide(text, is_cut)
    return text

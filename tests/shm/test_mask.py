"""Secrets are known by their names, however spelled, and by how they look; the rest is shown."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.config.options import Options
from shmperf.shm.credentials import without_credentials
from shmperf.shm.mask import Mask
from shmperf.shm.record import DETAIL, NAMED, PRUNED, SLOT, Callee, Outcome, decode, meta_of

CAPTURE = Options().capture
MASK = Mask(CAPTURE.secret_keys, CAPTURE.secret_words)
SENTINEL = "hunter2sentinel"

NAMES = [
    ["password"],
    ["passwd"],
    ["db", "password"],
    ["api", "key"],
    ["x", "api", "key"],
    ["access", "key", "id"],
    ["client", "secret"],
    ["session", "id"],
    ["private", "key"],
    ["set", "cookie"],
    ["proxy", "authorization"],
    ["user", "pwd"],
    ["jwt"],
    ["bearer"],
    ["http", "auth"],
    ["oauth"],
    ["token"],
]
SPELLINGS: list[Callable[[list[str]], str]] = [
    "_".join,
    "-".join,
    ".".join,
    " ".join,
    lambda words: "_".join(words).upper(),
    lambda words: "-".join(map(str.capitalize, words)),
    lambda words: "".join(map(str.capitalize, words)),
    lambda words: words[0] + "".join(map(str.capitalize, words[1:])),
]
spelled = st.builds(
    lambda words, spell: spell(words), st.sampled_from(NAMES), st.sampled_from(SPELLINGS)
)

CREDENTIALS = {
    "bearer": ("Bearer ", "d3adb33f00c0ffee"),
    "short bearer": ("Bearer ", "abc123"),
    "basic": ("Basic ", "dXNlcjpwYXNzd29yZA=="),
    "openai": ("", "sk-abcdefghijklmnopqrstuvwx"),
    "openai project": ("", "sk-proj-A1b2C3d4E5f6"),
    "anthropic": ("", "sk-ant-api03-A1b2C3d4E5f6"),
    "aws": ("", "AKIAIOSFODNN7EXAMPLE"),
    "aws session": ("", "ASIAIOSFODNN7EXAMPLE"),
    "jwt": ("", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"),
    "unsigned jwt": ("", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0."),
    "github": ("", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    "github app": ("", "ghs_16C7e42F292c6912E7710c838347Ae178B4a"),
    "github fine": ("", "github_pat_11ABCDEFG0aBcDeFgHiJkL"),
    "gitlab": ("", "glpat-A1b2C3d4E5f6G7h8"),
    "slack": ("", "xoxb-123456789012-A1b2C3d4"),
    "stripe": ("", "sk_live_4eC39HqLyjWDarjt"),
    "google": ("", "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"),
    "hugging face": ("", "hf_aBcDeFgHiJkLmNoPqRsTuV"),
    "url": ("postgresql://scott:", "t1ger", "@db.example/main"),
    "private key": (
        "",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ),
    "open private key": ("", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk"),
}


def call_of(params: object, kind: int = 0, names: tuple[str, ...] = ("query", "top")) -> Any:
    body = msgspec.msgpack.encode(params)
    slot = SLOT.unpack(SLOT.pack(7, 3, 1, 2, meta_of(1, kind, len(body) & 0xFF), b"", 256))
    return decode(slot, body, Callee("tool", names), MASK, 1)


def shown(call: Any) -> str:
    """Everything of *call* that anybody gets to see."""
    return repr(msgspec.to_builtins(call))


# --- by name -------------------------------------------------------------------------------------


@given(spelled, st.sampled_from([SENTINEL, 4711, 1.5, [SENTINEL], {"a": SENTINEL}, b"\xff"]))
def test_a_secret_name_is_known_in_any_spelling(name: str, value: object) -> None:
    """Camel case, dashes, dots, blanks and capitals make no difference."""
    assert MASK.hides(name, value)
    assert MASK.masked({name: value}) == {name: "***"}


@pytest.mark.parametrize(
    "name",
    ["author", "authors", "co_author", "Authority", "author.name", "pawd", "query", "monkey", ""],
)
def test_words_are_whole_words(name: str) -> None:
    """What only begins like a short secret word is shown."""
    assert not MASK.hides(name, SENTINEL)


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("word", ["tokenizer", "tokenization", "detokenise", "secretary"])
def test_ordinary_words_are_no_secrets(word: str, spell: Callable[[list[str]], str]) -> None:
    """A word that begins as a secret's name and is another is shown, unless one stands beside."""
    assert not MASK.hides(spell([word, "name"]), SENTINEL)
    assert MASK.hides(spell([word, "token"]), SENTINEL)
    assert Mask([word]).hides(spell(["my", word]), SENTINEL)


@pytest.mark.parametrize("flag", [True, 0, None])
def test_a_pair_may_have_a_flag(flag: object) -> None:
    """A header that says whether it is to be hidden is one; three texts are a list."""
    found = MASK.masked([["Authorization", SENTINEL, flag], ["Accept", SENTINEL, flag]])
    assert found == [["Authorization", "***", flag], ["Accept", SENTINEL, flag]]
    assert MASK.masked(["password", "email", "name"]) == ["password", "email", "name"]


@pytest.mark.parametrize(
    "name",
    ["tokens", "max_tokens", "maxTokens", "MAX-TOKENS", "prompt_tokens", "token_count", "nTokens"],
)
@pytest.mark.parametrize("value", [512, 0.5, None, [1, 2], {"prompt": 3, "completion": 4}])
def test_counts_of_tokens_are_shown(name: str, value: object) -> None:
    """How many tokens there are is no secret, what they are is one."""
    assert MASK.masked({name: value}) == {name: value}
    assert MASK.masked({name: [SENTINEL]}) == {name: "***"}
    assert MASK.masked({name: SENTINEL}) == {name: "***"}


@pytest.mark.parametrize("name", ["token", "access_token", "pwd", "pin_password"])
def test_a_number_may_be_a_secret(name: str) -> None:
    """A one-time token is a number."""
    assert MASK.hides(name, 123_456)


@given(
    spelled, st.sampled_from([list, tuple]), st.booleans(), st.lists(st.integers(0, 9), max_size=3)
)
def test_pairs_are_names_and_values(
    name: str, pair: type, as_bytes: bool, beside: list[int]
) -> None:
    """Headers as lists of pairs, of text or of bytes, are masked like a dict's."""
    value: Any = (name.encode(), SENTINEL.encode()) if as_bytes else (name, SENTINEL)
    call = call_of([[*beside, pair(value)]])
    assert SENTINEL not in shown(call)
    assert json.loads(call.params)["query"] == [*beside, [name, "***"]]


@given(spelled, st.sampled_from(["name", "key", "header"]))
def test_a_name_may_be_a_value_itself(name: str, key: str) -> None:
    """``{"name": "API_KEY", "value": …}`` is how variables and headers are listed."""
    assert MASK.masked([{key: name, "value": SENTINEL}]) == [{key: name, "value": "***"}]


def test_keys_of_bytes_are_names() -> None:
    """A dict of bytes, as servers have it, hides the same."""
    assert MASK.masked({b"Api-Key": SENTINEL, b"q": 1}) == {"Api-Key": "***", "q": 1}


def test_the_value_of_an_option_is_hidden() -> None:
    """A command as a list tells a secret behind the option's name."""
    command = ["mysql", "--password", SENTINEL, "--token=x", "--author", "b", "--max-tokens", "5"]
    shown = ["mysql", "--password", "***", "--token=***", "--author", "b", "--max-tokens", "5"]
    assert MASK.masked(command) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"Config(user='u', passWord='{SENTINEL}')",
        f'{{"apiKey":"{SENTINEL}","n":1}}',
        f"{{'api-key': '{SENTINEL}'}}",
        f'{{\\"password\\": \\"{SENTINEL}\\"}}',
        f"Headers([('Authorization', '{SENTINEL}'), ('Accept', '*/*')])",
        f"Headers(raw=[(b'x-api-key', b'{SENTINEL}')])",
        f"https://example.com/?user=u&access_token={SENTINEL}&n=1",
        f"login failed for u, password: {SENTINEL}",
        f"Authorization: Token {SENTINEL} {SENTINEL}\r\nAccept: */*",
        f"Cookie: a=1; session={SENTINEL}\r\nAccept: */*",
        f"auth=('u', '{SENTINEL}'), timeout=3",
        f"Model(token=SecretBox(value='{SENTINEL}'), n=1)",
        f"environ['API_KEY'] = \"{SENTINEL}\"",
        f"password = '{SENTINEL}",
        f"\u0130stanbul password={SENTINEL}",
        f"mysql --user u --password {SENTINEL} -h db",
        f"curl --api-key '{SENTINEL} {SENTINEL}' url",
        f"<user>u</user><password>{SENTINEL}]{SENTINEL}</password>",
        f'<ns:apiKey type="x" n="1">{SENTINEL}</ns:apiKey>',
        f"<db><clientSecret><![CDATA[{SENTINEL}<{SENTINEL}]]></clientSecret></db>",
        f"<password>{SENTINEL}",
        f"user: u\npassword: |\n  {SENTINEL}\n\n  {SENTINEL}\nhost: h",
        f"private_key: >-\r\n    {SENTINEL}\r\n",
        f"ALTER USER u WITH PASSWORD '{SENTINEL} {SENTINEL}'",
        f'the passphrase "{SENTINEL}" is wrong',
        f"body=user%3Du%26password%3D{SENTINEL}%26n%3D1",
        f"curl -s https://h -u u:{SENTINEL}",
        f"curl --user 'u:{SENTINEL}' https://h",
        f"password=a<{SENTINEL}",
    ],
)
def test_what_a_text_says_under_a_secret_name_is_hidden(text: str) -> None:
    """The repr of an object, JSON in a text, a query, a header's line."""
    assert "sentinel" not in MASK.text(text)
    assert "***" in MASK.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512",
        '{"tokens": 512}',
        '{"prompt_tokens_details": {"cached_tokens": 0}, "tokens": [1, 2]}',
        "run --verbose token",
        "--max-tokens 512",
        "author: Bob",
        "password=None",
        "unexpected token }",
        "the secret of success",
        "if token == other:",
        "missing: ['password', 'user']",
        "std::token::next",
        "see https://example.com:80/token/x@y",
        "tokenizer=gpt2, tokenization: fast",
        '{"tokenizer": "gpt2", "retokenize": "no"}',
        "the secretary: Ann",
        "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
        "x <password and y> 3",
        "a < token > b",
        "<br/>password",
        "password%20rules",
        "curl -u name https://h",
        "https://git@example.com/a and ssh://deploy-of-project@h",
    ],
)
def test_a_text_without_secrets_is_shown(text: str) -> None:
    """Counts, nothing, authors and prose are no secrets."""
    assert MASK.text(text) == text


# --- by looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest.mark.parametrize(
    "around",
    [("", ""), ("a ", " b"), ("'", "'"), ("x=", ";"), ("\\n", "\\n"), ("(", ")"), ("\n", "\n")],
    ids=repr,
)
def test_what_looks_like_a_credential_is_hidden(
    parts: tuple[str, ...], around: tuple[str, str]
) -> None:
    """Wherever it stands in a text, and the text around it stays."""
    before, secret, *after = parts
    text = f"{around[0]}{before}{secret}{''.join(after)}{around[1]}"
    found = without_credentials(text)
    assert secret not in found
    assert "***" in found
    assert found.startswith(around[0] + before)
    if not secret.startswith("-----BEGIN OPENSSH"):
        assert found.endswith("".join(after) + around[1])


@pytest.mark.parametrize("parts", CREDENTIALS.values(), ids=CREDENTIALS)
def test_of_a_cut_credential_nothing_is_left(parts: tuple[str, ...]) -> None:
    """A text that was cut in the middle of a key shows no part of it."""
    before, secret, *_ = parts
    is_block = secret.startswith("-----")
    for end in range(36 if is_block else 12, len(secret)):
        found = without_credentials(f"see {before}{secret[:end]}", is_cut=True)
        assert found.startswith(f"see {before}***"), end
        assert is_block or found == f"see {before}***"
        assert "MII" not in found


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_key_in_the_place_of_a_user_is_hidden(is_cut: bool) -> None:
    """As GitHub takes it; of a text that was cut, also where the rest of the address is missing."""
    key = "0123456789abcdef0123"
    text = f"clone https://{key}" + ("" if is_cut else "@github.com/a/b.git")
    assert without_credentials(text, is_cut=is_cut) == text.replace(key, "***")


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn",
        "a sk-learning-rate",
        "task-12345678901234567890",
        "desk-1234567890",
        "the bearer of good news",
        "Bearer authentication failed",
        "basic understanding",
        "Basic Authentication",
        "https://example.com:8080/a@b",
        "ghp_",
        "MAKIA12345678901234567",
        "eyJpZCI6MX0",
        "-----BEGIN CERTIFICATE-----",
        "d41d8cd98f00b204e9800998ecf8427e",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_only_begins_like_one_is_shown(text: str) -> None:
    """Words, hashes, ids and certificates are no credentials."""
    assert without_credentials(text) == text


secrets = st.sampled_from([parts for parts in CREDENTIALS.values() if len(parts) == 2])
HARMLESS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    secrets,
    HARMLESS,
    HARMLESS,
    st.sampled_from(["list", "map", "key", "bytes"]),
    st.sampled_from(["summary", "named", "failed", "detail", "metadata", "class", "error"]),
)
def test_no_credential_comes_out_anywhere(
    parts: tuple[str, str], before: str, after: str, held: str, where: str
) -> None:
    """In no form of body, at no depth, as key or value, in parameters, metadata and errors."""
    text = f"{before} {''.join(parts)} {after}"
    value: Any = {
        "list": [[text]],
        "map": {"a": {"b": text}},
        "key": {text: 1},
        "bytes": [text.encode()],
    }[held]
    none = [None] * 6
    call = {
        "summary": lambda: call_of([value]),
        "named": lambda: call_of([[1], {"top": value}], NAMED),
        "failed": lambda: call_of([[value], "E"], Outcome.ERROR),
        "detail": lambda: call_of([[value], *none[1:]], DETAIL),
        "metadata": lambda: call_of([*none[1:], {"m": value}], DETAIL),
        "class": lambda: call_of([None, text], Outcome.ERROR),
        "error": lambda: call_of([*none[:4], text, None], DETAIL | Outcome.ERROR),
    }[where]()
    assert parts[1] not in shown(call)
    assert parts[1].replace("\n", "\\n") not in shown(call)


@pytest.mark.parametrize("kind", [Outcome.ERROR, DETAIL | Outcome.ERROR], ids=["caught", "detail"])
def test_an_error_tells_no_secret(kind: int) -> None:
    """Neither as the text of an error nor as that of a caught one."""
    told = f"401 for sk-proj-A1b2C3d4E5f6 with password={SENTINEL}"
    fields = (
        ["q", None, None, "E", told, None, "f", "w"]
        if kind & DETAIL
        else ["q", "E", told, "f", "w"]
    )
    call = call_of(fields, kind)
    assert "A1b2C3d4" not in shown(call)
    assert SENTINEL not in shown(call)
    assert "401 for ***" in shown(call)


def test_a_cut_summary_shows_no_part_of_a_key() -> None:
    """What was cut on its way here may end in the middle of one."""
    call = call_of(["x" * 100 + " sk-pro"], PRUNED)
    assert json.loads(call.params)["query"].endswith("x ***")


@given(st.text(max_size=300), st.booleans())
def test_any_text_is_looked_through(text: str, is_cut: bool) -> None:
    """No text makes it fail, and what was masked once stays as it is."""
    once = MASK.text(text, is_cut=is_cut)
    assert MASK.text(once) == once


@given(
    st.text("ab=:'\"\\ (),{}[]\npasswordtokenkey", max_size=200),
    st.integers(0, 2**32),
)
def test_texts_like_code_are_looked_through(text: str, seed: int) -> None:
    """Quotes and brackets that nobody closes are no trouble, nor are many names."""
    chance = random.Random(seed)  # noqa: S311  no secret
    parts = [text, "password='", "token=(", '"api_key": "', "auth", "://a:b@", "sk-"]
    mixed = "".join(chance.choices(parts, k=20))
    assert isinstance(MASK.text(mixed), str)


@pytest.mark.parametrize(
    "part",
    [
        *("token=(", "password='", "tokens=[", "key ", "://a:", "bearer ", "eyJ", "sk-", "ghp_"),
        *(
            "<token>",
            "token: |\n a\n",
            "password 'a",
            "token%3d",
            "curl -u ",
            "://0a0a0a0a0a0a0a0a",
        ),
    ],
)
def test_a_large_text_takes_no_time_beyond_its_length(part: str) -> None:
    """However often a name or a beginning stands in it: this would take hours."""
    for is_cut in (False, True):
        assert len(MASK.text(part * 20_000, is_cut=is_cut)) <= len(part) * 20_000


def test_without_names_only_looks_count() -> None:
    """Who configures no names shows everything but what looks like a credential."""
    bare = Mask(())
    assert bare.masked({"password": "x", "k": "ghp_16C7e42F292c6912"}) == {
        "password": "x",
        "k": "***",
    }

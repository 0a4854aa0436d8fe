"""
The configuration file: reading it strictly, and writing it with every key explained.

Nothing is guessed: an unknown key, a wrong type or a value out of bounds is a ConfigError that
names file, key, what was found and what was expected, with the nearest known key for a typo.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import yaml

from shmperf.errors import ConfigError
from shmperf.files import reason_of

from .destinations import shown, without_paths
from .options import Every, Limit, Options

__all__ = ["dump", "load", "sentences_of"]

_MOST_BYTES = 1 << 20
_MOST_DIGITS = 100
_EXPECTED = {"object": "a mapping of keys to values", "array": "a list"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_BREAK = re.compile("[\x80-\x9f\u2028\u2029\ufeff]")
_AT_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
# Keys that hold a number for each tool, and what it may be.
_BY_TOOL = {"tool_limits": Limit, "sampling.tools": Every}


def load(path: Path) -> Options:
    """The options in *path*; raises ConfigError for the first thing that is wrong."""
    content = _read(path)
    if content is None:
        return Options()
    if not isinstance(content, dict):
        raise ConfigError(str(path), "", _shown(content), "a mapping of keys to values")
    _check_keys(path, content, Options, "")
    for table in _BY_TOOL:
        _check_names(path, table, _at(content, table.split(".")))
    _read_as_meant(content)
    try:
        return msgspec.convert(content, Options, strict=True)
    except msgspec.ValidationError as error:
        raise _translated(path, content, str(error)) from None


def dump(options: Options) -> str:
    """*options* as YAML, every key with its sentence."""
    lines = [
        "# Limits and settings of shmperf. Every key is here with its default; all are optional.",
        "",
    ]
    lines += _lines(options, "")
    return "\n".join(lines) + "\n"


def sentences_of(group: type[msgspec.Struct]) -> dict[str, str]:
    """What is said of each key of *group*: in its docstring, or by its type, of constants."""
    lines = "\n".join(_paragraphs(group)[1:]).replace("\n  ", " ").split("\n")
    said = {key: sentence for key, _, sentence in (line.partition(": ") for line in lines)}
    for key, annotation in get_type_hints(group, include_extras=True).items():
        for meta in getattr(annotation, "__metadata__", ()):
            said[key] = getattr(meta, "description", None) or said.get(key, "")
    return {key: sentence for key, sentence in said.items() if sentence}


def _paragraphs(group: type) -> list[str]:
    return (inspect.getdoc(group) or "").split("\n\n")


def _lines(group: msgspec.Struct, indent: str) -> Iterator[str]:
    """The keys of *group*, those that are groups themselves behind a line with their sentence."""
    said = sentences_of(type(group))
    for key in group.__struct_fields__:
        value = getattr(group, key)
        if isinstance(value, msgspec.Struct):
            if not indent:
                yield ""
            yield f"{indent}# {_paragraphs(type(value))[0]}"
            yield f"{indent}{key}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield _line(key, value, said.get(key, ""), indent=indent)


def _line(key: str, value: Any, sentence: str, *, indent: str) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, dict) and plain:
        names = _text(plain, flow=False).split("\n")
        return "\n".join([f"{indent}{key}:  # {sentence}", *(f"{indent}  {n}" for n in names)])
    return f"{indent}{key}: {_text(plain, flow=True)}  # {sentence}"


def _text(plain: Any, *, flow: bool) -> str:
    """*plain* as YAML, readable where it can be, escaped where it would be read differently."""

    def dumped(*, raw: bool) -> str:
        text: str = yaml.safe_dump(
            plain, default_flow_style=flow, width=10_000, allow_unicode=raw, sort_keys=False
        )
        return text.removesuffix("\n").removesuffix("\n...")

    text = dumped(raw=True)
    # Raw line breaks of Unicode inside quotes would be folded when they are read.
    return dumped(raw=False) if _LINE_BREAK.search(text) else text


class _StrictLoader(yaml.SafeLoader):
    """Plain data only; a key that stands twice is an error, not a silent loss."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        # It could be written neither to the session's settings nor to a file name.
        if _SURROGATE.search(text):
            raise _refused("half a surrogate pair is no text", node)
        return text

    def construct_short_int(self, node: yaml.ScalarNode) -> int:
        # Python refuses to show an integer of thousands of digits in a message.
        if len(node.value) > _MOST_DIGITS:
            raise _refused(f"a number of more than {_MOST_DIGITS} digits", node)
        return int(self.construct_yaml_int(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a list or a mapping is no key", key)
            if key.value in seen:
                raise _refused(f"key {shown(key.value)} stands twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_short_int)


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), "", reason_of(error), "a readable file") from None
    if len(text) > _MOST_BYTES:
        raise ConfigError(str(path), "", "more than 1 MiB", "a configuration file")
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  a SafeLoader, made stricter
    except yaml.YAMLError as error:
        raise ConfigError(str(path), "", _problem(error), "valid YAML") from None
    except RecursionError:
        raise ConfigError(str(path), "", "too many levels", "valid YAML") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # What PyYAML lets out when a tag doesn't fit its value, as in `!!bool x`.
        problem = f"a value that its type can't have ({without_paths(str(error)[:200])})"
        raise ConfigError(str(path), "", problem, "valid YAML") from None


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong and where; not the line itself, in which a secret may stand."""
    for mark in (getattr(error, "context_mark", None), getattr(error, "problem_mark", None)):
        if mark is not None:
            mark.buffer = None
    text = " ".join(str(error).split()).replace('in "<byte string>", ', "at ")
    return without_paths(text)[:300]


def _read_as_meant(content: dict[str, Any]) -> None:
    """``compress: off`` without quotes, which YAML 1.1 reads as false."""
    history = content.get("history")
    if isinstance(history, dict) and history.get("compress") is False:
        history["compress"] = "off"


def _check_keys(path: Path, content: Mapping[Any, Any], kind: type, prefix: str) -> None:
    known = {field.name: field.default for field in msgspec.structs.fields(kind)}
    for key, value in content.items():
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"{prefix}{nearest[0]}" if nearest else ""
            raise ConfigError(
                str(path),
                f"{prefix}{_name(key)}",
                "an unknown key",
                f"one of {', '.join(known)}",
                hint,
            )
        default = known[key]
        if isinstance(value, dict) and isinstance(default, msgspec.Struct):
            _check_keys(path, value, type(default), f"{prefix}{key}.")


def _check_names(path: Path, table: str, by_tool: Any) -> None:
    for name in by_tool if isinstance(by_tool, dict) else ():
        if not isinstance(name, str):
            raise ConfigError(
                str(path),
                f"{table}.{_name(name)}",
                _shown(name),
                "a tool's name as text: put it in quotes",
            )


def _translated(path: Path, content: Mapping[str, Any], text: str) -> ConfigError:
    """msgspec's complaint in our words."""
    place = _AT_PATH.search(text)
    steps = re.findall(r"[^.\[\]]+", place["path"]) if place else []
    expected = (text[: place.start()] if place else text).removeprefix("Expected ")
    expected = re.sub(r", got `[^`]*`$", "", expected).replace("`", "")
    for table, kind in _BY_TOOL.items():
        if place and place["path"].endswith(f"{table}[...]"):
            by_tool = _at(content, table.split("."))
            bad = [name for name, value in by_tool.items() if not _fits(value, kind)]
            steps = [*table.split("."), *bad[:1]]
    found = _at(content, steps)
    # What a struct checks by itself is told under the struct, with the field in front.
    field, colon, rest = expected.partition(": ")
    if colon and isinstance(found, dict) and field in found:
        steps, found, expected = [*steps, field], found[field], rest
    expected = _EXPECTED.get(expected, expected)
    if isinstance(found, float) and not math.isfinite(found):
        expected = "a finite number"
    key = steps[-1] if steps else ""
    return ConfigError(str(path), ".".join(map(_name, steps)), _shown(found, key), expected)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _at(content: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and step.isdigit():
            content = content[int(step)]
    return content


def _name(key: Any) -> str:
    """*key* as it stands in the file, unless a line of a message can't hold it."""
    text = without_paths(str(key))
    return text if text.isprintable() and len(text) <= 80 else shown(text)


def _shown(value: Any, key: str = "") -> str:
    return f"{type(value).__name__} {shown(value, key)}"

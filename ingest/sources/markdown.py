"""Markdown: one file is one document, its front matter is metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, cast

import yaml

from ingest.cutting.headings import outline
from ingest.sources.base import Parsed, Reject, SourceFile, Stream, whole_file
from ingest.sources.fields import Fields, plain
from m3.errors import InvalidInput

_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\r?\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)

_MAX_FRONT_MATTER = 65_536
_MAX_DEPTH = 32


class Markdown:
    """The title is the front matter's, or the first top heading, or the file's name."""

    name = "markdown"
    suffixes = (".md", ".markdown")

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        content, size = whole_file(stream)
        metadata, text = _split(content)
        title = metadata.pop(fields.title, None)
        if title is None or isinstance(title, dict | list):
            title = _first_heading(text) or stem(file.id)
        document = fields.document(file.id, text, str(title), metadata, markdown=True)
        yield Parsed(document, file.place(), size=size)


def _split(content: str) -> tuple[dict[str, Any], str]:
    """Front matter and what follows it. Without a mapping at the top, all of it is text."""
    match = _FRONT_MATTER.match(content)
    if match is None:
        return {}, content
    try:
        value = _loaded(match["yaml"])
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 2}"
        raise InvalidInput(f"malformed front matter{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput(f"malformed front matter: {error}") from error
    if value is None:
        return {}, content[match.end() :]
    if not isinstance(value, dict):
        return {}, content
    return cast(dict[str, Any], plain(value)), content[match.end() :]


def _loaded(source: str) -> Any:
    """YAML of modest size, without aliases: a few lines of them can stand for gigabytes."""
    if len(source) > _MAX_FRONT_MATTER:
        raise InvalidInput(f"malformed front matter: over {_MAX_FRONT_MATTER:,} characters")
    parsed = yaml.parse(source, yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    depth = 0
    for event in cast(Iterator[object], parsed):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidInput("malformed front matter: YAML aliases are not read")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise InvalidInput(f"malformed front matter: nested over {_MAX_DEPTH} deep")
    return yaml.safe_load(source)


def _first_heading(text: str) -> str:
    return next((heading.text for heading in outline(text).headings if heading.level == 1), "")


def stem(identifier: str) -> str:
    """A file's name without its suffixes, for want of a title."""
    return PurePosixPath(identifier).name.partition(".")[0] or identifier

"""Copies of collections, one after the other: refused before any begins, shown, and counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import print_json
from m3.errors import AlreadyExists, InvalidInput, NotFound

if TYPE_CHECKING:
    from store.copying import Published, Target
    from store.registry import Registry

Names = Annotated[
    list[str] | None,
    typer.Argument(help="The collections.", metavar="NAME...", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All collections that there are.")]


def chosen(given: Sequence[str] | None, source: Registry, *, every: bool) -> list[str]:
    """The collections that were named, or all there are.

    Raises:
        InvalidInput: neither or both was said.
        NotFound: there are none.
    """
    if bool(given) == every:
        raise InvalidInput("name the collections, or say --all")
    names = list(dict.fromkeys(given or source.names()))
    if not names:
        raise NotFound("there is no collection")
    return names


def copy_all(
    source: Registry, target: Target, names: Mapping[str, str], *, doing: str, if_taken: str
) -> list[dict[str, Any]]:
    """Copy collections, each under the name it maps to; what came of each.

    Raises:
        AlreadyExists: a name is taken, before anything is copied.
        M3Error: as `store.copying.Target.write`.
    """
    from store.copying import Published  # noqa: PLC0415 - keeps --help quick

    found = {new: Published.of(source, name) for name, new in names.items()}
    taken = target.taken(list(found))
    if taken:
        raise AlreadyExists(f"{', '.join(map(repr, taken))} is there already: {if_taken}")
    return [_copied(target, published, new, doing) for new, published in found.items()]


def _copied(target: Target, published: Published, new: str, doing: str) -> dict[str, Any]:
    from commands.counting import counted  # noqa: PLC0415 - keeps --help quick

    began = time.monotonic()
    with counted(f"{doing} {published.name}", target.steps * published.chunks) as advance:
        copied = target.write(published, new, advance)
    return {**asdict(copied), "seconds": round(time.monotonic() - began, 3)}


def told(copies: Sequence[Mapping[str, Any]], where: str, *, json: bool) -> None:
    """Print what was copied: a line each, or all of it for programs."""
    if json:
        print_json(copies)
        return
    for copy in copies:
        typer.echo(shown(copy, where))


def shown(copy: Mapping[str, Any], where: str) -> str:
    return (
        f"{copy['name']}: {copy['documents']:,} documents, {copy['chunks']:,} chunks, "
        f"{copy['bytes']:,} bytes in {copy['seconds']:,.1f} s, {where}"
    )

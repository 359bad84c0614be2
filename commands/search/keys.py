"""`m3-search keys`: who may call the servers, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import print_json
from commands.options import Json
from m3.errors import InvalidConfiguration
from m3.settings import load_settings
from m3.types import DEFAULT_TENANT

if TYPE_CHECKING:
    from serving.keys.key import Key

keys = typer.Typer(
    help="Who may call the servers: keys with scopes, a tenant and limits.",
    no_args_is_help=True,
)


def add(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")


File = Annotated[
    Path | None,
    typer.Option("--file", help="Keys file.  [M3_API_KEYS_FILE]", show_default=False),
]


@keys.command(
    "add",
    epilog="Examples:\n\n`m3-search keys add website --scopes read --tenant acme`\n\n"
    "`m3-search keys add nightly --scopes read,write --expires 2030-01-31 --rate 20 --burst 40`\n\n"
    "`m3-search keys add operator --scopes read,write,admin --tenant '*'`",
)
def add_key(
    name: Annotated[str, typer.Argument(help="Letters, digits, '.', '-' and '_', up to 64.")],
    *,
    scopes: Annotated[
        str, typer.Option(help="Of read, write, admin; comma-separated.", metavar="S,S,…")
    ] = "read",
    tenant: Annotated[
        str, typer.Option(help="Whose documents; '*' for an admin of every tenant.")
    ] = DEFAULT_TENANT,
    expires: Annotated[
        str | None,
        typer.Option(help="Refused from then on (UTC).", metavar="DATE", show_default=False),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second.  [no limit]", show_default=False)
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(help="Requests at once.  [a second's]", show_default=False),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests under way.  [no limit]", show_default=False)
    ] = None,
    file: File = None,
    json: Json = False,
) -> None:
    """Make a key, print it this once, and write its hash to the keys file."""
    from serving.keys.editing import add_key  # noqa: PLC0415 - keeps --help quick

    path = _path(file)
    secret = add_key(
        path,
        name,
        scopes=[scope.strip() for scope in scopes.split(",")],
        tenant=tenant,
        expires=expires,
        rate=rate,
        burst=burst,
        concurrency=concurrency,
    )
    if json:
        print_json({"name": name, "key": secret, "file": str(path)})
        return
    typer.echo(secret)
    typer.echo(f"{path} holds its hash alone: keep the key, it is not shown again", err=True)


@keys.command("list", epilog="Examples:\n\n`m3-search keys list`\n\n`m3-search keys list --json`")
def list_keys(*, file: File = None, json: Json = False) -> None:
    """The keys of the file, by name; no key is shown, for none is kept."""
    from serving.keys.file import read_keys  # noqa: PLC0415 - keeps --help quick

    found = read_keys(_path(file))
    if json:
        print_json({"keys": [_shown(key) for key in found]})
    else:
        _show(found)


@keys.command(epilog="Example:\n\n`m3-search keys remove website`")
def remove(
    name: Annotated[str, typer.Argument(help="As `keys list` shows it.")], *, file: File = None
) -> None:
    """Take a key out; servers that run refuse it within a second or two."""
    from serving.keys.editing import remove_key  # noqa: PLC0415 - keeps --help quick

    path = _path(file)
    remove_key(path, name)
    typer.echo(f"removed {name} from {path}")


def _path(file: Path | None) -> Path:
    path = file or load_settings().api_keys_file
    if path is None:
        raise InvalidConfiguration("no keys file: set M3_API_KEYS_FILE, or name one with --file")
    return path


def _shown(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "tenant": key.tenant,
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": key.expired(datetime.now(UTC)),
        "rate": key.limits.rate,
        "burst": key.limits.burst if key.limits.rate is not None else None,
        "concurrency": key.limits.concurrency,
    }


def _show(found: Sequence[Key]) -> None:
    from rich.console import Console  # noqa: PLC0415 - keeps --help quick
    from rich.table import Table  # noqa: PLC0415

    table = Table("name", "scopes", "tenant", "expires", "requests/s", "under way", box=None)
    for each in map(_shown, found):
        expires = (each["expires"] or "never").removesuffix("T00:00:00+00:00")
        expires += " (expired)" if each["expired"] else ""
        rate = "" if each["rate"] is None else f"{each['rate']:g}, {each['burst']} at once"
        cells = (each["name"], ",".join(each["scopes"]), each["tenant"], expires, rate)
        table.add_row(*cells, str(each["concurrency"] or ""))
    Console(highlight=False, markup=False).print(table)

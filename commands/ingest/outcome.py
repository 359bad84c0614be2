"""What came of a run, for people or programs, and its exit code."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from commands.console import INTERRUPTED, SOME_FAILED, print_json

if TYPE_CHECKING:
    from commands.ingest.running import Outcome


def show_outcome(outcome: Outcome, collection: str, *, json: bool) -> None:
    """Print it. Raises typer.Exit where the run was stopped or documents failed."""
    report = outcome.report
    if outcome.dead_letters:
        typer.echo(f"{report.failed:,} failed, kept in {outcome.dead_letters}", err=True)
    if report.truncated:
        typer.echo(
            f"{report.truncated:,} documents are longer than the model reads: only their "
            "beginning can be found",
            err=True,
        )
    if outcome.stopped == "max_errors":
        typer.echo(
            f"stopped after {report.failed:,} failed documents, as --max-errors says; what was "
            "embedded is written, the same command goes on from there",
            err=True,
        )
    if outcome.stopped == "interrupted":
        typer.echo("interrupted; the same command goes on from there", err=True)
    _tell_deleted(outcome, would="")
    if json:
        letters = str(outcome.dead_letters) if outcome.dead_letters else None
        body = {"collection": collection, **asdict(report), "dead_letters": letters}
        print_json({**body, "stopped": outcome.stopped, "deleted": outcome.deleted})
    else:
        typer.echo(f"{collection}: {_counts(outcome, would='')}")
    _exit(outcome)


def show_survey(outcome: Outcome, collection: str, *, json: bool) -> None:
    """Print what a run would do. Raises typer.Exit where documents failed."""
    from ingest.estimate import table_bytes  # noqa: PLC0415 - keeps --help quick

    report, rate = outcome.report, outcome.tokens_per_second
    size = table_bytes(report, outcome.spec)
    seconds = report.tokens / rate if rate else None
    _tell_deleted(outcome, would=" would be")
    if json:
        body: dict[str, Any] = {"collection": collection, **asdict(report)}
        body |= {"dead_letters": None, "dry_run": True, "deleted": outcome.deleted}
        print_json({**body, "table_bytes": size, "embedding_seconds": seconds})
    else:
        time = f"about {timedelta(seconds=round(seconds))}" if seconds else "an unknown time"
        speed = f"the nodes' {rate:,.0f} tokens/s" if rate else "no node has measured its speed yet"
        typer.echo(
            f"{collection}: {_counts(outcome, would=' would be')}\n"
            f"  the table would grow by about {size / 1e6:,.1f} MB\n"
            f"  embedding would take {time} ({speed})"
        )
    _exit(outcome)


def _tell_deleted(outcome: Outcome, *, would: str) -> None:
    if outcome.not_synced:
        typer.echo(f"--sync: {outcome.not_synced}", err=True)
    elif outcome.deleted is not None:
        typer.echo(
            f"--sync: {outcome.deleted:,} documents{would} deleted, which are not in the source "
            "any more",
            err=True,
        )


def _counts(outcome: Outcome, *, would: str) -> str:
    report, spec = outcome.report, outcome.spec
    seconds = max(report.seconds, 1e-3)
    model = "English-only stand-in" if spec.stand_in else spec.model
    return (
        f"{report.documents:,} documents,{would} {report.written:,} written "
        f"({report.replaced:,} in place of older), {report.unchanged:,} unchanged, "
        f"{report.failed:,} failed; {report.chunks:,} chunks "
        f"({report.reused:,} with vectors that were there), {report.tokens:,} tokens by {model} "
        f"in {seconds:,.1f} s ({report.documents / seconds:,.0f} documents/s)"
    )


def _exit(outcome: Outcome) -> None:
    if outcome.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if outcome.stopped or outcome.report.failed or outcome.not_synced:
        raise typer.Exit(SOME_FAILED)

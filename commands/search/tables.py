"""Hits for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

LEGS = ("dense", "sparse", "colbert")
_SHOWN_TERMS = 6


def show_hits(answer: dict[str, Any], *, stand_in: bool) -> None:
    """A table of hits with their three scores, then where the time went."""
    screen = Console(highlight=False)
    hits: list[dict[str, Any]] = answer["hits"]
    if hits:
        screen.print(_hits_table(hits))
    else:
        screen.print("no hits")
    for hit in hits:
        if "explain" in hit:
            screen.print(_explanation(hit), markup=False)
        if hit.get("neighbours"):
            screen.print(_in_place(hit), markup=False)
    timings = "  ".join(f"{name} {ms:.1f}" for name, ms in answer["timings_ms"].items())
    screen.print(f"ms: {timings}")
    if answer["degraded"]:
        screen.print(f"degraded: {', '.join(answer['degraded'])}")
    if stand_in:
        screen.print("English-only stand-in: its scores say nothing about the real model")


def _hits_table(hits: list[dict[str, Any]]) -> Table:
    table = Table(expand=True)
    for name in ("score", *LEGS):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("passage", overflow="fold", ratio=1)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=3)
    for hit in hits:
        scores = [hit["score"], *(hit["scores"][leg] for leg in LEGS)]
        text = " ".join(f"{hit['title']} {hit['text']}".split())
        table.add_row(*map(_score, scores), Text(hit["id"]), Text(text))
        for chunk in hit.get("chunks", ()):
            scores = [chunk["score"], *(chunk["scores"][leg] for leg in LEGS)]
            table.add_row(*map(_score, scores), Text(f"  #{chunk['position']}"), "")
    return table


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _in_place(hit: dict[str, Any]) -> str:
    """The hit among its neighbours, in the order of the document."""
    passages = sorted([hit, *hit["neighbours"]], key=lambda passage: passage["position"])
    lines = [
        f"  {'>' if passage is hit else ' '} #{passage['position']} "
        f"{' '.join(passage['text'].split())}"
        for passage in passages
    ]
    return "\n".join([hit["id"], *lines])


def _explanation(hit: dict[str, Any]) -> str:
    shares = hit["explain"]["contributions"]
    sum_ = " + ".join(f"{shares[leg]:.4f} {leg}" for leg in LEGS)
    terms = hit["explain"]["terms"][:_SHOWN_TERMS]
    matched = ", ".join(
        f"{term['term']} {term['query_weight']:.3f}×{term['passage_weight']:.3f}" for term in terms
    )
    return f"{hit['id']}\n  {hit['score']:.4f} = {sum_}\n  terms: {matched or 'none shared'}"

"""What the page shows, as HTML. Every word that is not ours is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from embedder.page.alignment import Alignment
from embedder.page.scores import Row
from embedder.page.status import Status
from embedder.page.terms import Segment
from m3.types import ModelInfo

STAND_IN = "English-only stand-in: it shows how things work, not how good BGE-M3 is."
_HEAVIEST = 12
"""Terms that are shown without being asked for."""
_SHOWN_SCORES = ("dense", "sparse", "colbert", "fused")
_LINKS = (("/docs", "API"), ("/openapi.json", "OpenAPI"), ("/metrics", "metrics"))


def alert(message: str) -> str:
    """What went wrong, told to screen readers too."""
    return f'<p class="m3-alert" role="alert">{escape(message)}</p>'


def notes(messages: Sequence[str]) -> str:
    return "".join(f'<p class="m3-note" role="status">{escape(text)}</p>' for text in messages)


def _done(words: str) -> str:
    """What screen readers say where others see the result appear."""
    return f'<p class="m3-unseen" role="status">{escape(words)}</p>'


def _scrolled(name: str, table: str) -> str:
    """A wide table, which the keyboard scrolls too."""
    return f'<div class="m3-scroll" tabindex="0" role="region" aria-label="{name}">{table}</div>'


def banner(model: ModelInfo) -> str:
    """Above all tabs: which model answers."""
    warning = f'<strong class="m3-stand-in">{STAND_IN}</strong>' if model.stand_in else ""
    return f'<p class="m3-banner"><code>{escape(model.id)}</code>{warning}</p>'


def score_table(rows: Sequence[Row]) -> str:
    """Bars are drawn to the largest value of their column."""
    columns = {name: [getattr(row, name) for row in rows] for name in _SHOWN_SCORES}
    tops = {name: max([*values, 0.0]) or 1.0 for name, values in columns.items()}
    heads = "".join(f'<th scope="col">{name}</th>' for name in _SHOWN_SCORES)
    lines = "".join(_score_line(place, row, tops) for place, row in enumerate(rows, 1))
    drawn = (
        '<table class="m3-scores"><caption>Passages by fused score</caption>'
        f'<thead><tr><th scope="col">#</th><th scope="col">passage</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )
    return _done(f"{len(rows)} passages ranked") + _scrolled("Passages by fused score", drawn)


def _score_line(place: int, row: Row, tops: dict[str, float]) -> str:
    cells = "".join(
        f'<td class="m3-bar m3-{name}" style="--v:{_share(getattr(row, name), tops[name])}">'
        f"{getattr(row, name):.4f}</td>"
        for name in _SHOWN_SCORES
    )
    return f'<tr><td>{place}</td><th scope="row">{escape(row.passage)}</th>{cells}</tr>'


def weighed_text(segments: Sequence[Segment]) -> str:
    """The text, each token shaded by its weight; the heaviest is darkest."""
    top = max((segment.weight or 0.0 for segment in segments), default=0.0) or 1.0
    return f'<p class="m3-text">{"".join(_shaded(segment, top) for segment in segments)}</p>'


def _shaded(segment: Segment, top: float) -> str:
    if not segment.weight:
        return escape(segment.text)
    return (
        f'<mark style="--v:{_share(segment.weight, top)}" title="{segment.weight:.4f}">'
        f"{escape(segment.text)}</mark>"
    )


def term_table(terms: Sequence[tuple[str, float]]) -> str:
    """Terms and weights, heaviest first, lighter ones to open; a note where there are none."""
    if not terms:
        return notes(["No term of this text has a weight."])
    top = max(weight for _, weight in terms)
    heaviest, lighter = terms[:_HEAVIEST], terms[_HEAVIEST:]
    drawn = _done(f"{len(terms)} terms weighed") + _terms("Heaviest terms", heaviest, top)
    if lighter:
        more = _terms("Lighter terms", lighter, top)
        drawn += f"<details><summary>{len(lighter)} lighter terms</summary>{more}</details>"
    return drawn


def _terms(caption: str, terms: Sequence[tuple[str, float]], top: float) -> str:
    lines = "".join(
        f'<tr><th scope="row"><code>{escape(term)}</code></th>'
        f'<td class="m3-bar m3-sparse" style="--v:{_share(weight, top)}">{weight:.4f}</td></tr>'
        for term, weight in terms
    )
    return (
        f'<table class="m3-terms"><caption>{caption}</caption><thead><tr>'
        '<th scope="col">term</th><th scope="col">weight</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def heat_map(alignment: Alignment) -> str:
    """Rows are the query's tokens; what each finds is outlined and written out."""
    low, high = float(alignment.similarity.min()), float(alignment.similarity.max())
    heads = "".join(
        f'<th scope="col"><span>{escape(piece)}</span></th>' for piece in alignment.passage
    )
    lines = "".join(
        f'<tr><th scope="row">{escape(piece)}</th>{_heat_line(row, best, low, high)}</tr>'
        for piece, row, best in zip(
            alignment.query, alignment.similarity.tolist(), alignment.best, strict=True
        )
    )
    drawn = (
        '<table class="m3-heat">'
        "<caption>Similarity of query tokens (rows) and passage tokens (columns); "
        f"pale {low:.2f} to full {high:.2f}</caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    )
    return (
        _scrolled("Similarity of tokens", drawn)
        + f'<p class="m3-total">MaxSim <output>{alignment.score:.4f}</output> '
        f"is the mean of {len(alignment.query)} best matches.</p>"
    )


def _heat_line(row: Sequence[float], best: int, low: float, high: float) -> str:
    return "".join(
        f'<td style="--v:{_share(value - low, high - low)}" title="{value:.4f}"'
        + (' class="m3-best">' if column == best else ">")
        + f"<span>{value:.2f}</span></td>"
        for column, value in enumerate(row)
    )


def status_table(status: Status) -> str:
    model = status.model
    lines = {
        "model": f"<code>{escape(model.id)}</code>" + (", a stand-in" if model.stand_in else ""),
        "fingerprint": f"<code>{escape(model.fingerprint)}</code>",
        "precision": escape(model.precision),
        "engine": escape(status.engine),
        "dimension": str(model.dimension),
        "tokens of one text": f"at most {model.max_tokens:,}",
        "queue": f"{status.queued:,} of {status.room:,} tokens",
        "computed": f"{status.computed:,} tokens, {status.rate:,.0f} a second of computing",
        "up": _duration(status.uptime),
        "more": "".join(f'<a href="{path}">{name}</a>' for path, name in _LINKS),
    }
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in lines.items()
    )
    return f'<table class="m3-status"><caption>This node</caption><tbody>{body}</tbody></table>'


def _share(value: float, top: float) -> str:
    """Of the top, within 0 and 1, as CSS reads it."""
    return f"{min(max(value / top, 0.0), 1.0):.3f}" if top > 0 else "0"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"

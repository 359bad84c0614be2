"""What a search says of a hit, as metadata."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from search.response import Hit

KEY = "hit"
"""Under one name, so that it hides nothing that a document's own metadata has."""


def metadata(hit: Hit) -> dict[str, Any]:
    """The document's own, and under `hit` the passage's place, its title and its scores."""
    about = {
        "document_id": hit.document_id,
        "source": hit.source,
        "position": hit.position,
        "title": hit.title,
        "heading": list(hit.heading),
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "scores": asdict(hit.scores),
    }
    return {**hit.metadata, KEY: about}

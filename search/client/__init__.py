"""The search API over HTTP, for programs: `SearchClient` and `AsyncSearchClient`.

Imports no model library and no store: what a program needs is this package's own requirements.
"""

from search.client.answers import BatchAnswer, Reranked, RerankedDocument
from search.client.blocking import SearchClient
from search.client.concurrent import AsyncSearchClient
from search.client.options import Options, Search

__all__ = [
    "AsyncSearchClient",
    "BatchAnswer",
    "Options",
    "Reranked",
    "RerankedDocument",
    "Search",
    "SearchClient",
]

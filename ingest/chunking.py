"""Documents to passages that the model can read: cut by its own tokenizer, at borders of meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from ingest.headings import Outline, outline
from m3.errors import InvalidInput
from m3.types import Chunk, Document, model_text
from store.contract import Chunking

VERSION = 1
"""Of the rules below; part of a document's content hash, so that other rules cut anew."""

MIN_TOKENS = 16
MAX_DOCUMENT_TOKENS = 2**21
"""All chunks of a document are written at once; this many tokens are 2 GB of ColBERT codes."""

_TITLE_SHARE = 4
"""A title takes at most a quarter of a chunk: what is longer is cut for the model, and only there."""

_CHARACTERS_PER_TOKEN = 16
"""A chunk has at most so many on average; base64 or blank tables are cut rather than run on."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk and what the model is given of it.

    Attributes:
        text: title and chunk, as the model reads them.
        tokens: of `text`, special ones included.
    """

    chunk: Chunk
    text: str
    tokens: int

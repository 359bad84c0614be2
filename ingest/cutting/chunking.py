"""Documents to passages that the model can read, cut by its own tokenizer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from ingest.cutting.headings import Outline, outline
from ingest.cutting.splitting import (
    CHARACTERS_PER_TOKEN,
    Counts,
    ExactCounts,
    Span,
    Splitting,
    WordCounts,
    past_blank,
)
from m3.errors import InvalidInput
from m3.types import Chunk, Document, context_of, model_text
from store.spec import Chunking

MIN_TOKENS = 16
MAX_DOCUMENT_TOKENS = 2**21
"""A document is written at once: this many tokens are 2 GB of BGE-M3's ColBERT codes."""

_CONTEXT_SHARE = 4
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk and what the model is given of it.

    Attributes:
        text: context and chunk, as the model reads them.
        tokens: of `text`, special ones included.
        truncated: whether the model reads less than all of the chunk.
    """

    chunk: Chunk
    text: str
    tokens: int
    truncated: bool = False


class Chunker:
    """Cuts documents so that no passage is over `chunking.max_tokens` as the model reads it.

    Title and headings before a passage take at most a quarter of that: what is longer is cut
    for the model, and only there. Safe for several threads at once.

    Args:
        tokenizer: the node's, as JSON.
        model_tokens: what the model reads of one text.

    Raises:
        InvalidInput: a chunking that no text could be cut by.
    """

    def __init__(self, tokenizer: str, chunking: Chunking, model_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = WordCounts(self._tokenizer)
        self._exact = ExactCounts(self._tokenizer)
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._chunking = chunking
        self._limit = model_tokens if chunking.whole else chunking.max_tokens
        _check(chunking, model_tokens)

    def passages(self, document: Document) -> list[Passage]:
        """The document's passages in order: at least one, none without text.

        Raises:
            InvalidInput: no text, or more than one write can take.
        """
        if not document.text.strip():
            raise InvalidInput("empty text")
        if self._chunking.whole:
            return [self._whole(document)]
        passages = self._fitting(document)
        tokens = sum(passage.tokens for passage in passages)
        if tokens > MAX_DOCUMENT_TOKENS:
            raise InvalidInput(
                f"the document has {tokens:,} tokens; at most {MAX_DOCUMENT_TOKENS:,}: split it"
            )
        return passages

    def _fitting(self, document: Document) -> list[Passage]:
        """Cut by words, count what was cut; where one is too long, cut exactly, then smaller."""
        text = document.text
        headings = outline(text) if document.markdown else Outline()
        contexts = self._contexts(document.title, headings)
        longest = max(self._exact(context, self._limit) for context in contexts.values())
        counts: Counts = self._words
        capacity = self._limit - self._special - longest
        while capacity > 0:
            splitting = Splitting(counts, capacity, self._chunking.overlap)
            spans = (
                splitting.markdown(text, headings) if document.markdown else splitting.plain(text)
            )
            passages = self._measured(_chunks(document, spans, headings), contexts)
            over = max(passage.tokens for passage in passages) - self._limit
            if over <= 0:
                return passages
            if counts is self._words:
                counts = self._exact
            else:
                capacity -= max(over, capacity // 8)
        raise InvalidInput(f"the text cannot be cut into passages of {self._limit} tokens")

    def _contexts(self, title: str, headings: Outline) -> Mapping[tuple[str, ...], str]:
        """What the model is given before the chunks under each path of headings."""
        return {path: self._context(title, path) for path in headings.paths}

    def _context(self, title: str, heading: Sequence[str]) -> str:
        return self._shortened(context_of(title, heading, self._chunking.context))

    def _measured(
        self, chunks: Sequence[Chunk], contexts: Mapping[tuple[str, ...], str]
    ) -> list[Passage]:
        passages: list[Passage] = []
        for first in range(0, len(chunks), _BATCH):
            batch = chunks[first : first + _BATCH]
            texts = [model_text(contexts[chunk.heading], chunk.text) for chunk in batch]
            counts = [len(encoded.ids) for encoded in self._tokenizer.encode_batch_fast(texts)]
            passages += map(Passage, batch, texts, counts)
        return passages

    def _whole(self, document: Document) -> Passage:
        """All of it as one chunk; of a huge text, the model is sent only what it could read."""
        [chunk] = _chunks(document, [(0, len(document.text))], Outline())
        full = model_text(self._context(document.title, ()), chunk.text)
        text = full[: self._limit * CHARACTERS_PER_TOKEN]
        tokens = len(self._tokenizer.encode(text).ids)
        truncated = tokens > self._limit or len(text) < len(full)
        return Passage(chunk, text, min(tokens, self._limit), truncated)

    def _shortened(self, context: str) -> str:
        limit = self._limit // _CONTEXT_SHARE
        context = context[: limit * CHARACTERS_PER_TOKEN]
        ends = [end for _, end in self._tokenizer.encode(context, add_special_tokens=False).offsets]
        return context[: ends[limit - 1]] if len(ends) > limit else context


def _chunks(document: Document, spans: Sequence[Span], headings: Outline) -> list[Chunk]:
    text = document.text
    chunks: list[Chunk] = []
    covered = 0
    for position, (start, end) in enumerate(spans):
        # What a chunk shares with the one before it may stand under another heading.
        own = min(past_blank(text, max(start, covered)), end - 1)
        # A page without text begins where the next one does.
        page = bisect_right(document.pages, own) or None
        chunks.append(Chunk(position, text[start:end], start, end, headings.path(own), page))
        covered = end
    return chunks


def _check(chunking: Chunking, model_tokens: int) -> None:
    if chunking.whole:
        return
    if not MIN_TOKENS <= chunking.max_tokens <= model_tokens:
        raise InvalidInput(
            f"chunks of {chunking.max_tokens} tokens: this model takes {MIN_TOKENS} to "
            f"{model_tokens}"
        )
    if not 0 <= chunking.overlap <= chunking.max_tokens // 2:
        raise InvalidInput(
            f"an overlap of {chunking.overlap} tokens: it can be 0 to half of a chunk's "
            f"{chunking.max_tokens}"
        )

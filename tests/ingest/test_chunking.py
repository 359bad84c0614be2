from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ingest.cutting.chunking import MIN_TOKENS, Chunker, Passage
from ingest.cutting.headings import outline
from m3.errors import InvalidInput
from m3.types import Context, Document
from store.spec import Chunking

SENTENCES = "The cat sat on the mat. A dog barked at the moon, twice. Nothing else happened! "

words = st.sampled_from(
    [
        "the",
        "retrieval",
        "internationalisation",
        "x" * 150,
        "中文字符",
        "e\u0301",
        "👩‍👩‍👧",
        "\u200b",
        "¶",
        "-",
    ]
)
blanks = st.sampled_from(
    [" ", "  ", "\n", "\n\n", "\r\n", ". ", "。", "\t", " " * 600, "\u2028", "\x1f"]
)
marks = st.sampled_from(
    ["# ", "## ", "```\n", "- ", "| a | b |\n|---|---|\n", "> ", "\n===\n", "<b>"]
)
texts = st.lists(words | blanks | marks, max_size=120).map("".join).filter(str.strip)
titles = st.just("") | st.text(max_size=20) | st.text("title ", min_size=100, max_size=2000)
chunkings = st.integers(MIN_TOKENS, 80).flatmap(
    lambda most: st.builds(
        Chunking,
        st.just(most),
        st.integers(0, most // 2),
        context=st.sampled_from(["none", "title", "headings"]),
    )
)


class Named(str):
    """A tokenizer's JSON that does not fill the screen when a test fails."""

    def __repr__(self) -> str:
        return "<tokenizer>"


@pytest.fixture(scope="session", params=["wordpiece", "unigram", "bytelevel"])
def tokenizer(request: pytest.FixtureRequest) -> str:
    return Named(request.getfixturevalue(request.param))


def cut(
    tokenizer: str, text: str, chunking: Chunking, *, title: str = "", markdown: bool = False
) -> list[Passage]:
    chunker = Chunker(tokenizer, chunking, 512)
    return chunker.passages(Document("d", text, title, markdown=markdown))


def token_count(tokenizer: str, text: str) -> int:
    """As a node counts: special tokens included, nothing cut off."""
    whole = Tokenizer.from_str(tokenizer)
    whole.no_truncation()
    whole.no_padding()
    return len(whole.encode(text).ids)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(text=texts, title=titles, chunking=chunkings, markdown=st.booleans())
def test_chunks_are_spans_that_cover_the_text_and_fit_the_model(
    tokenizer: str, text: str, title: str, chunking: Chunking, markdown: bool
):
    passages = cut(tokenizer, text, chunking, title=title, markdown=markdown)
    covered = [False] * len(text)
    for position, passage in enumerate(passages):
        chunk = passage.chunk
        assert chunk.position == position
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert passage.text.endswith(chunk.text)
        assert passage.tokens == token_count(tokenizer, passage.text) <= chunking.max_tokens
        covered[chunk.start : chunk.end] = [True] * len(chunk.text)
    assert not "".join(c for c, seen in zip(text, covered, strict=True) if not seen).strip()
    starts = [passage.chunk.start for passage in passages]
    assert starts == sorted(set(starts))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(text=texts, chunking=chunkings, markdown=st.booleans())
def test_equal_texts_are_cut_equally(tokenizer: str, text: str, chunking: Chunking, markdown: bool):
    once = cut(tokenizer, text, chunking, markdown=markdown)
    assert once == cut(tokenizer, text, chunking, markdown=markdown)


def test_a_short_text_is_one_chunk(wordpiece: str):
    [passage] = cut(wordpiece, "Hello there.", Chunking(), title="Greeting")
    assert passage.chunk.text == "Hello there."
    assert passage.text == "Greeting\nHello there."
    assert not passage.truncated


def test_neighbours_share_whole_sentences(wordpiece: str):
    passages = cut(wordpiece, SENTENCES * 20, Chunking(64, 24))
    ends = tuple(".!")
    for before, after in pairwise(passages):
        shared = (SENTENCES * 20)[after.chunk.start : before.chunk.end]
        assert shared.strip()
        assert token_count(wordpiece, shared) - 2 <= 24
        assert before.chunk.text.endswith(ends)
        assert after.chunk.text.startswith(("The", "A", "Nothing"))


def test_no_overlap_shares_nothing(wordpiece: str):
    passages = cut(wordpiece, SENTENCES * 20, Chunking(64, 0))
    for before, after in pairwise(passages):
        assert before.chunk.end <= after.chunk.start


def test_chunks_are_well_filled(wordpiece: str):
    passages = cut(wordpiece, SENTENCES * 200, Chunking(128, 0))
    assert min(passage.tokens for passage in passages[:-1]) > 96


def test_headings_lead_their_text_and_name_it(wordpiece: str):
    parts = [f"{'#' * (1 + i % 3)} Part {i}\n\n{SENTENCES * (1 + i % 4)}\n\n" for i in range(24)]
    text = "".join(parts)
    headings = outline(text)
    passages = cut(wordpiece, text, Chunking(64, 16), markdown=True)
    assert len(passages) > 24
    for passage in passages:
        chunk = passage.chunk
        last_line = chunk.text.rsplit("\n", 1)[-1]
        assert not last_line.startswith("#"), "a chunk ends in the heading of the next"
        assert chunk.heading == headings.path(chunk.start)
    assert passages[0].chunk.heading == ("Part 0",)


def test_the_heading_is_that_of_what_a_chunk_adds(wordpiece: str):
    sections = ["The cat sat on the mat. " * (1 + i % 3) for i in range(20)]
    text = "".join(f"# Part {i}\n\n{section}\n\n" for i, section in enumerate(sections))
    headings = outline(text)
    passages = cut(wordpiece, text, Chunking(64, 32), markdown=True)
    covered, shared = 0, 0
    for passage in passages:
        chunk = passage.chunk
        own = next(i for i in range(max(chunk.start, covered), chunk.end) if text[i].strip())
        assert chunk.heading == headings.path(own)
        shared += chunk.heading != headings.path(chunk.start)
        covered = chunk.end
    assert shared, "no chunk begins in the section before its own"


def test_a_comment_in_a_fence_is_no_heading(wordpiece: str):
    text = f"# Real\n\n```\n# comment\n```\n\n{SENTENCES * 20}"
    passages = cut(wordpiece, text, Chunking(64, 0), markdown=True)
    assert {passage.chunk.heading for passage in passages} == {("Real",)}


def test_plain_text_has_no_headings(wordpiece: str):
    passages = cut(wordpiece, "# Not a heading\n\ntext", Chunking())
    assert [passage.chunk.heading for passage in passages] == [()]


def test_a_long_title_leaves_room_for_the_text(wordpiece: str):
    title = "very long title " * 200
    passages = cut(wordpiece, SENTENCES * 20, Chunking(64, 0), title=title)
    for passage in passages:
        shown = passage.text.removesuffix(passage.chunk.text).rstrip("\n")
        assert title.startswith(shown)
        assert token_count(wordpiece, shown) - 2 <= 64 // 4
    assert sum(token_count(wordpiece, p.chunk.text) for p in passages[:-1]) > 32 * (
        len(passages) - 1
    )


def test_a_whole_document_is_one_chunk_cut_by_the_model(wordpiece: str):
    text = SENTENCES * 100
    chunker = Chunker(wordpiece, Chunking(whole=True), 512)
    [long] = chunker.passages(Document("d", text, "T", markdown=True))
    assert (long.chunk.start, long.chunk.end, long.tokens) == (0, len(text), 512)
    assert long.truncated
    [short] = chunker.passages(Document("d", SENTENCES, "T"))
    assert short.text == f"T\n{SENTENCES}"
    assert not short.truncated
    [huge] = chunker.passages(Document("d", "a" * 10_000_000))
    assert len(huge.text) < 10_000
    assert huge.truncated


@pytest.mark.parametrize(
    "text",
    [
        SENTENCES * 12_000,
        "word " * 200_000,
        "中文字" * 100_000,
        "x" * 300_000,
        "\n" * 500_000 + "x",
        "# a\n" * 50_000,
        "*" * 200_000,
    ],
    ids=["sentences", "words", "chinese", "one word", "blank lines", "headings", "stars"],
)
def test_megabytes_are_cut_in_seconds(wordpiece: str, text: str):
    started = time.process_time()
    passages = cut(wordpiece, text, Chunking(), markdown=True)
    assert time.process_time() - started < 120
    assert max(passage.tokens for passage in passages) <= 512


def test_a_document_beyond_one_write_is_refused(wordpiece: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ingest.cutting.chunking.MAX_DOCUMENT_TOKENS", 1000)
    with pytest.raises(InvalidInput, match=r"1,\d+ tokens; at most 1,000: split it"):
        cut(wordpiece, SENTENCES * 60, Chunking())


def test_no_text_is_refused(wordpiece: str):
    with pytest.raises(InvalidInput, match="empty text"):
        cut(wordpiece, " \n\t\u2003", Chunking())


@pytest.mark.parametrize(
    ("chunking", "reason"),
    [
        (Chunking(8192), "16 to 512"),
        (Chunking(8), "16 to 512"),
        (Chunking(64, 33), "0 to half"),
        (Chunking(64, -1), "0 to half"),
    ],
)
def test_chunkings_that_no_text_fits_are_refused(wordpiece: str, chunking: Chunking, reason: str):
    with pytest.raises(InvalidInput, match=reason):
        Chunker(wordpiece, chunking, 512)


def test_the_tokenizers_own_limits_do_not_count(stand_in: Path, wordpiece: str):
    """Sentence-transformers' file truncates to 128 tokens and pads: counts would be capped."""
    limited = Tokenizer.from_str(wordpiece)
    limited.enable_truncation(128)
    limited.enable_padding(length=128)
    text = SENTENCES * 40
    assert cut(limited.to_str(), text, Chunking()) == cut(wordpiece, text, Chunking())


def pages_of(texts: list[str]) -> tuple[str, tuple[int, ...]]:
    """Pages as one text, and where each begins."""
    starts: list[int] = []
    text = ""
    for page in texts:
        starts.append(len(text))
        text += page + "\n\n" * bool(page)
    return text, tuple(starts)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(pages=st.lists(texts | st.just(""), min_size=1, max_size=6), chunking=chunkings)
def test_a_chunk_has_the_page_that_its_own_text_begins_on(
    wordpiece: str, pages: list[str], chunking: Chunking
):
    text, starts = pages_of(pages)
    assume(text.strip())
    chunker = Chunker(wordpiece, chunking, 512)
    covered = 0
    for passage in chunker.passages(Document("d", text, pages=starts)):
        chunk = passage.chunk
        own = max(chunk.start, covered)
        own += len(text[own : chunk.end]) - len(text[own : chunk.end].lstrip())
        assert chunk.page is not None
        assert starts[chunk.page - 1] <= min(own, chunk.end - 1)
        assert all(start > min(own, chunk.end - 1) for start in starts[chunk.page :])
        covered = chunk.end


def test_what_is_shared_with_the_page_before_is_not_where_a_chunk_begins(wordpiece: str):
    text = SENTENCES * 20
    starts = tuple(range(0, len(text), len(SENTENCES)))
    document = Document("d", text, pages=starts)
    chunker = Chunker(wordpiece, Chunking(64, 24), 512)
    chunks = [passage.chunk for passage in chunker.passages(document)]
    shared = [chunk for chunk in chunks if chunk.page and chunk.start < starts[chunk.page - 1]]
    assert shared
    [whole] = Chunker(wordpiece, Chunking(whole=True), 512).passages(document)
    assert whole.chunk.page == 1


NESTED = "# Install\n\n" + SENTENCES * 6 + "\n\n## Linux\n\n" + SENTENCES * 6


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("none", {""}),
        ("title", {"Guide\n"}),
        ("headings", {"Guide > Install\n", "Guide > Install > Linux\n"}),
    ],
)
def test_the_model_reads_context_before_each_chunk(
    wordpiece: str, context: Context, expected: set[str]
):
    chunker = Chunker(wordpiece, Chunking(64, 0, context=context), 512)
    passages = chunker.passages(Document("d", NESTED, "Guide", markdown=True))
    before = {passage.text.removesuffix(passage.chunk.text) for passage in passages}
    assert before == expected
    assert all(passage.tokens <= 64 for passage in passages)
    assert all(passage.text == passage.chunk.model_text("Guide", context) for passage in passages)


def test_headings_take_a_quarter_of_a_passage_at_most(wordpiece: str):
    deep = "\n\n".join(f"{'#' * level} {'very long heading ' * 20}" for level in range(1, 7))
    chunker = Chunker(wordpiece, Chunking(64, 0, context="headings"), 512)
    for passage in chunker.passages(
        Document("d", f"{deep}\n\n{SENTENCES * 20}", "Guide", markdown=True)
    ):
        context = passage.text.removesuffix(passage.chunk.text)
        assert token_count(wordpiece, context) - 2 <= 64 // 4
        assert passage.tokens <= 64

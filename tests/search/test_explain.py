"""Explanations: shares that add up, tokens that make the score, spans that are the tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3.codec import decode_tokens, encode_tokens
from m3.types import Codec, Context, Representation
from scoring.exact import all_scores
from scoring.fusion import Method, Weights
from search.explain.explainer import Explainer
from search.explain.tokens import Tokens, merged
from search.ranking import RRF_K, Place, Rank
from search.request import SearchRequest
from search.response import Explanation
from search.service import SearchService
from store.chunks import ChunkKey, StoredChunk
from tests.m3.strategies import unit_vectors
from tests.search.library import (
    COLLECTION,
    DIMENSION,
    KnownQueries,
    batch_of,
    example,
    libraries,
    library,
    passages_of,
)

REQUEST = SearchRequest(query="q", collection=COLLECTION, explain=True)
NOWHERE = Place(ChunkKey(0, "t", "s", "d", 0), 0.0, [0.0] * 3, [0.0] * 3)
TEXTS = st.lists(
    st.sampled_from(("vector", "Index", "unbelievable", "naïve", "Straße", "ﬁne", "索引", "𝒳", "!"))
    | st.text(max_size=8),
    max_size=12,
).map(" ".join)

Surface = Callable[[str], str]


@pytest.fixture(scope="module")
def word_pieces(stand_in: Path) -> tuple[Any, Surface]:
    """BERT's, as the stand-in has it; and what a piece is made of a text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(stand_in / "tokenizer.json"))
    return tokenizer, tokenizer.normalizer.normalize_str


@pytest.fixture(scope="module")
def sentence_pieces() -> tuple[Any, Surface]:
    """Like XLM-R's: white space is part of a token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, unk_token="<unk>", special_tokens=["<unk>", "</s>"], show_progress=False
    )
    words = ["vector", "index", "unbelievable", "fine", "title", "of", "text", "索引", "Straße"]
    tokenizer.train_from_iterator([" ".join(words[i:]) for i in range(9)] * 5, trainer)
    return tokenizer, normalizers.NFKC().normalize_str


def passage(tokenizer: Any, text: str, seed: int = 0, codec: Codec = Codec.INT8) -> Representation:
    """As a node stores it: every content token a term, vectors for those and the last token."""
    rng = np.random.default_rng(seed)
    ids = np.array([*tokenizer.encode(text, add_special_tokens=False).ids, 1], np.int32)
    terms = np.unique(ids[:-1])
    return Representation(
        dense=unit_vectors(rng, 1, DIMENSION)[0].astype(codec.dense_dtype),
        sparse_ids=terms,
        sparse_weights=(rng.random(len(terms)) + 0.1).astype(np.float32),
        token_ids=ids,
        codes=encode_tokens(unit_vectors(rng, len(ids), DIMENSION), codec),
        codec=codec,
    )


def chunk(title: str, text: str, heading: tuple[str, ...] = ()) -> StoredChunk:
    return StoredChunk(
        0, "default", "s", "d", 0, 1, 0, len(text), heading, None, title, text, metadata={}
    )


def explained(
    tokenizer: Any, title: str, text: str, query: str, context: Context = "title"
) -> Explanation:
    of = chunk(title, text, ("Part",))
    asked = passage(tokenizer, query, seed=1, codec=Codec.FP32)
    explainer = Explainer(asked, Tokens(tokenizer.to_str()), context, Weights(1, 1, 1))
    return explainer.explain(NOWHERE, of, passage(tokenizer, of.model_text(context)))


@pytest.mark.parametrize("kind", ["word_pieces", "sentence_pieces"])
@given(title=TEXTS, text=TEXTS, context=st.sampled_from(("none", "title", "headings")))
@hypothesis.example(title="", text="[SEP]", context="none")
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_spans_are_the_surface_of_their_tokens(
    kind: str, title: str, text: str, context: Context, request: pytest.FixtureRequest
) -> None:
    tokenizer, normalised = request.getfixturevalue(kind)
    found = explained(tokenizer, title, text, text, context)
    located = [(term.term, span) for term in found.terms for span in term.spans]
    located += [(each.token, each.span) for each in found.alignment if each.span]
    for token, (start, end) in located:
        surface = text[start:end]
        assert surface == surface.strip() != ""
        # A text may spell a special token out, which is not normalised then.
        if token not in ("[UNK]", "<unk>", surface):
            piece, read = _plain(token.removeprefix("##")), _plain(normalised(surface))
            # A character that is read as several may be shared by tokens.
            shared = len(read) > len(surface) - surface.count(" ")
            assert piece in read if shared else piece == read


def _plain(text: str) -> str:
    return "".join(text.replace("▁", " ").split())


def test_every_occurrence_in_the_text_is_found_and_none_of_the_title(word_pieces) -> None:
    tokenizer, _ = word_pieces
    text = "A vector. Vectors? VECTOR!"
    found = explained(tokenizer, "vector", text, "vector")
    (term,) = found.terms
    assert [text[start:end] for start, end in term.spans] == ["vector", "VECTOR"]
    assert found.spans == term.spans
    assert explained(tokenizer, "vector", "nothing", "vector").terms[0].spans == []


def test_pieces_of_a_word_are_highlighted_as_one(word_pieces) -> None:
    tokenizer, _ = word_pieces
    text = "an unfathomability"
    found = explained(tokenizer, "", text, "unfathomability")
    assert len(found.terms) > 1
    assert [text[start:end] for start, end in found.spans] == ["unfathomability"]
    assert merged([(4, 6), (0, 2), (2, 3)]) == [(0, 3), (4, 6)]


def test_a_text_that_was_cut_off_has_spans_as_far_as_it_was_read(word_pieces) -> None:
    tokenizer, _ = word_pieces
    whole = passage(tokenizer, "one two three four")
    ids = whole.token_ids[[0, 1, -1]]
    tokens = Tokens(tokenizer.to_str())
    found = tokens.spans("", "one two three four", ids.tolist(), range(3))
    assert found == {0: (0, 3), 1: (4, 7)}


@given(libraries(), st.sampled_from(Method))
@settings(max_examples=80)
def test_alignment_makes_the_colbert_score(world, method: Method) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    for hit in asyncio.run(service.search(replace(REQUEST, method=method, top_k=20))).hits:
        assert hit.explain is not None
        scores = [each.score for each in hit.explain.alignment]
        assert np.mean(scores or [0.0]) == pytest.approx(hit.scores.colbert, abs=1e-5)
        ids = passages[hit.document_id].token_ids.tolist()
        assert {each.id for each in hit.explain.alignment} <= set(ids)


def test_a_pooled_vector_is_all_its_tokens(word_pieces) -> None:
    tokenizer, _ = word_pieces
    text = "red blue green red"
    single = passage(tokenizer, text)
    groups = np.array([0, 1, 1, 0, 1], np.int32)
    found = replace(single, codes=single.codes[:2], groups=groups)
    asked = passage(tokenizer, "green", codec=Codec.FP32)
    vectors = decode_tokens(single.codes[[1, 0]], Codec.INT8)
    asked = replace(asked, codes=encode_tokens(vectors, Codec.FP32))
    of = Explainer(asked, Tokens(tokenizer.to_str()), "none", Weights(0, 0, 1))
    told = of.explain(NOWHERE, chunk("", text), found).alignment
    named = [
        (text[slice(*each.span)], [other.span and text[slice(*other.span)] for other in each.also])
        for each in told
        if each.span
    ]
    assert named == [("green", ["blue", None]), ("red", ["red"])]
    assert [each.score for each in told] == pytest.approx([1, 1], abs=0.01)


@pytest.mark.parametrize("codec", list(Codec))
def test_the_aligned_token_is_the_best_one(codec: Codec) -> None:
    query, found = example(1, Codec.FP32), example(2, codec)
    alone = [
        all_scores(
            replace(query, token_ids=query.token_ids[[i]], codes=query.codes[[i]]),
            batch_of([replace(found, token_ids=found.token_ids[[j]], codes=found.codes[[j]])]),
        )[0, 2]
        for i in range(3)
        for j in range(3)
    ]
    best = np.reshape(alone, (3, 3))
    words = Tokens(asyncio.run(KnownQueries({}).tokenizer()))
    told = Explainer(query, words, "none", None).explain(NOWHERE, chunk("", ""), found)
    assert [each.id for each in told.alignment] == found.token_ids[best.argmax(axis=1)].tolist()
    assert [each.score for each in told.alignment] == pytest.approx(best.max(axis=1), abs=1e-5)


@given(libraries(), st.sampled_from(Method), st.floats(0.1, 2))
@settings(max_examples=60)
def test_weights_times_scores_are_the_score(world, method: Method, dense: float) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    for weights in (None, Weights(dense, 0.3, 1)):
        request = replace(REQUEST, method=method, weights=weights)
        for hit in asyncio.run(service.search(request)).hits:
            assert hit.explain is not None
            assert hit.explain.weights is not None
            shares = np.multiply(astuple(hit.explain.weights), astuple(hit.scores))
            assert shares.sum() == pytest.approx(hit.score, abs=1e-6)
            assert astuple(hit.explain.contributions) == pytest.approx(shares, abs=1e-6)


@given(libraries(), st.sampled_from(Method), st.integers(2, 8))
@settings(max_examples=60)
def test_ranks_make_the_score(world, method: Method, depth: int) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, method=method, rank=Rank.RRF, candidates=depth, top_k=depth)
    hits = asyncio.run(service.search(request)).hits
    for hit in hits:
        assert hit.explain is not None
        assert hit.explain.ranks is not None
        assert hit.explain.weights is None
        ranks = [rank for rank in astuple(hit.explain.ranks) if rank is not None]
        assert ranks
        assert all(1 <= rank <= depth for rank in ranks)
        assert sum(1 / (RRF_K + rank) for rank in ranks) == pytest.approx(hit.score, abs=1e-9)
        assert sum(astuple(hit.explain.contributions)) == pytest.approx(hit.score, abs=1e-9)


def test_matched_terms_make_the_sparse_score() -> None:
    service = SearchService(library(passages_of(5)), KnownQueries({"q": example(1, Codec.FP32)}))
    for hit in asyncio.run(service.search(REQUEST)).hits:
        assert hit.explain is not None
        total = sum(term.query_weight * term.passage_weight for term in hit.explain.terms)
        assert total == pytest.approx(hit.scores.sparse, abs=1e-6)
        assert [(term.term, term.id) for term in hit.explain.terms] == [("word1", 1), ("word5", 5)]

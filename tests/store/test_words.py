"""What it means that a text has a word, and that Lance is never asked for less."""

from __future__ import annotations

import re
import sys
import unicodedata

import lance
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from m3.errors import InvalidInput
from store.table.lance_words import allowed, forbidden, surely_forbidden
from store.words import Words, fold, holds
from tests.store.word_strategies import texts, wordings, words


@pytest.mark.parametrize(
    ("text", "word", "held"),
    [
        ("A vector index", "vector", True),
        ("A vector index", "VECTOR", True),
        ("vectors", "vector", False),
        ("subvector", "vector", False),
        ("vector_index", "vector", False),
        ("vector2", "vector", False),
        ("(vector)", "vector", True),
        ("a vector\n  index", "Vector Index", True),
        ("a vector-index", "vector index", False),
        ("vector", "vector index", False),
        ("C++ and C", "c++", True),
        ("C++11", "c++", False),
        ("ﬁne Straße", "FINE strasse", True),
        ("ｆｕｌｌ width", "full", True),
        ("re\u0301sume\u0301", "résumé", True),
        ("résumé", "resume", False),
        ("re\u0301", "re", False),
        ("हिन्दी", "हिन्द", False),
        ("हिन्दी भाषा", "हिन्दी", True),
        ("向量索引是", "索引", True),
        ("使用Milvus进行", "milvus", True),
        ("ภาษาไทย", "ไทย", True),
        ("ที่", "ท", False),
        ("한국어를", "한국어", False),
        ("", "x", False),
    ],
)
def test_words_are_whole_and_folded(text: str, word: str, held: bool) -> None:
    assert holds(text, word) is held


@given(texts, words)
def test_a_word_between_spaces_is_there_in_any_form(text: str, word: str) -> None:
    upper = unicodedata.normalize("NFD", word).upper()
    if fold(upper) == fold(word):
        assert holds(f"{text} {upper} {text}", word)


@given(texts, words)
def test_a_letter_more_is_another_word(text: str, word: str) -> None:
    del text
    if re.fullmatch(r"[a-z]+", fold(word)):
        assert not holds(f"{word}s", word)
        assert not holds(f"un{word}", word)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), wordings())
@settings(max_examples=80)
@example([("", "ΟΔΟΣ"), ("οδος", "")], Words(("οδος",)))
@example([("", "ſtraſſe K")], Words(("strasse", "k")))
@example(
    [("", "x K x"), ("i \u0130 i", ""), ("x a \u0301x", "x e\u0301 x")],
    Words((), ("k", "i", "a", "e")),
)
@example([("", "\u1100\u1161\u11a8")], Words(("각",)))
def test_lance_lets_through_what_is_allowed(rows, wanted: Words) -> None:
    titles, bodies = zip(*rows, strict=True)
    table = lance.write_dataset(
        pa.table({"title": list(titles), "text": list(bodies), "n": range(len(rows))}),
        "memory://words",
        mode="overwrite",
    )

    def asked(condition: str) -> set[int]:
        return set(table.to_table(columns=["n"], filter=condition)["n"].to_pylist())

    held = Words(must=wanted.must)
    for n in set(range(len(rows))) - asked(allowed(wanted)):
        assert not held.allow(*rows[n])
    clean = Words(must_not=wanted.must_not)
    for n in set(range(len(rows))) - asked(forbidden(wanted)):
        assert clean.allow(*rows[n])
    for n in asked(surely_forbidden(wanted)):
        assert not clean.allow(*rows[n])


def test_lance_finds_a_plain_word_by_itself() -> None:
    texts = ["all OVER it", "over it", "all hangover it", "all \u00a0over\u00a0 it"]
    table = lance.write_dataset(
        pa.table({"title": [""] * 4, "text": texts}), "memory://plain", mode="overwrite"
    )
    found = table.to_table(columns=["text"], filter=surely_forbidden(Words(must_not=("Over",))))
    assert found["text"].to_pylist() == ["all OVER it"]


def test_lance_is_asked_for_every_letter_in_every_form() -> None:
    """Each character that has letters in it, alone in a text, is found by what it folds to."""
    characters = [
        chr(code)
        for code in range(0x80, sys.maxunicode + 1)
        if unicodedata.category(chr(code))[0] in "LNS" and fold(chr(code)) != chr(code)
    ]
    table = lance.write_dataset(
        pa.table({"title": [""] * len(characters), "text": characters}), "memory://letters"
    )
    assert len(characters) > 5_000
    missed = []
    for folded in sorted({fold(c) for c in characters if fold(c).isalnum()})[::37]:
        found = table.to_table(columns=["text"], filter=allowed(Words((folded,))))
        expected = {c for c in characters if holds(c, folded)}
        missed += expected - set(found["text"].to_pylist())
    assert not missed


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Words, None),
        (lambda: Words(("x" * 200,), ("y",) * 63), None),
        (lambda: Words(("x" * 201,)), r"must\[0\] must have 1 to 200 characters"),
        (lambda: Words(("x",), ("y", "")), r"must_not\[1\] must have 1 to 200 characters"),
        (lambda: Words((" \u00a0\u3000",)), r"must\[0\] .* not be blank"),
        (lambda: Words(("x",) * 33, ("y",) * 32), "have 65 words: send at most 64"),
    ],
)
def test_limits(given, reason: str | None) -> None:
    if reason is None:
        given()
        return
    with pytest.raises(InvalidInput, match=reason):
        given()

"""The paper's recipes: published files, answers in passages, and both ways of ranking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.recipes.answers import Answers, plain, words
from evaluation.recipes.cutting import Cutter
from evaluation.recipes.judging import ByAnswers
from evaluation.recipes.protocol import DEPTH, METHODS, Fusing, ranked
from evaluation.recipes.recipe import RECIPES, recipe_named
from evaluation.scores.raw import RawScores
from m3.errors import InvalidInput
from m3.types import Document, offsets_of
from scoring.fusion import Weights
from tests.evaluation.published import Sample, write_miracl, write_mkqa, write_mldr

SAMPLE = Sample({"p0": "Un.", "p1": "Deux."}, {"q": "Combien?"}, {"q": {"p1": 1}})


def raw_of(scores: list[list[float]], ranks: list[list[int]]) -> RawScores:
    """One query's candidates, d0, d1, …"""
    count = len(scores)
    ids = tuple(f"d{i:04}" for i in range(count))
    numbers = np.arange(count, dtype=np.int32)
    return RawScores(
        queries=("q",),
        offsets=offsets_of([count]),
        scores=np.array(scores, np.float32),
        ranks=np.array(ranks, np.int32),
        chunks=numbers,
        ids=ids,
        owners=numbers,
        documents=ids,
        depth=DEPTH,
    )


def test_miracl_is_read_as_it_is_published(tmp_path: Path) -> None:
    write_miracl(tmp_path, "fr", Sample({f"p{i}": f"{i}." for i in range(30)}, *_asked()))
    read = RECIPES["miracl"].collection(tmp_path, "fr")
    assert (read.name, read.queries, read.qrels) == ("miracl-fr", *_asked())
    assert [item.document.id for item in read.documents()] == [f"p{i}" for i in range(30)]
    assert [path.name for path in read.files] == ["docs-0.jsonl.gz", "docs-1.jsonl.gz"]


def _asked() -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    return {"q": "Combien?"}, {"q": {"p1": 1}}


def test_mldr_is_read_as_it_is_published(tmp_path: Path) -> None:
    write_mldr(tmp_path, "fr", SAMPLE)
    read = RECIPES["mldr"].collection(tmp_path, "fr")
    assert (read.name, read.queries) == ("mldr-fr", SAMPLE.queries)
    assert read.qrels == {"q": {"p1": 1, "p0": 0}}
    assert [item.document.text for item in read.documents()] == ["Un.", "Deux."]


def test_mkqa_is_read_as_it_is_published(tmp_path: Path) -> None:
    english = Sample({"p0": "It’s ONE — or two…"}, {}, {})
    write_mkqa(tmp_path, "fr", SAMPLE, english, {"q": ["two"]})
    read = RECIPES["mkqa"].collection(tmp_path, "fr")
    assert (read.name, read.queries, read.answers) == ("mkqa", SAMPLE.queries, {"q": ["two"]})
    assert [item.document.text for item in read.documents()] == ["it's one - or two..."]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("miracl-v1.0-fr/topics/topics.miracl-v1.0-fr-dev.tsv", None, "is missing: download it"),
        ("miracl-v1.0-fr/topics/topics.miracl-v1.0-fr-dev.tsv", "q Combien?\n", ":1: expected 2"),
        ("miracl-v1.0-fr/qrels/qrels.miracl-v1.0-fr-dev.tsv", "q\tQ0\tp1\tyes\n", "whole number"),
        ("miracl-v1.0-fr/qrels/qrels.miracl-v1.0-fr-dev.tsv", "x\tQ0\tp1\t1\n", "'x', which is"),
        ("miracl-corpus-v1.0-fr/docs-0.jsonl.gz", "{}\n", "is not packed as its name says"),
        ("miracl-corpus-v1.0-fr/docs-0.jsonl", '{"docid": "p0"}\n', ":1: expected an object"),
        ("miracl-corpus-v1.0-fr/docs-0.jsonl", "{\n", ":1: invalid JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    write_miracl(tmp_path, "fr", SAMPLE)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.with_suffix(".jsonl.gz").unlink(missing_ok=True)
        path.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        list(RECIPES["miracl"].collection(tmp_path, "fr").documents())


def test_recipes_and_languages_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="unknown recipe 'beir'; there are: miracl, mkqa, mldr"):
        recipe_named("beir")
    with pytest.raises(InvalidInput, match="mldr has no language 'sw'"):
        RECIPES["mldr"].collection(tmp_path, "sw")


def test_the_papers_numbers_and_protocol() -> None:
    """As its tables and scripts have them; a slip of the pen would go unnoticed otherwise."""
    assert {name: list(recipe.published.values()) for name, recipe in RECIPES.items()} == {
        "miracl": [0.692, 0.539, 0.705, 0.704, 0.715],
        "mkqa": [0.751, 0.453, 0.753, 0.753, 0.755],
        "mldr": [0.525, 0.622, 0.576, 0.648, 0.650],
    }
    assert {name: len(recipe.languages) for name, recipe in RECIPES.items()} == {
        "miracl": 18,
        "mkqa": 25,
        "mldr": 13,
    }
    mldr = RECIPES["mldr"]
    assert (mldr.query_tokens, mldr.passage_tokens) == (512, 8192)
    assert mldr.fusing.all.as_tuple() == (0.15, 0.5, 0.35)


def test_the_paper_reranks_the_dense_leg_and_counts_a_missing_leg_as_nothing() -> None:
    """d0000 is best by ColBERT, but 201st of the dense leg; only the sparse leg has d0201."""
    scores = [[0.1, 0.5, 0.9], *([0.5, 0.0, 0.1 + i / 1000] for i in range(200)), [0.4, 0.6, 0.8]]
    ranks = [[201, 0], *([i + 1, 0] for i in range(200)), [0, 1]]
    fusing = Fusing(Weights(1, 1, 0), Weights(1, 1, 1))
    found = {ranker: run["q"] for ranker, run in ranked(raw_of(scores, ranks), fusing).items()}
    assert {method for method, _ in found} == set(METHODS)
    assert found["colbert", "union"].documents[:2] == ["d0000", "d0201"]
    assert found["colbert", "paper"].documents[0] == "d0200"
    assert {len(found[method, "paper"].documents) for method in ("colbert", "all")} == {200}
    assert found["dense+sparse", "union"].documents[0] == "d0201"
    assert found["dense+sparse", "union"].scores[0] == pytest.approx(0.5)
    assert found["dense+sparse", "paper"].documents[0] == "d0201"
    assert found["dense+sparse", "paper"].scores[0] == pytest.approx(0.3)
    assert found["dense+sparse", "paper"].documents[-1] == "d0000"
    assert len(found["dense", "paper"].documents) == 201
    assert found["sparse", "paper"].documents == ["d0201"]


def test_an_answer_is_found_word_for_word() -> None:
    assert words("Zürich's 3,5 %") == [*words("zürich"), "'", "s", "3", ",", "5", "%"]
    answers = Answers(["New York", ""])
    assert answers.are_in("they moved to new york.")
    assert not answers.are_in("new yorkers")
    assert not answers.are_in("York, New")
    assert not Answers([""]).are_in("anything")
    assert Answers(["Beyoncé"]).are_in("BEYONCE\u0301 sang")
    assert plain("“a” – b…\u00ad") == '"a" - b...'


def test_recall_is_the_share_of_questions_with_an_answer_among_the_first_hundred() -> None:
    judge = ByAnswers({"q1": ["gold"], "q2": ["gold"], "q3": ["tin"]})
    for query in ("q1", "q2", "q3"):
        for i in range(101):
            judge.see(query, f"d{i}", "a text of gold" if i == 100 else "a text")
    judge.see("q1", "d7", "gold")
    ranking = [f"d{i}" for i in range(101)]
    judge.add(("dense", "paper"), {"q1": ranking, "q2": ranking})
    judge.add(("sparse", "paper"), {"q2": ranking[1:]})
    judge.forget_texts()
    judge.see("q3", "d0", "tin")
    judge.add(("dense", "paper"), {"q3": ["d0"]})
    assert judge.results() == {("dense", "paper"): 2 / 3, ("sparse", "paper"): 1.0}


def test_a_text_is_cut_where_the_models_reading_ends() -> None:
    cutter = Cutter(_word_tokenizer(), query=2, passage=4)
    assert cutter.query("one two three") == "one two"
    short = Document("a", "two three four", "one")
    assert cutter.document(short) == short
    long = cutter.document(Document("b", "two three four five", "one"))
    assert (long.title, long.text) == ("", "one\ntwo three four")


def _word_tokenizer() -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer.to_str()

"""The recipes from end to end, on XQuAD in three languages in their data sets' formats.

The stand-in reads English alone: figures of other languages show that it runs and counts right.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from commands.search.reproducing import reproduce
from evaluation.recipes.running import Figure, Outcome
from m3.settings import Settings, load_settings
from store.index.engine import Engine
from tests.evaluation.published import (
    DOCUMENTS,
    QUERIES,
    Sample,
    sample,
    write_miracl,
    write_mkqa,
    write_mldr,
)
from tests.processes import COMMANDS

NOWHERE = 3
"""Questions whose answer stands in no passage."""


@pytest.fixture(scope="module")
def settings(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = load_settings(home=tmp_path_factory.mktemp("recipes"), embedder_url=node)
    yield settings
    Engine.of(settings).stop()


@pytest.fixture(scope="module")
def samples(data: Path) -> Mapping[str, Sample]:
    return {language: sample(data / f"xquad-{language}") for language in ("en", "de", "zh")}


def run(name: str, folder: Path, language: str, settings: Settings) -> Mapping[str, Figure]:
    found: Outcome = asyncio.run(reproduce(name, folder, language, settings))
    assert (found.documents, found.queries, found.stand_in) == (DOCUMENTS, QUERIES, True)
    return {figure.method: figure for figure in found.figures}


def same_both_ways(figures: Mapping[str, Figure]) -> None:
    """The dense leg finds all of a small corpus, so that both ways rank the same candidates."""
    for method in ("colbert", "dense+sparse", "all"):
        assert figures[method].paper == figures[method].union


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_miracl(
    language: str, samples: Mapping[str, Sample], settings: Settings, tmp_path: Path
) -> None:
    write_miracl(tmp_path, language, samples[language])
    figures = run("miracl", tmp_path, language, settings)
    same_both_ways(figures)
    assert figures["all"].published == 0.715
    if language == "en":
        assert all(figure.paper > 0.8 for figure in figures.values())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_mldr(
    language: str, samples: Mapping[str, Sample], settings: Settings, tmp_path: Path
) -> None:
    write_mldr(tmp_path, language, samples[language])
    figures = run("mldr", tmp_path, language, settings)
    same_both_ways(figures)
    if language == "en":
        assert all(figure.paper > 0.8 for figure in figures.values())


def test_mkqa_across_languages(
    samples: Mapping[str, Sample], settings: Settings, tmp_path: Path
) -> None:
    """Chinese and German questions over English passages, all of which are among the first 100."""
    english = samples["en"]
    answers = {
        query: [" ".join(english.documents[next(iter(grades))].split()[3:8])]
        for query, grades in english.qrels.items()
    }
    answers |= {query: ["an answer that stands nowhere"] for query in list(answers)[:NOWHERE]}
    write_mkqa(tmp_path, "zh_cn", samples["zh"], english, answers)
    write_mkqa(tmp_path, "de", samples["de"], english, answers)
    figures = run("mkqa", tmp_path, "de", settings)
    assert figures["dense"].paper == (QUERIES - NOWHERE) / QUERIES
    same_both_ways(figures)
    told = _command(settings, "recipe", "mkqa", str(tmp_path), "--language", "zh_cn", "--json")
    assert (told["recipe"], told["language"], told["metric"]) == ("mkqa", "zh_cn", "Recall@100")
    by_method = {figure["method"]: figure for figure in told["figures"]}
    assert by_method["all"]["paper"] == (QUERIES - NOWHERE) / QUERIES
    assert by_method["all"]["published"] == 0.755


def _command(settings: Settings, *arguments: str) -> dict[str, object]:
    environment = {"M3_HOME": str(settings.home), "M3_EMBEDDER_URL": settings.embedder_url[0]}
    done = subprocess.run(
        [COMMANDS / "m3-search", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

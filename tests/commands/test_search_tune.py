"""Weights of a collection's own, and what is said of a log that nobody judged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.commands.calls import run


def test_a_collection_gets_weights_of_its_own(
    environment: Mapping[str, str], folder: Path, tmp_path: Path
) -> None:
    """Judged by a sheet that is filled in; searches without weights use what is saved."""
    named = ["--collection", "tuned"]
    assert run(environment, "eval", folder, *named, "--methods", "dense").returncode == 0
    (tmp_path / "log").write_text("\n".join(f"bread number {i} or boats" for i in range(12)))
    sheet = tmp_path / "sheet.csv"
    made = run(environment, "judge-sheet", tmp_path / "log", *named, "--out", sheet)
    assert made.returncode == 0, made.stderr
    sheet.write_text(sheet.read_text().replace(",\n", f",{1}\n"))
    noise = run(environment, "tune", sheet, *named, "--save", "--json")
    assert noise.returncode == 0, noise.stderr
    found = json.loads(noise.stdout)
    assert (found["queries"], found["gain"], found["saved"]) == (12, False, False)
    told = run(environment, "tune", sheet, *named, "--save").stdout
    assert "noise: keep the weights in use; not saved (--force saves them all the same)" in told
    forced = json.loads(
        run(
            environment,
            *("tune", sheet, *named, "--save", "--force", "--json", "--rerank-depth", "5"),
        ).stdout
    )
    assert forced["saved"]
    assert forced["saved_rerank_depth"]
    assert forced["staged"]["a"] >= forced["staged"]["b"]
    asked = run(environment, "query", "bread", *named, "--explain", "--json")
    answer = json.loads(asked.stdout)
    assert answer["hits"][0]["explain"]["weights"] == pytest.approx(forced["weights"], abs=1e-3)
    assert "staged" in answer
    whole = run(environment, "query", "bread", *named, "--rerank-depth", "0", "--json")
    assert "staged" not in json.loads(whole.stdout)
    status = run(environment, "status", "tuned", command="m3-ingest")
    assert re.search(r"weights +fusion [0-9.]+, [0-9.]+, [0-9.]+$", status.stdout, re.M)
    assert re.search(r"reranked +5 candidates$", status.stdout, re.M)
    with sheet.open("a") as lines:
        lines.write("1,bread,gone,,,1\n")
    unknown = run(environment, "tune", sheet, *named)
    assert unknown.returncode == 2
    assert "judges 1 document ('gone') not in 'tuned'" in unknown.stderr


def test_a_log_is_analysed(environment: Mapping[str, str], folder: Path, tmp_path: Path) -> None:
    named = ["--collection", "logged"]
    assert run(environment, "eval", folder, *named, "--methods", "dense").returncode == 0
    (tmp_path / "log").write_text("bread\nboats\n")
    told = run(environment, "analyse", tmp_path / "log", *named)
    assert told.returncode == 0, told.stderr
    for words in ("2 queries", "both legs find", "ColBERT", "near-duplicates", "no good hit"):
        assert words in told.stdout
    found = json.loads(
        run(environment, "analyse", tmp_path / "log", *named, "--generation", "1", "--json").stdout
    )
    assert found["drift"]["overlap"] == 1
    assert found["analysis"]["queries"] == 2
    nowhere = run(environment, "analyse", tmp_path / "log", *named, "--generation", "7")
    assert nowhere.returncode == 2
    assert "no generation 7" in nowhere.stderr

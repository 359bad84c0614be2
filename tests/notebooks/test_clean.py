"""Notebooks as they are committed: explained, without outputs, without logic."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_LINES = 10
LOGIC = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.For,
    ast.While,
    ast.If,
    ast.Lambda,
)


def faults(notebook: Any) -> list[str]:
    """What makes a notebook unfit to be committed."""
    found: list[str] = []
    if not notebook.cells[0].source.startswith("# "):
        found.append("it does not open with what it is for")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any("parameters" in cell.metadata.get("tags", []) for cell in code):
        found.append("no cell is tagged as its parameters")
    for number, cell in enumerate(code, 1):
        if cell.outputs or cell.execution_count is not None:
            found.append(f"code cell {number} has outputs: clear them before you commit")
        if len(cell.source.splitlines()) > MOST_LINES:
            found.append(f"code cell {number} is longer than {MOST_LINES} lines")
        tree = compile(
            cell.source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        found += [
            f"code cell {number} holds logic" for node in ast.walk(tree) if isinstance(node, LOGIC)
        ]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert faults(notebook) == []


def test_there_are_six() -> None:
    assert [path.stem[0] for path in NOTEBOOKS] == list("123456")


def test_faults_are_found() -> None:
    v4 = nbformat.v4
    run = v4.new_code_cell("1", execution_count=1, outputs=[v4.new_output("stream", text="1")])
    long = v4.new_code_cell("\n".join(["x = 1"] * (MOST_LINES + 1)))
    logic = v4.new_code_cell("for x in range(3):\n    await f(x)")
    said = faults(v4.new_notebook(cells=[run, long, logic]))
    assert said == [
        "it does not open with what it is for",
        "no cell is tagged as its parameters",
        "code cell 1 has outputs: clear them before you commit",
        f"code cell 2 is longer than {MOST_LINES} lines",
        "code cell 3 holds logic",
    ]

"""What an export holds is read back as the same documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.ingest.export import write_jsonl
from ingest.sources.fields import Fields
from m3.types import Document

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_names = _words | st.sampled_from(["metadata", "title", "text", "_id", "markdown", "pages"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_documents = st.builds(
    Document,
    id=_words.filter(lambda name: 0 < len(name.encode()) <= 64),
    text=_words.filter(str.strip),
    title=_words,
    metadata=st.dictionaries(_names, _values, max_size=4),
    markdown=st.booleans(),
    pages=st.lists(st.integers(0, 20), max_size=3).map(lambda starts: tuple(sorted(starts))),
)


@given(documents=st.lists(_documents, max_size=3))
def test_what_was_exported_is_read_with_equal_hashes(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document]
) -> None:
    file = tmp_path_factory.mktemp("export") / "docs.jsonl"
    assert write_jsonl(file, iter(documents)) == len(documents)
    records = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    read = [Fields().of_record(record) for record in records]
    assert [(d.id, d.content_hash()) for d in read] == [(d.id, d.content_hash()) for d in documents]


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Document]:
        yield Document(id="a", text="a text")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(tmp_path / "docs.jsonl", failing())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "extra", [{"markdown": "yes"}, {"pages": [0, 5]}, {"pages": 12}, {"markdown": None}]
)
def test_fields_of_these_names_that_no_export_wrote_are_metadata(extra: dict[str, object]) -> None:
    document = Fields().of_record({"id": "a", "text": "a text", **extra})
    assert document.metadata == extra
    assert not document.markdown
    assert not document.pages

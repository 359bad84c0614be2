"""markitdown for real, and docling by its interface as it is documented."""

from __future__ import annotations

import io
import textwrap
import zipfile
from pathlib import Path

import pytest

from ingest.sources import PARSERS, Fields, Parsed, discover, read
from ingest.sources.office import docling
from m3.errors import InvalidInput
from tests.ingest import formats
from tests.ingest.formats import documents, items, reasons

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx() -> bytes:
    """The smallest one with a heading."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as package:
        package.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
            'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships'
            '+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.'
            'openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        )
        package.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
            'relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        package.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{W}"><w:body><w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr>'
            "<w:r><w:t>A heading</w:t></w:r></w:p><w:p><w:r><w:t>Some text.</w:t></w:r></w:p>"
            "</w:body></w:document>",
        )
    return data.getvalue()


def test_markitdown_reads_office_files_and_pdf(tmp_path: Path):
    (tmp_path / "a.docx").write_bytes(docx())
    (tmp_path / "b.pdf").write_bytes(formats.pdf("Page text"))
    (tmp_path / "c.txt").write_text("plain")
    (tmp_path / "d.docx").write_bytes(docx()[:300])
    found = discover([str(tmp_path)], parser="markitdown")
    word, pdf, text, broken = read(found.files, Fields())
    first, second, third = documents([word, pdf, text])
    assert "A heading" in first.text
    assert "Some text." in first.text
    assert (first.title, first.markdown) == ("a", True)
    assert "Page text" in second.text
    assert (third.text, third.markdown) == ("plain", False)
    assert not isinstance(broken, Parsed)


DOCLING = {
    "__init__.py": "",
    "datamodel/__init__.py": "",
    "datamodel/base_models.py": """
        from dataclasses import dataclass
        from enum import Enum
        from io import BytesIO
        class ConversionStatus(str, Enum):
            SUCCESS = "success"
            PARTIAL_SUCCESS = "partial_success"
            FAILURE = "failure"
        @dataclass
        class DocumentStream:
            name: str
            stream: BytesIO
    """,
    "document_converter.py": """
        from types import SimpleNamespace as Some
        from docling.datamodel.base_models import ConversionStatus
        class DocumentConverter:
            def convert(self, source, headers=None, raises_on_error=True):
                assert not raises_on_error
                pages = source.stream.read().decode().split("|")
                def export_to_markdown(*, page_no=None):
                    return "# all" if page_no is None else pages[page_no - 1]
                document = Some(
                    pages={} if pages == [""] else dict.fromkeys(range(1, len(pages) + 1)),
                    export_to_markdown=export_to_markdown,
                )
                failed = pages == ["bad"]
                return Some(
                    status=ConversionStatus.FAILURE if failed else ConversionStatus.SUCCESS,
                    errors=[Some(error_message="no backend")],
                    document=document,
                )
    """,
}


def test_docling_gives_markdown_by_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, source in DOCLING.items():
        path = tmp_path / "docling" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    parser = docling()
    [paged] = documents(items(parser, b"# one|two", "a.pdf"))
    assert (paged.text, paged.pages, paged.markdown) == ("# one\n\ntwo", (0, 7), True)
    assert documents(items(parser, b"", "a.docx"))[0].text == "# all"
    assert reasons(items(parser, b"bad", "a.pdf")) == [(None, "docling cannot read it: no backend")]


def test_a_parser_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest.sources.office.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'm3-retrieval\[docling\]'"):
        discover([str(tmp_path)], parser="docling")
    with pytest.raises(InvalidInput, match="parser 'tika' is not known; there are: docling, mark"):
        discover([str(tmp_path)], parser="tika")
    assert set(PARSERS) == {"docling", "markitdown"}

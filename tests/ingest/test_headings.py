from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cutting.headings import outline

PAGE = """# Guide to `m3`

Words.

```bash
# not a heading
## nor this
```

    # indented code is none either

> # a quoted one is not ours

## Set **up**

Second level
---

### Third level

# Other part
"""


def test_headings_are_the_documents_own():
    found = outline(PAGE).headings
    assert [(heading.level, heading.text) for heading in found] == [
        (1, "Guide to m3"),
        (2, "Set up"),
        (2, "Second level"),
        (3, "Third level"),
        (1, "Other part"),
    ]
    spans = [PAGE[heading.start : heading.end] for heading in found]
    assert spans == [
        "# Guide to `m3`",
        "## Set **up**",
        "Second level\n---",
        "### Third level",
        "# Other part",
    ]


def test_a_position_stands_under_the_headings_above_it():
    headings = outline(PAGE)
    assert headings.path(PAGE.index("Words.")) == ("Guide to m3",)
    assert headings.path(PAGE.index("### Third")) == (
        "Guide to m3",
        "Second level",
        "Third level",
    )
    assert headings.path(len(PAGE)) == ("Other part",)
    assert outline("text\n\n# Late").path(0) == ()


def test_a_skipped_level_does_not_keep_a_deeper_one():
    headings = outline("# A\n\n#### D\n\n## B\n\nx")
    assert headings.path(len("# A\n\n#### D\n\n## B\n\nx")) == ("A", "B")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_breaks_of_all_kinds(newline: str):
    text = newline.join(["# A", "a\x0bb\u2028c", "", "## B", "end"])
    assert [text[h.start : h.end] for h in outline(text).headings] == ["# A", "## B"]


@given(st.text(alphabet="# a`\n\r-=>\t1.\x00\u2028[<*", max_size=80))
def test_spans_lie_in_the_text_in_order(text: str):
    found = outline(text).headings
    ends = [0, *(heading.end for heading in found)]
    for before, heading in zip(ends, found, strict=False):
        assert before <= heading.start < heading.end <= len(text)
        assert heading.text
        assert 1 <= heading.level <= 6


@pytest.mark.parametrize(
    "text",
    ["# " + "![a](" * 100_000, "[" * 200_000, "> " * 50_000 + "# a", "- " * 50_000, "a\n" * 99_999],
    ids=["images", "brackets", "quotations", "lists", "one paragraph"],
)
def test_hostile_markdown_takes_seconds(text: str):
    started = time.thread_time()
    found = outline(text + "\n\n# End").headings
    assert time.thread_time() - started < 60
    assert max(len(heading.text) for heading in found) <= 500

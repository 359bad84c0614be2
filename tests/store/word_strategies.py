"""Texts and words that often meet, in the forms that Unicode has for them."""

from __future__ import annotations

from hypothesis import strategies as st

from store.words import Words

_PIECES = (
    *("fine", "FINE", "ﬁne", "ｆｉｎｅ", "fi", "ne", "1", "²", "tm", "™", "_", "c++", "C++"),
    *("straße", "STRASSE", "ß", "über", "Über", "u\u0308ber", "résumé", "re\u0301sume\u0301"),
    *("ΟΔΟΣ", "οδος", "οδοσ", "σ", "İ", "i\u0307", "K", "k", "ſ", "\u212a"),
    *(
        "索引",
        "向量",
        "milvus",
        "カ",
        "ｶﾞ",
        "ガ",
        "ไทย",
        "हिन्द",
        "हिन्दी",
        "각",
        "\u1100\u1161\u11a8",
    ),
    *(
        "it's",
        "'",
        "\\",
        '"',
        "%",
        "[",
        "]",
        "^",
        "-",
        "x;--",
        "\u24b6",
        "a",
        "A",
        "𝐀",
        "\U0001e900",
    ),
)
_SPACES = (" ", "\n", "\u00a0", "\u3000", "\t ", "", "-", "，", "…")

pieces = st.sampled_from(_PIECES)
texts = st.lists(st.sampled_from((*_PIECES, *_SPACES, " ", " ")), max_size=12).map("".join)
words = (
    st.lists(pieces, min_size=1, max_size=3).map(" ".join)
    | pieces
    | st.characters(exclude_categories=("Cs", "Z", "Cc"))
).filter(lambda word: word.strip())


@st.composite
def wordings(draw: st.DrawFn) -> Words:
    """What must and must not be there, not both empty."""
    must = draw(st.lists(words, max_size=2))
    must_not = draw(st.lists(words, min_size=not must, max_size=2))
    return Words(tuple(must), tuple(must_not))

"""The compiled MaxSim: as defined on any shape and any numbers, with any instructions the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.codec import decode_tokens, encode_tokens
from m3.errors import Corrupt
from m3.types import F32, I64, U8, Codec, offsets_of
from scoring import definition, maxsim
from scoring.codes import Apart, Together
from scoring.native import binding
from scoring.native.binding import InstructionSet
from scoring.native.cores import Cores
from tests.m3.strategies import unit_vectors

pytestmark = pytest.mark.skipif(
    binding.library() is None, reason="no kernels: they need a C compiler"
)
AVAILABLE = (
    [one for one in InstructionSet if one <= binding.instruction_set()] if binding.library() else []
)
EDGES = (1, 2, 3, 15, 16, 17, 63, 64, 65, 125, 127, 128, 384, 1023, 1024)


@dataclass(frozen=True, slots=True)
class Case:
    """A query and passages in int8."""

    query: F32
    codes: U8
    offsets: I64

    def scored(self, instructions: InstructionSet, threads: int = 1) -> F32:
        passages = Together(self.codes, self.offsets)
        return binding.maxsim(self.query, passages, instructions=instructions, threads=threads)

    def defined(self) -> F32:
        vectors = decode_tokens(self.codes, Codec.INT8)
        return np.array(
            [
                definition.colbert_score(self.query, vectors[begin:end])
                for begin, end in zip(self.offsets, self.offsets[1:], strict=False)
            ],
            np.float32,
        )

    def tolerance(self) -> float:
        """What fp32 sums of this many products, of vectors this long, may differ by."""
        vectors = decode_tokens(self.codes, Codec.INT8)
        longest = [np.linalg.norm(some, axis=1).max(initial=0) for some in (self.query, vectors)]
        return float(longest[0] * longest[1]) * 2e-6


def unaligned(codes: U8, offset: int) -> U8:
    """The same codes at an address that no vector type has, with nothing readable after them."""
    memory = np.empty(offset + codes.size, np.uint8)
    memory[offset:] = codes.ravel()
    return memory[offset:].reshape(codes.shape)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any dimension and lengths; numbers of any size, some all zero, passages that repeat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dimension = draw(st.sampled_from(EDGES) | st.integers(1, 1100))
    lengths = draw(st.lists(st.integers(0, 40) | st.sampled_from((191, 192, 193, 400)), max_size=5))
    query = unit_vectors(rng, draw(st.integers(1, 40) | st.integers(1, 200)), dimension)
    vectors = unit_vectors(rng, sum(lengths), dimension)
    if draw(st.booleans()):
        query *= np.float32(10.0) ** rng.integers(-12, 13, (len(query), 1))
        vectors *= np.float32(10.0) ** rng.integers(-12, 13, (len(vectors), 1))
    if draw(st.booleans()):
        # Tokens near each other: none can be ruled out from afar.
        vectors = vectors * np.float32(0.01) + query[rng.integers(0, len(query))]
    for some in (query, vectors):
        some[rng.random(len(some)) < draw(st.sampled_from((0.0, 0.3)))] = 0
    codes = encode_tokens(vectors.astype(np.float32), Codec.INT8)
    return Case(query, unaligned(codes, draw(st.integers(0, 7))), offsets_of(lengths))


@given(cases())
@settings(max_examples=150)
def test_scores_are_the_definition_with_the_same_bits_by_any_instructions(case: Case) -> None:
    scores = [case.scored(one) for one in AVAILABLE]
    np.testing.assert_allclose(scores[0], case.defined(), rtol=2e-6, atol=case.tolerance())
    for others in scores[1:]:
        assert np.array_equal(others, scores[0])


@given(cases(), st.integers(2, 5))
@settings(max_examples=50)
def test_threads_change_no_bit(case: Case, threads: int) -> None:
    for one in AVAILABLE:
        assert np.array_equal(case.scored(one, threads), case.scored(one))


@given(cases(), st.integers(1, 3))
@settings(max_examples=50)
def test_where_passages_lie_changes_no_bit(case: Case, threads: int) -> None:
    every = enumerate(Together(case.codes, case.offsets))
    passages = Apart([unaligned(codes, number % 8) for number, codes in every])
    for one in AVAILABLE:
        scores = binding.maxsim(case.query, passages, instructions=one, threads=threads)
        assert np.array_equal(scores, case.scored(one))


@pytest.mark.parametrize("instructions", AVAILABLE)
@pytest.mark.parametrize("dimension", [5, 64, 1024])
def test_bytes_that_no_encoder_writes_are_scored_as_they_decode(
    dimension: int, instructions: InstructionSet
) -> None:
    rng = np.random.default_rng(dimension)
    codes = rng.integers(0, 256, (300, dimension + 4), np.uint8)
    codes[::3, :dimension] = 128  # -128, every one
    codes[:, -4:] = rng.uniform(-1, 1, (300, 1)).astype("<f4").view(np.uint8)
    query = rng.standard_normal((33, dimension)).astype(np.float32)
    case = Case(query, codes, offsets_of([1, 150, 149]))
    np.testing.assert_allclose(
        case.scored(instructions), case.defined(), rtol=0, atol=case.tolerance()
    )


@pytest.mark.parametrize("instructions", AVAILABLE)
@pytest.mark.parametrize("levels", [31, 63, 127, 2 * 31 * 31])
@pytest.mark.parametrize("lowest", [-127, -128])
def test_a_token_that_only_the_rounding_of_the_query_hides_is_found(
    lowest: int, levels: int, instructions: InstructionSet
) -> None:
    """One passage token lies along what is lost of the query, the other looks better without it."""
    query = unit_vectors(np.random.default_rng(2), 1, 1024)
    step = np.abs(query).max() / levels
    rounded = np.rint(query / step) * step
    hidden = np.where(query > rounded, 127, -127)
    hidden[(hidden < 0) & (np.arange(1024) % 2 == 0)] = lowest
    lost = float(((query - rounded) * hidden).sum())
    looks = float((rounded * hidden).sum()) + 0.85 * lost
    codes = encode_tokens(np.concatenate([hidden, rounded * looks]), Codec.INT8)
    codes[0, :1024] = hidden.astype(np.int8).view(np.uint8)
    codes[0, 1024:] = np.array([1], "<f4").view(np.uint8)
    case = Case(query, codes, offsets_of([2]))
    first = definition.colbert_score(query, decode_tokens(codes[:1], Codec.INT8))
    assert case.defined()[0] == pytest.approx(first, rel=1e-5, abs=case.tolerance())
    np.testing.assert_allclose(case.scored(instructions), first, 1e-5, case.tolerance())


@pytest.mark.parametrize("instructions", AVAILABLE)
@pytest.mark.parametrize("code", [66, 67, 127, -66, -67, -127, -128])
def test_products_that_all_have_one_sign_are_summed_whole(
    code: int, instructions: InstructionSet
) -> None:
    """One passage token has nothing but the query's own sign, or the other: no sum goes further."""
    codes = encode_tokens(unit_vectors(np.random.default_rng(3), 30, 1024), Codec.INT8)
    codes[17, :1024] = np.array([code], np.int8).view(np.uint8)
    codes[17, 1024:] = np.array([1 / abs(code) / 32], "<f4").view(np.uint8)
    case = Case(np.full((1, 1024), 1 / 32, np.float32), codes, offsets_of([30]))
    np.testing.assert_allclose(case.scored(instructions), case.defined(), rtol=1e-5)


@pytest.mark.parametrize("instructions", AVAILABLE)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_fit_wherever_a_row_ends(sign: int, instructions: InstructionSet) -> None:
    """Where the last values fill no block, no step and no vector, too."""
    rng = np.random.default_rng(4)
    for size in (*range(1, 140), *range(250, 260), 383, 511):
        signs = rng.choice(np.array([1, -1], np.float32), (20, size), p=(0.9, 0.1))
        query = np.full((3, size), sign, np.float32)
        case = Case(query, encode_tokens(signs, Codec.INT8), offsets_of([7, 13]))
        np.testing.assert_allclose(case.scored(instructions), case.defined(), rtol=1e-5)


@pytest.mark.parametrize("instructions", AVAILABLE)
@pytest.mark.parametrize("tokens", [1, 16, 33])
@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf])
def test_a_scale_that_is_no_number_makes_its_passage_none(
    scale: float, tokens: int, instructions: InstructionSet
) -> None:
    rng = np.random.default_rng(0)
    codes = encode_tokens(unit_vectors(rng, 40, 70), Codec.INT8)
    codes[7, -4:] = np.array([scale], "<f4").view(np.uint8)
    case = Case(unit_vectors(rng, tokens, 70), codes, offsets_of([20, 20]))
    scores = case.scored(instructions)
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1])


def test_a_query_that_is_no_number_scores_none() -> None:
    rng = np.random.default_rng(0)
    codes = encode_tokens(unit_vectors(rng, 5, 64), Codec.INT8)
    query = np.full((3, 64), np.nan, np.float32)
    assert np.isnan(maxsim.maxsim(query, Together(codes, offsets_of([5])), Codec.INT8)).all()


@pytest.mark.parametrize("offsets", [[0, 3, 2], [-1, 3], [0, 6], [4, 2, 5]])
def test_offsets_that_leave_the_codes_are_refused(offsets: list[int]) -> None:
    codes = encode_tokens(unit_vectors(np.random.default_rng(0), 5, 64), Codec.INT8)
    with pytest.raises(Corrupt, match="outside the codes"):
        Together(codes, np.array(offsets))


def test_a_query_of_another_width_is_refused() -> None:
    codes = encode_tokens(unit_vectors(np.random.default_rng(0), 5, 64), Codec.INT8)
    wider = encode_tokens(unit_vectors(np.random.default_rng(0), 5, 32), Codec.INT8)
    for passages in (Together(codes, offsets_of([5])), Apart([wider, codes])):
        with pytest.raises(Corrupt, match="68 bytes wide, where 36 are wanted"):
            binding.maxsim(np.ones((1, 32), np.float32), passages)


def test_without_kernels_scores_are_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    query = unit_vectors(rng, 9, 384)
    codes = encode_tokens(unit_vectors(rng, 500, 384), Codec.INT8)
    passages = Together(codes, offsets_of([0, 100, 400]))
    compiled = maxsim.maxsim(query, passages, Codec.INT8)
    monkeypatch.setattr(binding, "library", lambda: None)
    assert np.abs(maxsim.maxsim(query, passages, Codec.INT8) - compiled).max() < 1e-6


def test_cores_are_lent_once() -> None:
    cores = Cores(4)
    small, large = 10**6, 2**30
    with cores.lent(small) as one, cores.lent(large) as three, cores.lent(large) as none_left:
        assert (one, three, none_left) == (1, 3, 1)
    with cores.lent(large) as again:
        assert again == 4


def test_no_more_cores_are_lent_than_the_process_may_use() -> None:
    cores = Cores(8)
    large = 2**32
    with cores.lent(large) as all_of_them:
        cores.limit(2)
        with cores.lent(large) as none_left:
            assert (all_of_them, none_left) == (8, 1)
    cores.limit(4)
    with cores.lent(large) as two:
        assert two == 2
    cores.limit(0)
    with cores.lent(large) as one:
        assert one == 1

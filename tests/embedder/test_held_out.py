"""What a sparse head is worth on pairs, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from embedder.stand_in.held_out import ndcg
from embedder.stand_in.train import SparseHead, Texts


def texts(*terms: dict[int, float]) -> Texts:
    """Of one dimension: a token's state is its weight."""
    ids = [torch.tensor(list(each)) for each in terms]
    states = [torch.tensor([[weight] for weight in each.values()]) for each in terms]
    return Texts(ids, states, torch.zeros(len(terms), 1))


def test_a_querys_own_passage_is_what_it_should_find() -> None:
    """Second by weight, first, and level with two others, whose places it shares."""
    head = SparseHead(torch.tensor([1.0, 0.0]), special=(0,), vocabulary=9)
    queries = texts({1: 1.0}, {2: 1.0, 0: 5.0}, {4: 1.0})
    passages = texts({1: 0.5, 0: 9.0}, {1: 1.0, 2: 0.1}, {3: 1.0, 0: 9.0})
    assert ndcg(head, queries, passages) == pytest.approx((1 + 2 / math.log2(3)) / 3)
    again = queries.only([1]), passages.only([1])
    assert ndcg(head, *again) == 1

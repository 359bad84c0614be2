"""How the stand-in's heads were made: `python -m embedder.stand_in.train PAIRS HEADS`.

PAIRS is JSON lines of `{"q": query, "d": passage}`. The encoder stays as it is; its token
states are computed once, and the two heads are fitted to them. MODEL_CARD.md tells the recipe
and the sources of the pairs. A few minutes on two cores.
"""

# torch leaves untyped much of what training uses.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import orjson
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
import typer
from safetensors.torch import save_file
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from embedder.stand_in import build

PASSAGE_TOKENS = 128
QUERY_TOKENS = 64
BATCH = 64
POSITIVE_SCORE = 0.3
"""Mean lexical score of a pair, as BGE-M3's own have it."""
RIDGE = 10.0
IN_OTHER = 0.5
"""How much more a term should weigh that the other text of its pair has too."""
COLBERT_STEPS = 100
HARD_NEGATIVES = 2


@dataclass(frozen=True, slots=True)
class Texts:
    """One side of the pairs.

    Attributes:
        ids: of each text, special tokens included; states: [tokens, d] fp16 of each.
        dense: [n, d] fp32, the pooled and normalised vector of each.
    """

    ids: list[Tensor]
    states: list[Tensor]
    dense: Tensor

    def batch(self, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded ids [b, t], states [b, t, d] fp32 and whether there is a token [b, t]."""
        ids = torch.nn.utils.rnn.pad_sequence([self.ids[i] for i in rows], batch_first=True)
        states = torch.nn.utils.rnn.pad_sequence([self.states[i] for i in rows], batch_first=True)
        lengths = torch.tensor([len(self.ids[i]) for i in rows])
        return ids, states.float(), torch.arange(ids.shape[1]) < lengths[:, None]

    def only(self, rows: list[int]) -> Texts:
        """Some of them, in that order."""
        ids, states = [self.ids[i] for i in rows], [self.states[i] for i in rows]
        return Texts(ids, states, self.dense[rows])


class SparseHead(torch.nn.Module):
    """relu(w · h + b) for each token; a term's weight is its tokens' largest."""

    def __init__(self, start: Tensor, special: tuple[int, ...], vocabulary: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(len(start) - 1, 1)
        self.linear.weight.data = start[None, :-1].clone()
        self.linear.bias.data = start[-1:].clone()
        self.special = torch.tensor(special)
        self.vocabulary = vocabulary

    def forward(self, ids: Tensor, states: Tensor, present: Tensor) -> Tensor:
        """[b, vocabulary] lexical weights."""
        weights: Tensor = self.linear(states).squeeze(-1).relu()
        counted = present & ~torch.isin(ids, self.special)
        empty = torch.zeros(len(ids), self.vocabulary)
        return empty.scatter_reduce(1, ids, weights * counted, "amax")


@torch.inference_mode()
def read_texts(
    texts: list[str], checkpoint: Checkpoint, transformer: Transformer, max_length: int
) -> Texts:
    """Token states of texts, computed in small batches."""
    tokenized = [text.ids for text in checkpoint.tokenizer.tokenize(texts, max_length)]
    states: list[Tensor] = []
    for start in range(0, len(tokenized), BATCH):
        chunk = tokenized[start : start + BATCH]
        hidden = transformer(chunk).half()
        states += [part.clone() for part in hidden.split([len(ids) for ids in chunk])]
    means = torch.stack([state.float().mean(0) for state in states])
    return Texts([torch.tensor(ids) for ids in tokenized], states, F.normalize(means, dim=-1))


def read_pairs(records: list[dict[str, str]]) -> tuple[Checkpoint, Texts, Texts]:
    """The stand-in, and its token states of queries `q` and passages `d`."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = open_checkpoint(build(Path(scratch) / "checkpoint"))
        cpu = torch.device("cpu")
        transformer = Transformer(checkpoint, Arithmetic.choose("fp32", cpu), Bus(cpu))
        queries = read_texts([r["q"] for r in records], checkpoint, transformer, QUERY_TOKENS)
        passages = read_texts([r["d"] for r in records], checkpoint, transformer, PASSAGE_TOKENS)
    return checkpoint, queries, passages


def ridge_start(queries: Texts, passages: Texts, vocabulary: int) -> Tensor:
    """[d + 1]: token states to idf × (1 + ½ where the pair's other text has the token)."""
    frequency = torch.zeros(vocabulary)
    for ids in passages.ids:
        frequency[ids.unique()] += 1
    idf = torch.log1p(len(passages.ids) / (frequency + 1))
    d = passages.dense.shape[1]
    gram, moment = RIDGE * torch.eye(d + 1), torch.zeros(d + 1)
    for texts, others in ((queries, passages), (passages, queries)):
        for ids, state, other in zip(texts.ids, texts.states, others.ids, strict=True):
            x = F.pad(state.float(), (0, 1), value=1.0)
            target = idf[ids] * (1 + IN_OTHER * torch.isin(ids, other))
            gram += x.T @ x
            moment += x.T @ target
    return torch.linalg.solve(gram, moment)


def train_sparse(
    queries: Texts, passages: Texts, checkpoint: Checkpoint, epochs: int = 1
) -> SparseHead:
    """Tell the right passage from the batch's others, and agree with the dense."""
    special = checkpoint.tokenizer.special.as_tuple()
    vocabulary = checkpoint.tokenizer.vocabulary
    head = SparseHead(ridge_start(queries, passages, vocabulary), special, vocabulary)
    _rescale(head, queries, passages)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    order = [torch.randperm(len(queries.ids)).split(BATCH) for _ in range(epochs)]
    for rows in chain.from_iterable(order):
        chosen: list[int] = rows.tolist()
        scores = head(*queries.batch(chosen)) @ head(*passages.batch(chosen)).T
        right = F.cross_entropy(scores / 0.05, torch.arange(len(rows)))
        teacher = (queries.dense[rows] @ passages.dense[rows].T / 0.05).softmax(-1)
        agree = F.kl_div((scores / 0.05).log_softmax(-1), teacher, reduction="batchmean")
        _step(optimizer, right + agree)
    _rescale(head, queries, passages)
    return head


@torch.no_grad()
def _rescale(head: SparseHead, queries: Texts, passages: Texts) -> None:
    rows = list(range(0, len(queries.ids), max(1, len(queries.ids) // 512)))
    scores = (head(*queries.batch(rows)) * head(*passages.batch(rows))).sum(-1)
    scale = (POSITIVE_SCORE / scores.mean()).sqrt()
    for parameter in head.parameters():
        parameter.mul_(scale)


def train_colbert(queries: Texts, passages: Texts) -> torch.nn.Linear:
    """Centre and mildly whiten the states, then learn to tell the nearest passages apart."""
    head = _whitening(passages)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4)
    nearest = (queries.dense @ passages.dense.T).topk(HARD_NEGATIVES + 1).indices
    for _ in range(COLBERT_STEPS):
        rows = torch.randperm(len(queries.ids))[: BATCH // 2]
        hard = nearest[rows].flatten()
        candidates = torch.cat([rows, hard[~torch.isin(hard, rows)].unique()]).tolist()
        _, query, query_present = queries.batch(rows.tolist())
        _, passage, passage_present = passages.batch(candidates)
        scores = _maxsim(
            F.normalize(head(query[:, 1:]), dim=-1),
            query_present[:, 1:],
            F.normalize(head(passage[:, 1:]), dim=-1),
            passage_present[:, 1:],
        )
        _step(optimizer, F.cross_entropy(scores / 0.02, torch.arange(len(rows))))
    return head


@torch.no_grad()
def _whitening(texts: Texts) -> torch.nn.Linear:
    states = torch.cat([state[1:] for state in texts.states[::4]]).float()
    mean = states.mean(0)
    values, vectors = torch.linalg.eigh((states - mean).T.cov())
    whiten = vectors @ torch.diag(values.clamp_min(1e-6) ** -0.25) @ vectors.T
    head = torch.nn.Linear(len(mean), len(mean))
    head.weight.copy_(whiten)
    head.bias.copy_(-whiten @ mean)
    return head


def _maxsim(query: Tensor, query_present: Tensor, passage: Tensor, present: Tensor) -> Tensor:
    """[queries, passages]: mean over a query's tokens of the best match in a passage."""
    similarity = torch.einsum("qid,pjd->qpij", query, passage)
    best = similarity.masked_fill(~present[None, :, None], -1.0).amax(-1)
    counted = query_present[:, None].float()
    return (best * counted).sum(-1) / counted.sum(-1)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def main(
    pairs: Annotated[Path, typer.Argument(help="JSON lines of q and d.")],
    heads: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    seed: Annotated[int, typer.Option(help="Of the order of pairs.")] = 0,
) -> None:
    """Fit both heads and write them."""
    torch.manual_seed(seed)
    records = [orjson.loads(line) for line in pairs.read_bytes().splitlines()]
    checkpoint, queries, passages = read_pairs(records)
    typer.echo(f"read {len(records)} pairs")
    sparse = train_sparse(queries, passages, checkpoint)
    typer.echo("trained the sparse head")
    colbert = train_colbert(queries, passages)
    state = {f"sparse_linear.{name}": value for name, value in sparse.linear.state_dict().items()}
    state |= {f"colbert_linear.{name}": value for name, value in colbert.state_dict().items()}
    save_file(state, heads)
    typer.echo(f"wrote {heads}")


if __name__ == "__main__":
    typer.run(main)

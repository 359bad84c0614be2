"""The peers, in their own Python: `python process.py FOLDER MODEL CORPUS`.

Reads `[contender, query]` as JSON lines, answers `{"ids", "ms", "encoding_ms"}`. Nothing of this
repository is imported.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

TOKENS = 512
WEIGHTS = [1.0, 0.3, 1.0]
CANDIDATES = 100
HITS = 10


def documents(corpus: Path) -> tuple[list[str], list[str]]:
    """Ids and texts, the title before the text as ours has it."""
    records = [json.loads(line) for line in corpus.read_text("utf-8").splitlines()]
    texts = ["\n".join(filter(None, (r.get("title"), r["text"]))) for r in records]
    return [r["_id"] for r in records], texts


class Encoding:
    """FlagEmbedding's model, which notes how long queries take."""

    def __init__(self, model: Any) -> None:
        self._encode = model.encode
        self.seconds = 0.0

    def __call__(self, texts: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._encode(texts, **options)
        finally:
            self.seconds += time.perf_counter() - began


def embedded(folder: Path, encode: Any, texts: list[str]) -> dict[str, Any]:
    """All three outputs of every document, computed once."""
    kept = folder / "flag-embedding.pickle"
    if not kept.exists():
        found = encode(
            texts, batch_size=16, max_length=TOKENS,
            return_dense=True, return_sparse=True, return_colbert_vecs=True,
        )  # fmt: skip
        kept.write_bytes(pickle.dumps(found))
    return pickle.loads(kept.read_bytes())


class LlamaIndex:
    """BGEM3Index over all documents."""

    def __init__(self, model: str, ids: list[str], texts: list[str], folder: Path) -> None:
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index.core.schema import TextNode
        from llama_index.indices.managed.bge_m3 import BGEM3Index

        class Index(BGEM3Index):
            """Of passages that are embedded once, in place of at every start."""

            def _build_index_from_nodes(self, nodes: Any, **kwargs: Any) -> Any:
                encode = self.model.encode
                vectors = embedded(folder, encode, texts)
                self.model.encode = lambda *_, **__: vectors
                built = super()._build_index_from_nodes(nodes, **kwargs)
                self.model.encode = encode
                return built

        self.index = Index(
            nodes=[TextNode(id_=id_, text=text) for id_, text in zip(ids, texts, strict=True)],
            model_name=model, pooling_method="mean", weights_for_different_modes=WEIGHTS,
            doc_maxlen=TOKENS, query_maxlen=TOKENS,
            transformations=[SentenceSplitter(tokenizer=str.split)],
        )  # fmt: skip
        self.encoding = self.index.model.encode = Encoding(self.index.model)

    def ask(self, query: str) -> list[str]:
        return [found.node.node_id for found in self.index.query(query, top_k=HITS)]


class LangChain:
    """langchain-milvus over dense and sparse, reranked by FlagEmbedding."""

    def __init__(self, llama: LlamaIndex, ids: list[str], texts: list[str], folder: Path) -> None:
        from langchain_core.documents import Document
        from langchain_milvus import Milvus

        self.model = llama.index.model
        self.encoding = llama.encoding
        self.vectors = llama.index._multi_embed_store
        self.place = {id_: i for i, id_ in enumerate(ids)}
        place = {text: i for i, text in enumerate(texts)}
        uri = folder / "langchain.db"
        self.store = Milvus(
            embedding_function=[Dense(self, place), Sparse(self, place)],
            vector_field=["dense", "sparse"],
            index_params=[
                {"index_type": "FLAT", "metric_type": "IP", "params": {}},
                {
                    "index_type": "SPARSE_INVERTED_INDEX",
                    "metric_type": "IP",
                    "params": {"drop_ratio_build": 0.0},
                },
            ],
            # Milvus Lite refuses what langchain-milvus asks of a sparse index by default.
            search_params=[{"metric_type": "IP", "params": {}}] * 2,
            connection_args={"uri": str(uri)},
            drop_old=True,
        )
        self.store.add_documents(
            [Document(text, metadata={"doc": id_}) for id_, text in zip(ids, texts, strict=True)]
        )

    def candidates(self, query: str) -> list[Any]:
        return self.store.similarity_search(
            query,
            k=CANDIDATES,
            fetch_k=CANDIDATES,
            ranker_type="weighted",
            ranker_params={"weights": WEIGHTS[:2]},
        )

    def ask(self, query: str) -> list[str]:
        found = self.candidates(query)
        scores = self.model.compute_score(
            [[query, document.page_content] for document in found],
            max_query_length=TOKENS, max_passage_length=TOKENS,
            weights_for_different_modes=WEIGHTS,
        )["colbert+sparse+dense"]  # fmt: skip
        return best(found, scores)

    def ask_precomputed(self, query: str) -> list[str]:
        found = self.candidates(query)
        asked = self.model.encode(
            query, max_length=TOKENS,
            return_dense=True, return_sparse=True, return_colbert_vecs=True,
        )  # fmt: skip
        return best(found, [self._score(asked, document) for document in found])

    def _score(self, asked: dict[str, Any], document: Any) -> float:
        i = self.place[document.metadata["doc"]]
        dense = asked["dense_vecs"] @ self.vectors["dense_vecs"][i]
        sparse = self.model.compute_lexical_matching_score(
            asked["lexical_weights"], self.vectors["lexical_weights"][i]
        )
        colbert = self.model.colbert_score(
            asked["colbert_vecs"], self.vectors["colbert_vecs"][i]
        ).item()
        scores = zip(WEIGHTS, (dense, sparse, colbert), strict=True)
        return sum(weight * score for weight, score in scores)


def best(found: list[Any], scores: list[float]) -> list[str]:
    order = sorted(range(len(found)), key=lambda i: -scores[i])
    return [found[i].metadata["doc"] for i in order[:HITS]]


class Dense:
    """LangChain's `Embeddings`: of documents those that were made before."""

    def __init__(self, chain: LangChain, place: dict[str, int]) -> None:
        self.chain, self.place = chain, place

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.chain.vectors["dense_vecs"][self.place[text]].tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.chain.model.encode(text, max_length=TOKENS)["dense_vecs"].tolist()


def Sparse(chain: LangChain, place: dict[str, int]) -> Any:  # noqa: N802 - makes one
    """langchain-milvus's `BaseSparseEmbedding`, which is imported late."""
    from langchain_milvus.utils.sparse import BaseSparseEmbedding

    class LexicalWeights(BaseSparseEmbedding):
        def embed_documents(self, texts: list[str]) -> list[dict[int, float]]:
            return [terms(chain.vectors["lexical_weights"][place[text]]) for text in texts]

        def embed_query(self, query: str) -> dict[int, float]:
            found = chain.model.encode(
                query, max_length=TOKENS, return_dense=False, return_sparse=True
            )
            return terms(found["lexical_weights"])

    return LexicalWeights()


def terms(weights: dict[str, float]) -> dict[int, float]:
    """Milvus refuses an empty one."""
    return {int(term): float(weight) for term, weight in weights.items()} or {0: 1e-9}


def main() -> None:
    folder, model, corpus = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    # Libraries print; the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ids, texts = documents(corpus)
    llama = LlamaIndex(model, ids, texts, folder)
    chain = LangChain(llama, ids, texts, folder)
    contenders = {
        "LlamaIndex BGEM3Index": llama.ask,
        "langchain-milvus, compute_score": chain.ask,
        "langchain-milvus, passages precomputed": chain.ask_precomputed,
    }
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        name, query = json.loads(line)
        encoded, began = llama.encoding.seconds, time.perf_counter()
        found = contenders[name](query)
        seconds = time.perf_counter() - began
        answer = {
            "ids": found,
            "ms": 1e3 * seconds,
            "encoding_ms": 1e3 * (llama.encoding.seconds - encoded),
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

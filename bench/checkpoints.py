"""Checkpoints of BGE-M3's shape with random weights: as fast as the real one, and as slow."""

# torch leaves untyped much of what is used here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.texts import sample_texts
from embedder.stand_in import build
from m3.settings import load_settings

LAYERS = 24
_DIMENSION, _HEADS, _WIDE = 1024, 16, 4096
_VOCABULARY, _POSITIONS = 250_002, 8194
_PIECES = 8000
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_RANDOM = "bge-m3-shape-"
_SPREAD = 0.02
"""Standard deviation that XLM-RoBERTa's weights start training from."""


def checkpoint(name: str) -> Path:
    """The folder of a model by what a command calls it.

    Args:
        name: `full` (BGE-M3's shape), a number of layers of that shape, `stand-in`, or a folder.
    """
    if name == "stand-in":
        return build(cache() / "stand-in")
    if name == "full" or name.isdigit():
        return random_weights(LAYERS if name == "full" else int(name))
    return Path(name)


def described(name: str) -> str:
    """What a figure says of the model it was measured on."""
    if name == "stand-in":
        return "stand-in (6 layers, 384 dimensions)"
    if name == "full" or name.isdigit():
        layers = LAYERS if name == "full" else int(name)
        return f"BGE-M3's shape with random weights, {layers} of {LAYERS} layers"
    return name


def random_weights(layers: int = LAYERS) -> Path:
    """XLM-RoBERTa large with M3's heads and cls pooling, random weights; 2.3 GB with 24 layers.

    Made once, and kept under the state directory. Its tokenizer is a Unigram of 8,000 pieces
    trained on the sample: most of the embedding table's 250,002 rows are never looked up.
    """
    folder = cache() / f"{_RANDOM}{layers}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
        made = Path(scratch) / "checkpoint"
        (made / "1_Pooling").mkdir(parents=True)
        _write_configs(made, layers)
        _write_tokenizer(made)
        _write_weights(made, layers)
        shutil.move(made, folder)
    return folder


def is_random(folder: Path) -> bool:
    """Whether a checkpoint is one of `random_weights`."""
    return folder.parent == cache() and folder.name.startswith(_RANDOM)


def cache() -> Path:
    """Where what takes long to make is kept."""
    return load_settings().home / "cache" / "bench"


def _write_configs(folder: Path, layers: int) -> None:
    config = {
        "architectures": ["XLMRobertaModel"],
        "model_type": "xlm-roberta",
        "hidden_act": "gelu",
        "hidden_size": _DIMENSION,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "intermediate_size": _WIDE,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 1,
        "vocab_size": _VOCABULARY,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    pooling = {"word_embedding_dimension": _DIMENSION, "pooling_mode_cls_token": True}
    # As sentence-transformers reads a folder.
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(
            [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        )
    ]
    (folder / "2_Normalize").mkdir()
    for name, value in (
        ("config.json", config),
        ("1_Pooling/config.json", pooling),
        ("modules.json", modules),
        ("sentence_bert_config.json", {"max_seq_length": 8192, "do_lower_case": False}),
    ):
        _write_json(folder / name, value)


def _write_tokenizer(folder: Path) -> None:
    """A Unigram with XLM-RoBERTa's special tokens at their ids."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import Metaspace as MetaspaceDecoder
    from tokenizers.models import Unigram
    from tokenizers.pre_tokenizers import Metaspace
    from tokenizers.processors import TemplateProcessing

    pieces = [(token, 0.0) for token in _SPECIAL] + _trained_pieces()
    tokenizer = Tokenizer(Unigram(pieces, unk_id=_SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.decoder = MetaspaceDecoder()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": 8192,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(folder / "tokenizer_config.json", config)


def _trained_pieces() -> list[tuple[str, float]]:
    """Pieces and their log-probabilities. sentencepiece, as the trainer of `tokenizers` panics."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    texts = [*sample_texts("corpus.jsonl"), *sample_texts("queries.jsonl")]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=_PIECES,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    trained: Any = SentencePieceProcessor(model_proto=model.getvalue())
    return [
        (trained.id_to_piece(i), trained.get_score(i))
        for i in range(trained.get_piece_size())
        if not trained.is_control(i) and not trained.is_unknown(i)
    ]


def _write_weights(folder: Path, layers: int) -> None:
    torch.manual_seed(0)
    save_file(dict(_tensors(layers)), folder / "model.safetensors", metadata={"format": "pt"})
    for head, size in (("sparse_linear", 1), ("colbert_linear", _DIMENSION)):
        torch.save(torch.nn.Linear(_DIMENSION, size).state_dict(), folder / f"{head}.pt")


def _tensors(layers: int) -> Iterator[tuple[str, Tensor]]:
    for name, rows in (
        ("word_embeddings", _VOCABULARY),
        ("position_embeddings", _POSITIONS),
        ("token_type_embeddings", 1),
    ):
        yield f"embeddings.{name}.weight", torch.empty(rows, _DIMENSION).normal_(0, _SPREAD)
    yield from _norm("embeddings.LayerNorm")
    for layer in range(layers):
        base = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            yield from _linear(f"{base}.attention.self.{part}", _DIMENSION, _DIMENSION)
        yield from _linear(f"{base}.attention.output.dense", _DIMENSION, _DIMENSION)
        yield from _norm(f"{base}.attention.output.LayerNorm")
        yield from _linear(f"{base}.intermediate.dense", _DIMENSION, _WIDE)
        yield from _linear(f"{base}.output.dense", _WIDE, _DIMENSION)
        yield from _norm(f"{base}.output.LayerNorm")


def _linear(name: str, size_in: int, size_out: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", torch.empty(size_out, size_in).normal_(0, _SPREAD)
    yield f"{name}.bias", torch.empty(size_out).normal_(0, _SPREAD)


def _norm(name: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", torch.empty(_DIMENSION).normal_(1, _SPREAD)
    yield f"{name}.bias", torch.empty(_DIMENSION).normal_(0, _SPREAD)


def _write_json(file: Path, value: object) -> None:
    file.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))

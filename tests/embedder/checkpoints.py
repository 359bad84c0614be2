"""Small checkpoints with random weights, in BGE-M3's layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = [f"w{number}" for number in range(95)]
POSITIONS = 66


def write_xlm_roberta(path: Path, positions: int = POSITIONS, dimension: int = 32) -> Path:
    """A tiny XLM-RoBERTa with cls pooling and four heads, as BGE-M3 is a large one.

    Args:
        positions: two more than the longest text has tokens.
    """
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(7)
    config = XLMRobertaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=dimension,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * dimension,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=1,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    # As initialised, positions are too faint for a wrong one to show.
    model.embeddings.position_embeddings.weight.data.normal_()
    model.save_pretrained(path)
    write_heads(path, dimension)
    write_tokenizer(path, positions - 2)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    return path


def write_heads(path: Path, dimension: int) -> None:
    for name, size in (("sparse_linear", 1), ("colbert_linear", dimension)):
        torch.save(torch.nn.Linear(dimension, size).state_dict(), path / f"{name}.pt")


def write_tokenizer(path: Path, max_tokens: int = POSITIONS - 2) -> None:
    words = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": max_tokens,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))

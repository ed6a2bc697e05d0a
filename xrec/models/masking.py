"""Masked-language modelling: hide some tokens of a text, and learn to guess them from the rest.

After Devlin et al., 2019; further training on a domain's own texts after Gururangan et al., 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from xrec.models.language import LanguageModel, quiet

UNASKED = -100  # the label of a token that is not to be guessed
HIDDEN, REPLACED = 0.8, 0.1  # shares of what is to be guessed; the rest is left to be seen


@dataclass(frozen=True)
class Puzzle:
    """N texts of T tokens, some of them hidden.

    ids (N, T) int64: what is seen. mask (N, T) int64: 0 is padding. labels (N, T) int64: the token
    to be guessed, UNASKED elsewhere.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Puzzle:
        """The same on another device."""
        return Puzzle(*(each.to(device) for each in (self.ids, self.mask, self.labels)))


def hide(
    ids: Tensor, content: Tensor, share: float, mask_id: int, words: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What is seen of ids (N, T), and the labels (N, T), UNASKED where nothing is to be guessed.

    `share` of the content (N, T) bool is to be guessed, and one token of each text at least: 80 %
    of that is hidden behind mask_id, 10 % is any of `words` tokens, 10 % is left as it is.
    """
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~content, 2)
    asked = (draw < share) | ((draw == draw.min(1, keepdim=True).values) & content)
    way = torch.rand(ids.shape, generator=generator)
    others = torch.randint(words, ids.shape, generator=generator)
    seen = torch.where(way < HIDDEN, mask_id, torch.where(way < HIDDEN + REPLACED, others, ids))
    return torch.where(asked, seen, ids), torch.where(asked, ids, UNASKED)


class Guesser(LightningModule):
    """An encoder with the head that guesses tokens.

    headless: whether the model's files have no such head, so that this one knows nothing yet.
    """

    def __init__(self, language: LanguageModel, model: Any, headless: bool) -> None:
        super().__init__()
        self.model: Any = model
        self.headless = headless
        self._language = (language,)  # in a tuple: its weights are not those that learn here
        self._batches: Callable[[int], Iterable[Puzzle]] = lambda epoch: ()
        self._learning: list[nn.Parameter] = []
        self._steps, self._lr = 1, 0.0

    @classmethod
    def of(cls, language: LanguageModel, folder: Any) -> Guesser:
        """The language model of `folder` with its head, tied to its word vectors if they are."""
        from transformers import AutoModelForMaskedLM

        with quiet():  # what is missing is told in the run's own words
            model, found = AutoModelForMaskedLM.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        trunk = f"{model.base_model_prefix}."
        headless = any(not name.startswith(trunk) for name in found["missing_keys"])
        return cls(language, model, headless)

    @property
    def language(self) -> LanguageModel:
        """Whose texts and tokens these are."""
        return self._language[0]

    @property
    def trunk(self) -> nn.Module:
        """The encoder without its head."""
        trunk: nn.Module = self.model.base_model
        return trunk

    def puzzle(
        self, rows: Sequence[Sequence[int]], share: float, generator: torch.Generator
    ) -> Puzzle:
        """Texts, as the ids of their content, with some of it hidden."""
        language = self.language
        ids, mask = (each.cpu() for each in language.padded([language.framed(r) for r in rows]))
        begin, sizes = len(language.opening), torch.tensor([[len(row)] for row in rows])
        place = torch.arange(ids.shape[1])
        content = (place >= begin) & (place < begin + sizes)
        words = min(len(language.tokenizer), self.model.config.vocab_size)
        seen, labels = hide(ids, content, share, language.tokenizer.mask_token_id, words, generator)
        return Puzzle(seen, mask, labels)

    def surprise(self, puzzle: Puzzle) -> tuple[Tensor, int]:
        """The sum of -log p of the tokens to be guessed, and how many they are."""
        asked = puzzle.labels != UNASKED
        with _only(self.model.get_output_embeddings(), asked):
            logits = self.model(input_ids=puzzle.ids, attention_mask=puzzle.mask).logits
        logits = logits if logits.dim() == 2 else logits[asked]
        loss = functional.cross_entropy(logits.float(), puzzle.labels[asked], reduction="sum")
        return loss, int(asked.sum())

    def perplexity(self, puzzles: Iterable[Puzzle]) -> float:
        """exp of the mean of -log p over all tokens to be guessed."""
        total, count = 0.0, 0
        self.eval()
        with torch.no_grad():
            for puzzle in puzzles:
                loss, asked = self.surprise(puzzle.to(self.device))
                total, count = total + float(loss), count + asked
        return math.exp(min(total / count, 700)) if total == total else math.nan

    def study(
        self,
        batches: Callable[[int], Iterable[Puzzle]],
        steps: int,
        lr: float,
        trunk: bool,
    ) -> None:
        """What the next fit is of: an epoch's `batches`, of `steps` in all, at the rate lr.

        The head learns, and the trunk if `trunk` says so; a head's weights that are the trunk's
        word vectors belong to the trunk.
        """
        self._batches, self._steps, self._lr = batches, steps, lr
        self.requires_grad_(True)
        if not trunk:
            self.trunk.requires_grad_(False)
        self._learning = [p for p in self.model.parameters() if p.requires_grad]
        self.train()
        if not trunk:
            self.trunk.eval()

    def train_dataloader(self) -> DataLoader:
        """The present epoch's batches."""
        puzzles: Any = list(self._batches(self.current_epoch))
        # With a generator of its own: else it draws from that of dropout each time it is begun.
        return DataLoader(puzzles, batch_size=None, generator=torch.Generator())

    def training_step(self, puzzle: Puzzle, index: int) -> Tensor:
        """The mean surprise of a batch."""
        loss, count = self.surprise(puzzle)
        self.log("train_loss", loss / count, on_step=False, on_epoch=True, batch_size=count)
        return loss / count

    def configure_optimizers(self) -> Any:
        """AdamW, whose rate rises for a tenth of the steps and falls to nothing by the last."""
        from transformers import get_linear_schedule_with_warmup

        optimizer = torch.optim.AdamW(self._learning, lr=self._lr, weight_decay=0.01)
        schedule = get_linear_schedule_with_warmup(optimizer, self._steps // 10, self._steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


@contextmanager
def _only(decoder: nn.Module | None, asked: Tensor) -> Iterator[None]:
    """Let the layer that gives each word a logit, the dearest of all, see only what is asked."""
    if decoder is None:
        yield
        return
    hook = decoder.register_forward_pre_hook(lambda _, given: (given[0][asked], *given[1:]))
    try:
        yield
    finally:
        hook.remove()

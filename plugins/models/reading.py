"""Reading a catalogue's texts with a language model that learns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xrec.models.encoder import Reader
from xrec.models.language import LanguageModel

BATCH_TOKENS = 4096  # read at once without a gradient, padding included


class Reading(nn.Module):
    """A language model that learns, and the texts (N + 1) that it reads, of which the first is "".

    To read all of them at every step would take too long. A step reads some of its items anew, with
    a gradient, and takes the others' vectors as they were when all were last read.
    """

    def __init__(self, encoder: Reader, texts: Sequence[str], some: int) -> None:
        super().__init__()
        self.language: LanguageModel = encoder.language()
        self.texts, self.some, self.max_tokens = texts, some, encoder.max_tokens
        room = self.max_tokens - len(self.language.opening) - len(self.language.closing)
        tokens = self.language.tokens(texts)
        self.rows = [self.language.framed(ids[: max(0, room)]) for ids in tokens]

    def anew(self, table: Tensor, items: Tensor) -> Tensor:
        """(N + 1, E): the table (N + 1, E) with some of `items` (any shape), drawn, read anew."""
        known = items.unique()
        known = known[known > 0]
        drawn = known[torch.randperm(len(known))[: self.some].to(known.device)]
        if not len(drawn):
            return table
        ids, mask = self.language.padded([self.rows[item] for item in drawn.tolist()])
        return table.index_copy(0, drawn, self.language(ids, mask).to(table))

    def everything(self) -> Tensor:
        """(N + 1, E) the vectors of all texts, without a gradient."""
        return self.language.encode(self.texts, self.max_tokens, BATCH_TOKENS)

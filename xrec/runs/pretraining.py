"""Training the language model further on the catalogue's own texts, before it encodes them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from xrec.errors import RecipeError, TrainingError
from xrec.models.encoder import Adaptable, Encoder
from xrec.models.family import POOLING, WEIGHTS, files, weights
from xrec.models.language import LanguageModel, Tally
from xrec.models.masking import Guesser, Puzzle
from xrec.options import PretrainOptions
from xrec.recipe import Recipe
from xrec.runs.resume import Resume, usable
from xrec.runs.run import ADAPTED, Run, Tell
from xrec.runs.training import fit_or_stop, new_trainer

#: How a head is fitted where the model's files have none: the trunk is held still meanwhile.
HEAD_EPOCHS, HEAD_LR = 10, 3e-3

Rows = Sequence[Sequence[int]]


def check(recipe: Recipe, encoder: Encoder) -> None:
    """Raise RecipeError if the recipe's encoder cannot be trained further as it asks for."""
    if recipe.pretrain is None:
        return
    if not isinstance(encoder, Adaptable):
        raise RecipeError(
            f"pretrain: the encoder {recipe.encoder.name} has no language model to train "
            "further: choose {name: pretrained, …}, or leave pretrain out"
        )
    if encoder.family.kind == "decoder":
        raise RecipeError(
            f"pretrain: 'mlm' hides words to be guessed from both sides, and a "
            f"'{encoder.family.model_type}' model, a decoder, sees only what comes before: choose "
            "an encoder, such as BERT, or leave pretrain out"
        )
    if _tokenizer(encoder.folder).mask_token_id is None:
        raise RecipeError(
            f"pretrain: 'mlm' needs a mask token, and the tokenizer in {encoder.folder} has none: "
            "choose another encoder, or leave pretrain out"
        )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def pretrain(run: Run) -> None:
    """Train the encoder further; write its files to `encoder/` and what came of it as JSON."""
    options, encoder = run.recipe.pretrain, run.made["encoder"][0]
    assert options is not None
    language: LanguageModel = encoder.language()
    learnt, held = split(language, run.data.texts, encoder.max_tokens, options, run.recipe.seed)
    guesser = Guesser.of(language, encoder.folder)
    test = _puzzles(guesser, held, options, run.recipe.seed, shuffle=False)
    fit = partial(_fit, run, guesser, learnt)
    begun = _begun(run.store.checkpoint, guesser, run.tell)
    head, before = begun.head, begun.before
    if before is None:
        if guesser.headless:
            run.tell(f"  no head for guessing words in the model's files: {HEAD_EPOCHS} epochs")
            head = fit(HEAD_EPOCHS, HEAD_LR, Progress(), begun)
        before = guesser.perplexity(test)
    losses = fit(options.epochs, options.lr, Progress(head, before), begun)
    after = guesser.perplexity(test)
    run.tell(f"  held-out perplexity {before:.2f} → {after:.2f}")
    if not math.isfinite(after):
        raise TrainingError(
            f"pretrain: the held-out perplexity is {after} after training; try a lower pretrain.lr "
            f"than {options.lr:g}"
        )
    _write_encoder(run, language, guesser, encoder.folder)
    told = {
        "options": asdict(options),
        "texts": {"trained_on": len(learnt), "held_out": len(held)},
        "guessed": int(sum((puzzle.labels >= 0).sum() for puzzle in test)),
        "perplexity": {"before": before, "after": after},
        "head": "from the model's files"
        if head is None
        else {"fitted_first": {"epochs": HEAD_EPOCHS, "lr": HEAD_LR, "loss": head}},
        "loss": losses,
    }
    run.store.write_json("pretrain.json", told)


def split(
    language: LanguageModel, texts: Sequence[str], longest: int, options: PretrainOptions, seed: int
) -> tuple[Rows, Rows]:
    """The token ids of the texts to learn from and of those held out, each different.

    Raises RecipeError or XrecError: they are too few, or not in a script that the model knows.
    """
    tally = Tally(language.tokenizer.unk_token_id)
    found = language.tokens(texts)
    tally.count(texts, found)
    tally.check()
    room = min(longest, language.longest) - len(language.opening) - len(language.closing)
    # A text that is there twice is not to be learnt and held out.
    rows = list(dict.fromkeys(tuple(ids[: max(room, 0)]) for ids in found if ids))
    rows = [row for row in rows if row]
    count = max(1, round(options.held_out * len(rows)))
    if count >= len(rows):
        raise RecipeError(
            f"pretrain.held_out: {options.held_out:.0%} of {len(rows)} different texts leaves none "
            "to learn from: make it smaller, or leave pretrain out"
        )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [rows[at] for at in order[count:]], [rows[at] for at in order[:count]]


def _puzzles(
    guesser: Guesser, rows: Rows, options: PretrainOptions, seed: int, shuffle: bool = True
) -> list[Puzzle]:
    """Batches of texts; what is hidden, and the order, follow from the seed."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator) if shuffle else torch.arange(len(rows))
    return [
        guesser.puzzle([rows[at] for at in some.tolist()], options.mask, generator)
        for some in order.split(options.batch)
    ]


@dataclass(frozen=True)
class Progress:
    """What is known when a fit begins: before the head's, nothing; before that of all, how it went.

    head: the losses of the head's fit, None if the files have a head. before: the perplexity then.
    """

    head: list[float] | None = None
    before: float | None = None


def _begun(checkpoint: Path, guesser: Guesser, tell: Tell) -> Progress:
    """What was known when the fit began that a killed try left a checkpoint of."""
    told = usable(checkpoint, guesser, tell)
    return Progress() if told is None else Progress(**told["callbacks"]["Course"]["progress"])


def _fit(
    run: Run,
    guesser: Guesser,
    rows: Rows,
    epochs: int,
    lr: float,
    progress: Progress,
    begun: Progress,
) -> list[float]:
    """Train the head, or all once it is known how that went; returns each epoch's loss.

    It goes on from the checkpoint, if there is one of a fit that began with the same progress.
    """
    options, trunk = run.recipe.pretrain, progress.before is not None
    assert options is not None
    # Other masks than those of the texts held out, and in the head's fit than in that of all.
    begin = run.recipe.seed * 1_000_003 + (1 + trunk) * 10_000

    def batches(epoch: int) -> Iterator[Puzzle]:
        yield from _puzzles(guesser, rows, options, begin + epoch)

    steps = epochs * math.ceil(len(rows) / options.batch)
    guesser.study(batches, steps, lr, trunk)
    course, checkpoint = Course(run.tell, progress), run.store.checkpoint
    trainer = new_trainer(
        [],
        run.folder,
        max_epochs=epochs,
        gradient_clip_val=1.0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[course, Resume(checkpoint, steps)],  # between epochs alone
    )
    goes_on = checkpoint.is_file() and begun == progress
    fit_or_stop(trainer, guesser, ckpt_path=checkpoint if goes_on else None)
    return course.losses


class Course(Callback):
    """Tell each epoch's loss, and keep it."""

    def __init__(self, tell: Tell, progress: Progress) -> None:
        self.tell, self.progress = tell, progress
        self.losses: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": self.losses, "progress": asdict(self.progress)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.losses = state_dict["losses"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's mean loss."""
        self.losses.append(float(trainer.callback_metrics["train_loss"]))
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.tell(f"  epoch {epoch}  train_loss {self.losses[-1]:.4f}")


def _write_encoder(run: Run, language: LanguageModel, guesser: Guesser, source: Path) -> None:
    """Write the trained trunk as a model's folder, which is read as any other."""
    whole, learnt = language.transformer.state_dict(), guesser.trunk.state_dict()
    assert learnt.keys() <= whole.keys()
    run.store.write_tensors(f"{ADAPTED}/{WEIGHTS}", {**whole, **learnt})
    own = weights(source)
    names = [path.name for path in files(source) if path not in own]
    for name in [*names, *([POOLING] if (source / POOLING).is_file() else [])]:
        with run.store.writing(f"{ADAPTED}/{name}") as partial:
            shutil.copyfile(source / name, partial)

"""Asking a finished run why it recommends something."""

from __future__ import annotations

import torch

from xrec import plugins
from xrec.data.features import BEHAVIOUR
from xrec.errors import RunError, nearest
from xrec.explain.explainer import Choosing, Explainer, learns
from xrec.models.encoder import Reader
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.models.words import WordByWord
from xrec.recipe import Choice
from xrec.report.card import card
from xrec.report.section import Card
from xrec.runs.explaining import choose, explained, ready
from xrec.runs.run import Run


def ask(
    run: Run,
    user: str,
    item: str | None = None,
    explainer: str | None = None,
    event: str | None = None,
) -> Card:
    """Explain to a person why `item`, or else the first choice for them, suits a user.

    The history is all that the user has done. event: the item of one of its events, which is then
    explained word by word. Raises RunError: the user, item or event is unknown, the explainer is
    neither in the recipe nor installed, or the encoder does not read words.
    """
    users = torch.tensor([run.data.users.index(user)])
    blank = run.data.latest(users, torch.zeros_like(users))
    seen = torch.zeros(1, len(run.data.items), dtype=torch.bool)
    begin, end = run.data.events.span(int(users))
    seen[0, run.data.events.item[begin:end]] = True
    found, scores = run.recommend(blank, seen, 1 + run.model.shortlist)
    shortlist = found[scores > -torch.inf]
    wanted = run.data.items.index(item) if item else int(shortlist[0])
    inputs = run.inputs(blank.about(torch.tensor([wanted])))
    inputs = inputs.against(shortlist[shortlist != wanted][None])
    slot = None if event is None else _slot(run, inputs, user, event)
    model: Recommender = run.model
    if slot is not None and inputs.features.place is None:
        opened = _word_by_word(run)
        model, inputs = opened, opened.opened(inputs, torch.tensor([slot]))
    told = explained(run, _explainer(run, explainer, model), inputs, model)
    return card(told, 0, f"user {user}", run.data.titles[wanted], slot)


def _slot(run: Run, inputs: Inputs, user: str, event: str) -> int:
    """The slot of the user's latest event with an item."""
    item, features = run.data.items.index(event), inputs.features
    there = features.gathered(inputs.players.long())[0] > 0
    events = (features.group[0] == BEHAVIOUR) & (features.parent[0] < 0) & there
    found = (events & (features.key[0] == item)).nonzero()[:, 0].tolist()
    if not found:
        raise RunError(
            f"user {user} has no event with item '{event}' among the {int(events.sum())} that the "
            "model looks back on"
        )
    return int(found[-1])


def _word_by_word(run: Run) -> WordByWord:
    """The run's model, able to have an event opened into words."""
    encoder = run.encoder
    if not isinstance(encoder, Reader):
        raise RunError(
            f"run {run.folder}: its encoder '{run.recipe.encoder.name}' does not read words, so "
            "that an event cannot be explained word by word"
        )
    language = run.model.reads_with or encoder.language()
    return WordByWord(run.model, language, encoder.max_tokens).eval()


def _explainer(run: Run, label: str | None, model: Recommender) -> Explainer:
    """An explainer of the run by its label, or another that is installed.

    It may have to learn first, as it has to of another model than the run's.
    """
    chosen = run.explainers()
    if label is None:
        if not chosen:
            raise RunError(f"run {run.folder} has no explainer: choose one with --explainer")
        label = next(iter(chosen))
    if label in chosen and (model is run.model or not learns(chosen[label][1])):
        return ready(run, label)
    if label in chosen:
        return _taught(run, label, chosen[label][0].make(), model)
    installed = [listing.name for listing in plugins.listings("explainer")]
    if label not in installed:
        raise RunError(f"there is no explainer '{label}': {nearest(label, [*chosen, *installed])}")
    explainer: Explainer = Choice("explainer", label, {}, "--explainer").make()
    if isinstance(explainer, Choosing):
        choose(run, explainer)
    return _taught(run, label, explainer, model)


def _taught(run: Run, label: str, explainer: Explainer, model: Recommender) -> Explainer:
    if learns(explainer):
        run.tell(f"{label} learns first …")
        explainer.fit(model, run.data)
    return explainer

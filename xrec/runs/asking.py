"""Asking a finished run why it recommends something."""

from __future__ import annotations

import torch

from xrec import plugins
from xrec.errors import RunError, nearest
from xrec.explain.explainer import Choosing, Explainer, Trained
from xrec.recipe import Choice
from xrec.report.card import card
from xrec.report.section import Card
from xrec.runs.explaining import choose, explained, ready
from xrec.runs.run import Run


def ask(run: Run, user: str, item: str | None = None, explainer: str | None = None) -> Card:
    """Explain to a person why `item`, or else the first choice for them, suits a user.

    The history is all that the user has done. Raises RunError: the user or item is unknown, or
    the explainer is neither in the recipe nor installed.
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
    told = explained(run, _explainer(run, explainer), inputs)
    return card(told, 0, f"user {user}", run.data.titles[wanted])


def _explainer(run: Run, label: str | None) -> Explainer:
    """An explainer of the run by its label, or another that is installed, which may learn first."""
    chosen = run.explainers()
    if label is None:
        if not chosen:
            raise RunError(f"run {run.folder} has no explainer: choose one with --explainer")
        label = next(iter(chosen))
    if label in chosen:
        return ready(run, label)
    installed = [listing.name for listing in plugins.listings("explainer")]
    if label not in installed:
        raise RunError(f"there is no explainer '{label}': {nearest(label, [*chosen, *installed])}")
    explainer: Explainer = Choice("explainer", label, {}, "--explainer").make()
    if isinstance(explainer, Trained):
        run.tell(f"{label} learns first …")
        explainer.fit(run.model, run.data)
    if isinstance(explainer, Choosing):
        choose(run, explainer)
    return explainer

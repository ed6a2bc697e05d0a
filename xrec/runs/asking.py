"""Asking a finished run why it recommends something."""

from __future__ import annotations

import torch

from xrec import plugins
from xrec.errors import RunError, nearest
from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.recipe import Choice
from xrec.report.card import card
from xrec.report.section import Card
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
    wanted = run.data.items.index(item) if item else int(run.recommend(blank, seen, 1)[0])
    batch = blank.about(torch.tensor([wanted]))
    told: Explanation = _explainer(run, explainer).explain(run.model, run.inputs(batch), run.target)
    told = plugins.chain(run.manager.hook.xrec_explanation, told, recipe=run.recipe)
    return card(told, 0, f"user {user}", run.data.titles[wanted])


def _explainer(run: Run, name: str | None) -> Explainer:
    chosen = run.explainers()
    if name is None:
        if not chosen:
            raise RunError(f"run {run.folder} has no explainer: choose one with --explainer")
        name = next(iter(chosen))
    if name in chosen:
        explainer: Explainer = chosen[name][1]
        return explainer
    installed = [listing.name for listing in plugins.listings("explainer")]
    if name not in installed:
        raise RunError(f"there is no explainer '{name}': {nearest(name, installed)}")
    explainer = Choice("explainer", name, {}, "--explainer").make()
    return explainer

"""Attacking a finished run: what do its model and its explanations tell of whose data they saw?

Everybody is in a run, so that nobody is left to compare them with. What is audited is therefore the
recipe on these data: shadow models, trained as the run was on random halves of its users
(`xrec.audit.shadows`), each know half of the users and not the others. Each of them in turn is
attacked with the help of the others, and for each it is known who its members are: the users whose
training events, all of them, it was trained on. They are trained on half of what the run is, and
usually tell more of each user for it.

The question is a user's: was this history in training? An attacker sees what a model says of the
user's training events, or an explanation of the last of them (`xrec.audit.asking`), and goes by a
threshold that is the same for all (Yeom et al., 2018), or by how other models' answers are spread
(`xrec.audit.ratios`). An AUC of 0.5 means that members are told from others no better than by a
coin; 1, that they always are. An attack that fails does not show that none would succeed.

The run's own model is asked about events (`xrec.audit.events`): are a user's last training event
and their test event told apart? That is a weaker test, as those differ in more than that.

Beside them stand what epsilon is at least (`xrec.audit.epsilon`) and how much of a history can be
guessed from an explanation as the run wrote it (`xrec.audit.reconstruction`). What is written holds
figures, but for `audit/rows.parquet`, which names users: it is in the run's folder, which holds all
their data anyway.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec.audit import asking, events, shadows
from xrec.audit.epsilon import CONFIDENCE, lower_bound
from xrec.audit.outcome import outcome
from xrec.audit.ratios import discriminant, ratios
from xrec.audit.reconstruction import reconstruction
from xrec.errors import RunError, nearest
from xrec.explain.explainer import Choosing
from xrec.runs import pipeline
from xrec.runs.explaining import ready
from xrec.runs.run import AUDIT, Run

ROWS = "audit/rows.parquet"
CLAIMS = "privacy/"  # where mechanisms write what they claim of training: epsilon, delta and level
DELTA = 1e-5  # of the bound on epsilon, where nothing is claimed


@dataclass(frozen=True)
class Asked:
    """How a run is audited: by how many shadows, about how many users, and by which explainer."""

    shadows: int = 16
    users: int = 1000
    explainer: str | None = None


def audit(run: Run, asked: Asked) -> dict[str, Any]:
    """Attack a finished run, write what was found to `audit/` and tell of it in its report.

    An audit that was stopped goes on with the shadows that it has; one that was done is read.
    Raises RunError: the run is not finished, has too few users, or not that explainer; or what
    training raises.
    """
    if run.store.record("quality") is None or run.store.record("report") is None:
        raise RunError(f"run {run.folder} is not finished: finish it with 'xrec run' first")
    shadows.check(run, asked.shadows)
    if asked.users < shadows.LEAST:
        raise RunError(
            f"an audit about {asked.users} users says nothing: ask for at least {shadows.LEAST}"
        )
    label = explainer_of(run, asked.explainer)
    with run.store.alone():
        run.store.begin(run.recipe.resolved)
        for stage in _stages(run, asked, label):
            pipeline.carry_out(run, stage)
    found: dict[str, Any] = run.store.json(AUDIT)
    return found


def explainer_of(run: Run, label: str | None) -> str | None:
    """The explainer of the run by its label, or its first; None if it has none.

    One that chooses among others is none to be attacked. Raises RunError if it is not the run's.
    """
    chosen = run.explainers()
    own = [name for name, (_, each) in chosen.items() if not isinstance(each, Choosing)]
    if label is None:
        return next(iter(own), None)
    if label not in chosen:
        raise RunError(
            f"run {run.folder} has no explainer '{label}': {nearest(label, own or chosen)}"
        )
    if label not in own:
        raise RunError(
            f"explainer '{label}' chooses among others: audit one of these, {', '.join(own)}"
        )
    return label


def _stages(run: Run, asked: Asked, label: str | None) -> list[pipeline.Stage]:
    """The audit, and the report, which tells of it."""
    planned = {stage.name: stage for stage in pipeline.stages(run)}
    follows = (asked.shadows, asked.users, label, shadows.FOLDER)
    reads = ("quality", *planned["quality"].after, *([f"explain.{label}"] if label else []))
    attack = partial(_attack, asked=asked, label=label)
    return [pipeline.Stage("audit", attack, follows, reads), planned["report"]]


def _attack(run: Run, asked: Asked, label: str | None) -> None:
    """Ask all shadows, attack each, and write what was found."""
    users = _drawn(run, asked.users)
    questions = asking.Questions.of(run.data, users, run.recipe.seed)
    inside = shadows.halves(len(run.data.users) - 1, asked.shadows, run.recipe.seed)
    sure, explained = [], []
    for shadow in shadows.trained(run, inside, label):
        sure.append(asking.sureness(shadow.model, questions))
        if label is not None:
            explained.append(asking.features(asking.explained(shadow, label, questions)))
    inside = inside[:, users - 1]
    said = {"model": _model(torch.stack(sure), inside)}
    if explained:
        said["explanations"] = _explanations(torch.stack(explained), inside)
    claimed = _claimed(run)
    delta = claimed["delta"] if claimed else DELTA
    told: dict[str, Any] = {
        "asked": {**asdict(asked), "explainer": label, "users": len(users)},
        "trained_on": (len(run.data.users) - 1) // 2,
        "epsilon": {
            "claimed": claimed,
            "delta": delta,
            "confidence": CONFIDENCE,
        },
        "events": _events(run, label, users),
    }
    for of, attacks in said.items():
        told[of] = {
            name: _outcome(values, inside, delta, run.recipe.seed)
            for name, values in attacks.items()
        }
    if label is not None:
        rows = run.store.table(f"explanations/{label}.parquet")
        told["reconstruction"] = reconstruction(run.data, rows, run.recipe.seed)
    run.store.write_table(ROWS, _rows(run, users, inside, said))
    run.store.write_json(AUDIT, told)


def _claimed(run: Run) -> dict[str, Any] | None:
    """What training claims: of mechanisms that state an epsilon, the first, of users if any is."""
    files = [name for name in run.store.writes("train") if name.startswith(CLAIMS)]
    stated = [told for told in map(run.store.json, files) if told["epsilon"] is not None]
    return min(stated, key=lambda told: told["level"] != "user", default=None)


def _drawn(run: Run, count: int) -> Tensor:
    """(U,) the users who are asked about, in ascending order."""
    rng = np.random.default_rng(run.recipe.seed)  # shadows' halves are drawn by torch, by this seed
    order = torch.from_numpy(rng.permutation(len(run.data.users) - 1))
    return 1 + order[:count].sort().values


def _model(sure: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """What each attack on the model says, (K, U)."""
    online, offline = ratios(sure, inside)
    pooled = discriminant(sure[..., None], inside)
    return {"threshold": sure, "lira": online, "lira_offline": offline, "lira_pooled": pooled}


def _explanations(features: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """What each attack on explanations says, (K, U), of their features (K, U, M)."""
    online, offline = ratios(features[..., 0], inside)
    return {
        "threshold": features[..., 0],
        "lira": online,
        "lira_offline": offline,
        "lira_pooled": discriminant(features, inside),
    }


def _outcome(said: Tensor, inside: Tensor, delta: float, seed: int) -> dict[str, Any]:
    values, true = said.numpy(), inside.numpy()
    return {**outcome(values, true, seed), "epsilon": lower_bound(values, true, delta, seed)}


def _events(run: Run, label: str | None, users: Tensor) -> dict[str, Any]:
    """The AUC of attacks on the run's own model, and on its explanations, by events."""
    found = {"model": events.leakage(run.model, run.data, users)}
    if label is not None:
        found["explanations"] = events.leakage_explanation(run, ready(run, label), users)
    return found


def _rows(
    run: Run, users: Tensor, inside: Tensor, said: dict[str, dict[str, Tensor]]
) -> pl.DataFrame:
    """A row a shadow and user: whether they are in it, and what each attack says."""
    count = len(inside)
    names = [run.data.users.ids[user] for user in users.tolist()]
    columns = {
        f"{of}_{name}": values.flatten().numpy()
        for of, attacks in said.items()
        for name, values in attacks.items()
    }
    return pl.DataFrame(
        {
            "shadow": np.repeat(np.arange(1, count + 1), len(users)),
            "user": names * count,
            "member": inside.flatten().numpy(),
            **columns,
        }
    )

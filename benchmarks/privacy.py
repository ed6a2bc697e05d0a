"""What does privacy cost, what does it give, and does an attack say the same?

The recipe `private`, films with user-level DP-SGD and a frozen encoder, is trained at epsilon 1, 2,
4 and 8, and without the mechanism (inf); beside it stand popularity and `video`, the best recipe
without privacy. Of each:

    NDCG@10     of all test users, the whole catalogue ranked, with its 95 % bootstrap interval, and
                the paired gap to popularity of the same users with its own; where a budget is
                trained several times, from other seeds, users' means over the trainings
    fidelity    of two explainers, of what the model recommends first: deletion and insertion, in
                logits, and CDCG, in ranks, which models of other logits can be compared by; with
                the paired gap to an explanation drawn at random
    agreement   Spearman's correlation, over a row's features, of its explanations with those that
                the model without privacy has of the same recommendations; as it is between two
                models without privacy that began elsewhere, which is what training alone does
    audit       membership by shadow models, of some budgets: the AUC of attacks on the model and on
                its explanations, and the epsilon that they show at least, beside the claimed one

Then, how long a step of DP-SGD takes beside one without, of the same model and batch, taking turns;
whether the audit tells a model that learned by heart from one that saw nobody; a model that clients
train (`federated`) beside one trained where all data are; and models of events that were randomised
before they were stored (`local_dp`).

    python benchmarks/privacy.py [--full]

The short form is of tiny worlds and says nothing of quality. Raw rows are in results/privacy.csv: a
row for each training, point, measure, attack and timed turn, written as they are found; of users,
in results/privacy.parquet. What was trained, shadows too, is kept in the user's cache and not done
again, so that a benchmark that was stopped goes on; empty its folder `privacy` to train anew. The
noise is the operating system's, so that another training gives other figures whatever the seed.

Ends with JSON: ndcg10, by epsilon and for popularity; step_time_ratio, DP-SGD by user over plain,
of the private recipe's model; federated_ndcg_ratio, FedAvg over centralised; attack_auc_memorising
and attack_auc_unseen, of the controls' models, and attack_auc_explanations, of the explanations of
the one that learned by heart, all by pooled LiRA.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from attacks import attacked, auc
from budgets import (
    CEILING,
    FLOOR,
    FULL,
    INF,
    PRIVATE,
    SHORT,
    Form,
    ceiling,
    central,
    controls,
    federated,
    private,
    ranking,
    reported,
    whole,
)
from machine import arguments, compare, finish, header, keep, tell_table, tell_times
from platformdirs import user_cache_path
from steps import PLAIN, mechanism, paces
from worth import POPULARITY, USERS, between, by_user, drift, fidelity, gains, quality

from xrec.audit.telling import ATTACKS
from xrec.errors import XrecError
from xrec.files import written
from xrec.recipe import Recipe
from xrec.runs.run import Run
from xrec_plugins.privacy.units import LEVELS

PACKAGES = (
    *("xrec", "torch", "opacus", "dp-accounting", "flwr", "lightning", "transformers", "polars"),
    "numpy",
)
TOLD = "privacy/dp_sgd.json"
COSTS = ("spent", "steps", "units", "sample_rate", "noise_multiplier")
RANKS = ("model", "NDCG@10 [95 %]", "gap, paired [95 %]", "each training", "epsilon spent")
SAID = ("model", "explainer", "measure", "better", "mean [95 %]", "gap to random, paired [95 %]")
ALIKE = ("model", "explainer", "rank correlation [95 %]")
SHOWN = ("deletion", "insertion", "cdcg")  # of the measures, those that are printed
LEAKS = ("model", "of", "attack", "AUC [95 %]", "found at 1 %", "epsilon at least", "claimed")


@dataclass
class Found:
    """The raw rows, of what was measured and of users, written whenever some come."""

    out: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    users: list[pl.DataFrame] = field(default_factory=list)

    def add(self, part: str, rows: Sequence[Mapping[str, Any]], **about: Any) -> None:
        """Keep rows of a part of the benchmark."""
        self.rows += [{"part": part, **about, **row} for row in rows]
        keep(self.out / "privacy.csv", self.rows)

    def add_users(self, model: str, frames: Sequence[pl.DataFrame]) -> None:
        """Keep what was measured of the users of a model."""
        self.users += [frame.select(pl.lit(model).alias("model"), *USERS) for frame in frames]
        with written(self.out / "privacy.parquet") as partial:
            pl.concat(self.users).write_parquet(partial, compression="zstd", compression_level=19)

    def of(self, part: str) -> list[dict[str, Any]]:
        """The rows of a part."""
        return [row for row in self.rows if row["part"] == part]


def main() -> None:
    """Train, measure and tell, a part after another."""
    given = arguments("What does privacy cost, and what does it give?")
    form = FULL if given.full else SHORT
    times = {name(epsilon): count for epsilon, count in form.trainings.items()}
    settings = {
        "form": f"{'full' if given.full else 'short'}: {form}",
        "recipe": dict(private(form, 8.0, 0).resolved),
        "seed": "0, and of further trainings 1, 2 …; the noise of privacy has none",
        "threads": given.threads,
        "warm-up": f"{form.warm_up} turns of steps",
        "repeats": f"{form.turns} turns of steps; trainings: {times}",
        "audits": f"of {', '.join(map(name, form.audited))}: {form.shadows} shadows, asked about "
        f"{form.asked} users at most; of the controls: {form.watched} shadows",
    }
    header(PACKAGES, settings)
    out, found = user_cache_path("xrec") / "privacy", Found(given.out)
    try:
        figures = measured(form, out, found)
    except XrecError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    finish(given.out / "privacy.csv", found.rows, figures)


def measured(form: Form, out: Path, found: Found) -> dict[str, Any]:
    """All parts, what is quoted of them last; audits of budgets, which take longest, end it."""
    runs = {
        epsilon: [
            training(private(form, epsilon, seed), name(epsilon), out, found)
            for seed in range(count)
        ]
        for epsilon, count in form.trainings.items()
    }
    best = training(ceiling(form), CEILING, out, found)
    figures: dict[str, Any] = {"ndcg10": ranks(runs, best, found)}
    explanations(runs, best, form, found)
    figures["step_time_ratio"] = step_times(runs[8.0][0], best, form, found)
    figures |= watched(form, out, found)
    figures["federated_ndcg_ratio"] = elsewhere(form, out, found)
    for epsilon in form.audited:
        found.add(
            "audit", attacked(runs[epsilon][0], form.shadows, form.asked), model=name(epsilon)
        )
    tell_leaks(found, list(map(name, form.audited)))
    return figures


def name(epsilon: float) -> str:
    """What a model of a budget is called."""
    return f"epsilon {epsilon:g}"


def training(recipe: Recipe, model: str, out: Path, found: Found) -> Run:
    """The run of a recipe, of which is kept how it ranks beside popularity, and what it cost."""
    run = whole(recipe, out)
    row = {**quality(gains([run]), gains([run], POPULARITY)), **spent(run)}
    found.add("training", [row], model=model)
    return run


def ranks(runs: Mapping[float, Sequence[Run]], best: Run, found: Found) -> dict[str, float]:
    """How the models rank beside popularity; returns NDCG@10 by epsilon, and of popularity."""
    first = runs[INF][0]
    floor = gains([first], POPULARITY)
    sides = {name(epsilon): (each, None) for epsilon, each in runs.items()}
    sides |= {POPULARITY: ([first], POPULARITY), CEILING: ([best], None)}
    table = []
    for model, (own, other) in sides.items():
        mean = gains(own, other)
        point = quality(mean, floor)
        found.add("point", [{**point, "trainings": len(own)}], model=model)
        found.add_users(model, [by_user("ndcg@10", mean["user"], mean["value"].to_numpy())])
        each = [row for row in found.of("training") if row["model"] == model]
        every = ", ".join(f"{row['ndcg10']:.4f}" for row in each) or "–"
        cost = f"{each[0]['spent']:.2f}" if each and "spent" in each[0] else "–"
        table.append((model, between(point, "ndcg10"), between(point, "gap"), every, cost))
    tell_table("How it ranks, beside popularity", RANKS, table)
    said = {row["model"].removeprefix("epsilon "): row["ndcg10"] for row in found.of("point")}
    return {model: round(value, 4) for model, value in said.items() if model != CEILING}


def spent(run: Run) -> dict[str, Any]:
    """What a training cost, of epsilon where it was private."""
    record = run.store.record("train")
    assert record is not None, "it was trained"
    costs = {"seed": run.recipe.seed, "seconds": record["seconds"]}
    told = run.store.json(TOLD) if TOLD in record["writes"] else {}
    return costs | {key: told[key] for key in COSTS if key in told}


def explanations(runs: Mapping[float, Sequence[Run]], best: Run, form: Form, found: Found) -> None:
    """How faithfully the models are explained, and how alike to the one without privacy."""
    models = {name(epsilon): each[0] for epsilon, each in runs.items()} | {CEILING: best}
    for model, run in models.items():
        rows, users = fidelity(run)
        found.add("fidelity", rows, model=model)
        found.add_users(model, users)
    plain, *again = runs[INF]
    others = {  # the ceiling reads other features, which cannot be compared
        model: run for model, run in models.items() if run not in (plain, best)
    }
    others |= {f"{name(INF)}, seed {run.recipe.seed}": run for run in again}
    rows, users_of = drift(plain, others, form.explained)
    found.add("agreement", rows)
    for model, frames in users_of.items():
        found.add_users(model, frames)
    tell_table(
        "How faithfully it is explained",
        SAID,
        [
            (
                *(row[key] for key in ("model", "explainer", "measure", "better")),
                between(row, "value", 3),
                between(row, "gap", 3),
            )
            for row in found.of("fidelity")
            if row["explainer"] != FLOOR and row["measure"] in SHOWN
        ],
    )
    tell_table(
        "How alike the model without privacy explains what that one recommends",
        ALIKE,
        [(row["model"], row["explainer"], between(row, "rank", 3)) for row in rows],
    )


def step_times(private: Run, best: Run, form: Form, found: Found) -> float:
    """Time the steps of two models; returns the ratio, by user, of the private recipe's."""
    ratios = {}
    for model, run in ((PRIVATE, private), (CEILING, best)):
        rows = paces(run, mechanism(private), form)
        found.add("turn", rows, model=model)
        print(f"\nA step of the model of {model}, {rows[0]['windows']} windows in the first batch")
        tell_times(rows, (PLAIN, *LEVELS))
        ratios[model] = {level: compare(rows, level, PLAIN) for level in LEVELS}
    return round(ratios[PRIVATE]["user"], 3)


def elsewhere(form: Form, out: Path, found: Found) -> float:
    """Clients, and randomised events, beside all data as they are; returns FedAvg's ratio."""
    middle = ranking(central(form), out)
    floor = gains([middle])
    sides = {"centralised": central(form), **federated(form)}
    sides |= {f"local_dp, {name(epsilon)}": each for epsilon, each in reported(form).items()}
    table = []
    for model, recipe in sides.items():
        run = ranking(recipe, out)
        mine = gains([run])
        row: dict[str, Any] = {**quality(mine, floor), **spent(run)}
        row["ratio"] = row["ndcg10"] / float(floor["value"].mean())
        found.add("elsewhere", [row], model=model)
        found.add_users(model, [by_user("ndcg@10", mine["user"], mine["value"].to_numpy())])
        table.append((model, between(row, "ndcg10"), between(row, "gap"), f"{row['ratio']:.3f}"))
    popular = quality(gains([middle], POPULARITY), floor)
    found.add("elsewhere", [popular], model=POPULARITY)
    table.append((POPULARITY, between(popular, "ndcg10"), between(popular, "gap"), "–"))
    head = ("model", "NDCG@10 [95 %]", "gap, paired [95 %]", "ratio")
    tell_table("Where the data are, beside all of them in one place", head, table)
    return next(round(row["ratio"], 4) for row in found.of("elsewhere") if row["model"] == "fedavg")


def watched(form: Form, out: Path, found: Found) -> dict[str, float]:
    """Audit the controls; returns what is quoted of them."""
    for model, recipe in controls(form).items():
        rows = attacked(whole(recipe, out), form.watched, form.asked)
        found.add("audit", rows, model=model)
    tell_leaks(found, list(controls(form)))
    rows = found.of("audit")
    return {
        "attack_auc_memorising": round(auc(rows, "memorising", "model"), 3),
        "attack_auc_unseen": round(auc(rows, "unseen", "model"), 3),
        "attack_auc_explanations": round(auc(rows, "memorising", "explanations"), 3),
    }


def tell_leaks(found: Found, models: Sequence[str]) -> None:
    """Print what attacks on some models found."""
    own = [row for row in found.of("audit") if row["model"] in models and row["attack"] in ATTACKS]
    tell_table(
        "Whether an attack tells who was in training",
        LEAKS,
        [
            (
                *(row["model"], row["of"], ATTACKS[row["attack"]], between(row, "auc", 3)),
                "–" if row["found at 1 %"] is None else f"{row['found at 1 %']:.3f}",
                f"{row['epsilon at least']:.2f}",
                "–" if row["claimed"] is None else f"{row['claimed']:g}",
            )
            for row in own
        ],
    )


if __name__ == "__main__":
    main()

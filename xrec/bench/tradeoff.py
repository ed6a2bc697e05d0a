"""The grid: every variant of a model by every explainer, and what each is worth there.

All variants are asked why they would recommend what the model as trained recommends, so that their
explanations are of the same. Each cell is done once, so that a grid goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from lightning import seed_everything

from xrec import __version__
from xrec.audit.events import leakage
from xrec.bench.about import about
from xrec.bench.agreement import agreement
from xrec.bench.cells import Cell, Cells
from xrec.bench.plan import measures
from xrec.bench.report import write_report
from xrec.bench.trained import Variant
from xrec.bench.variants import BASE, variants
from xrec.bench.weighing import weighed
from xrec.compress.state import size
from xrec.errors import RecipeError, XrecError
from xrec.explain.explainer import Choosing
from xrec.explain.explanation import Explanation
from xrec.files import written
from xrec.models.quality import CUTOFF
from xrec.recipe import Recipe
from xrec.runs import explanations, pipeline
from xrec.runs.run import Tell
from xrec.runs.store import Store, key_of

TABLE, ROWS, SUMMARY = "tradeoff.parquet", "tradeoff-rows.parquet", "tradeoff.json"
QUALITY = f"ndcg@{CUTOFF}"
#: Columns of the table before the measures, and after them.
BEFORE = {"variant": pl.String, "explainer": pl.String, QUALITY: pl.Float64}
AFTER = {
    "agreement_rank": pl.Float64,
    "agreement_top": pl.Float64,
    "p50": pl.Float64,
    "peak_bytes": pl.Int64,
    "model_bytes": pl.Int64,
    "leakage": pl.Float64,
    "leakage_explanation": pl.Float64,
    "fit_seconds": pl.Float64,
    "said": pl.String,
}
ABOUT_USER = ("user", "item", "events", "popularity")


def tradeoff(recipe: Recipe, out: Path | str = "runs", tell: Tell = lambda text: None) -> Path:
    """Carry out a recipe's grid, going on where it was stopped; returns its folder.

    The folder is `out`/<name>/tradeoff-<digest>/, with tradeoff.parquet, a row a cell,
    tradeoff-rows.parquet, a row a user of a cell, and tradeoff.json, what they were made with. Its
    digest is that of the model as trained: variants that come later are added to it. Variants are
    trained as `xrec run` trains them, in folders of their own. Explainers that explain by others
    are left out.

    A cell that fails, as an explainer cannot explain a variant or a variant cannot be trained, says
    why and holds up no other. Raises XrecError: the recipe is wrong, or the model as trained cannot
    be trained.
    """
    if not recipe.explain:
        raise RecipeError("bench: list explainers under explain")
    recipes = variants(recipe.seeded(recipe.bench.seeds[0]), tell)
    key = key_of(recipes[BASE].digest(), recipe.bench.users, recipe.bench.operators, __version__)
    store = Store(Path(out) / recipe.name / f"tradeoff-{key[:10]}")
    with store.alone():
        store.begin(recipe.resolved)
        Grid(recipes, store, tell).carry_out(Path(out))
    _tell_benchmarks(store.folder)
    return store.folder


def _tell_benchmarks(folder: Path) -> None:
    """Write the reports of benchmarks of the same model anew, which show the grid."""
    model = json.loads((folder / SUMMARY).read_text())["about"]["model"]
    for told in folder.parent.glob("bench-*/bench.json"):
        if json.loads(told.read_text())["about"].get("model") == model:
            write_report(told.parent)


class Grid:
    """The work of one grid, in a folder of its own."""

    def __init__(self, recipes: dict[str, Recipe], store: Store, tell: Tell) -> None:
        self.recipes, self.store, self.tell = recipes, store, tell
        self.trained: dict[str, Variant] = {}
        self.failed: dict[str, str] = {}  # why they could not be trained
        listed = recipes[BASE].explain
        self.labels = [each.label for each in listed if not isinstance(each.make(), Choosing)]

    def carry_out(self, out: Path) -> None:
        """Train all variants, do all cells, and gather what was found."""
        for at, name in enumerate(self.recipes, start=1):
            self.tell(f"variant {at}/{len(self.recipes)}  {name}")
            self._train(name, out)
        cells = [cell for name in self.recipes for cell in self._cells(name)]
        Cells(self.store, self.tell).do(cells)
        self._gather()

    def _train(self, name: str, out: Path) -> None:
        recipe, base = self.recipes[name], self.trained.get(BASE)
        try:
            run = pipeline.trained(recipe, out, lambda text: self.tell(f"  {text}"))
        except XrecError as error:
            if base is None:
                raise
            self.failed[name] = str(error)
            self.tell(f"  failed: {error}")
        else:
            self.trained[name] = Variant(name, recipe, run.folder, base)

    # Cells

    def _cells(self, name: str) -> Iterator[Cell]:
        """What is the same for all explainers, and each of them; or why there is nothing.

        A variant that could not be trained is tried again next time.
        """
        if name in self.failed:
            follows: tuple[Any, ...] = (said := {"said": self.failed[name]},)
            yield Cell(name, "model", follows, partial(self._write, name, "", said))
            for label in self.labels:
                work = partial(self._write, name, label, said)
                yield Cell(f"{name}.{label}", label, follows, work)
            return
        variant = self.trained[name]
        yield Cell(name, "model", variant.follows, partial(self._measure, variant))
        for each in variant.recipe.explain:
            if each.label in self.labels:
                follows = (*variant.follows, each.name, each.options)
                work = partial(self._weigh, variant, each.label)
                yield Cell(f"{name}.{each.label}", each.label, follows, work)

    def _measure(self, variant: Variant) -> None:
        """Quality, size and leakage of a variant; those before it are let go."""
        for other in self.trained.values():
            if other is not variant and other.name != BASE:
                other.close()
        run = variant.run
        ranking = run.store.json("quality.json")["ranking"][run.recipe.model.name]
        found = {
            QUALITY: ranking[QUALITY]["mean"],
            "model_bytes": size(run.model)["bytes"],
            "leakage": leakage(run.model, run.data, torch.arange(1, len(run.data.users))),
        }
        self._write(variant.name, "", found)

    def _weigh(self, variant: Variant, label: str) -> None:
        """One cell: explanations, a row of measures for each user, and figures."""
        seed_everything(variant.recipe.seed, verbose=False)
        try:
            found = weighed(variant, label)
        except XrecError as error:
            self._write(variant.name, label, {"said": str(error)})
            return
        explanations.write(self.store, f"{variant.name}/{label}", found.told, variant.subject.table)
        reference = found.told if variant.base is None else self._reference(variant, label)
        alike = agreement(found.told, reference) if reference else {}
        columns = {name: pl.Series(each.numpy()).fill_nan(None) for name, each in alike.items()}
        self.store.write_table(_rows(variant.name, label), found.rows.with_columns(**columns))
        self._write(variant.name, label, found.figures)

    def _reference(self, variant: Variant, label: str) -> Explanation | None:
        """What the explainer said of the model as trained, if it could explain it."""
        assert variant.base is not None
        if self._read(BASE, label).get("said"):
            return None
        inputs = variant.base.subject.inputs
        return explanations.read(self.store, f"{BASE}/{label}", inputs).rows(variant.known)

    def _write(self, name: str, label: str, told: dict[str, Any]) -> None:
        self.store.write_json(_figures(name, label), told)

    def _read(self, name: str, label: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.store.json(_figures(name, label))
        return found

    # The whole

    def _gather(self) -> None:
        """Lay all cells out as one table, and all their rows as another."""
        table, every = [], []
        for name in self.recipes:
            for label in self.labels:
                place, cell = {"variant": name, "explainer": label}, self._read(name, label)
                line = {**place, **self._read(name), **cell}
                if "said" not in cell:
                    rows = self.store.table(_rows(name, label))
                    line |= rows.drop(ABOUT_USER).mean().row(0, named=True)
                    every.append(rows.select(*(pl.lit(v).alias(k) for k, v in place.items()), "*"))
                table.append(line)
        together = pl.concat(every, how="diagonal") if every else pl.DataFrame()
        base = self.recipes[BASE]
        taken = measures(self.trained[BASE].run.made["fidelity"], base.bench.operators)
        better = {name: way for name, way in taken.items() if name in together.columns}
        schema = {**BEFORE, **dict.fromkeys(better, pl.Float64), **AFTER}
        told = about(self.trained[BASE].run)
        for name, frame in ((TABLE, pl.DataFrame(table, schema)), (ROWS, together)):
            with written(self.store.folder / name) as partial_file:
                frame.write_parquet(partial_file, metadata={"xrec": json.dumps(told)})
        summary = {"recipe": base.name, "about": told, "better": better}
        with written(self.store.folder / SUMMARY) as partial_file:
            text = json.dumps({**summary, "variants": self._changes()}, indent=1, default=str)
            partial_file.write_text(text, encoding="utf-8")

    def _changes(self) -> dict[str, dict[str, Any]]:
        """What each variant has other than the recipe of the model as trained."""
        before = self.recipes[BASE].resolved
        return {
            name: {key: value for key, value in each.resolved.items() if value != before.get(key)}
            for name, each in self.recipes.items()
        }


def _figures(name: str, label: str) -> str:
    return f"cells/{name}{'.' * bool(label)}{label}.json"


def _rows(name: str, label: str) -> str:
    return f"cells/{name}.{label}.parquet"

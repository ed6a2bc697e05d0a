"""What a benchmark tries: each explainer, by each budget, beside floors and a ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xrec.errors import RecipeError, nearest
from xrec.explain.explainer import Choosing, Explainer
from xrec.fidelity.metric import Metric, plays
from xrec.recipe import Choice, Recipe
from xrec.report.words import standing

#: The explainers that are always compared, whatever the recipe lists: rules too simple to trust.
FLOORS = ("random", "recency", "popularity", "item_cosine", "leave_one_out")
EXACT, NEARLY = "exact_shapley", "nearly_exact"
ENUMERABLE = 16  # features up to which all coalitions are asked about
PER_FEATURE = 20  # evaluations of what is nearly exact, where there are more


@dataclass(frozen=True)
class Setting:
    """An explainer as it is tried: what it is called, how it is made, and its budget.

    budget: 0 where it has none that could be chosen. standing: as explainers declare theirs.
    """

    choice: Choice
    budget: int = 0
    field: str = ""
    standing: str = ""

    @property
    def label(self) -> str:
        """The explainer's name in the benchmark."""
        return self.choice.label

    @property
    def name(self) -> str:
        """The budget in words: evaluations=128; nothing where there is none."""
        return f"{self.field}={self.budget}" if self.budget else ""

    @property
    def clock(self) -> str:
        """The name of the cell that times it."""
        return f"latency.{self.label}.{self.name or 'own'}"

    def make(self) -> Explainer:
        """The explainer. Raises PluginError or RecipeError."""
        options = {**self.choice.options, **({self.field: self.budget} if self.budget else {})}
        made: Explainer = replace(self.choice, options=options).make()
        return made


@dataclass(frozen=True)
class Explained:
    """An explainer and all settings that it is tried with, the smallest budget first."""

    label: str
    settings: tuple[Setting, ...]

    @property
    def own(self) -> Setting:
        """The setting of the largest budget."""
        return self.settings[-1]


def planned(recipe: Recipe, features: int) -> list[Explained]:
    """The recipe's explainers, and the floors and the ceiling that it does not list.

    features: the most that a recommendation has. An explainer that explains by others is left out.
    """
    listed = [choice for choice in recipe.explain if not isinstance(choice.make(), Choosing)]
    names = {choice.name for choice in listed}
    floors = [Choice("explainer", name, {}, "bench") for name in FLOORS if name not in names]
    found = [tried(choice, recipe.bench.budgets) for choice in (*listed, *floors)]
    return [*found, *_ceiling(names, features)]


def tried(choice: Choice, budgets: Sequence[float]) -> Explained:
    """An explainer with each budget that it can work with, its own times each of `budgets`."""
    made = choice.make()
    kind, name = standing(made), getattr(made, "budget", "")
    own = getattr(made, name) if name else 0
    if not own:
        return Explained(choice.label, (Setting(choice, standing=kind),))
    each = sorted({max(1, round(own * share)) for share in budgets})
    settings = [Setting(choice, budget, name, kind) for budget in each]
    able = tuple(setting for setting in settings if _able(setting))
    return Explained(choice.label, able or (Setting(choice, own, name, kind),))


def _able(setting: Setting) -> bool:
    """Whether an explainer can work with so small a budget."""
    try:
        setting.make()
    except RecipeError:
        return False
    return True


def _ceiling(names: set[str], features: int) -> Iterator[Explained]:
    """Exact Shapley values where they can be had, else nearly exact ones."""
    if features <= ENUMERABLE:
        if EXACT not in names:
            choice = Choice("explainer", EXACT, {}, "bench")
            yield Explained(EXACT, (Setting(choice, standing="ceiling"),))
        return
    options = {"evaluations": PER_FEATURE * features, "error": 0.01, "seed": 104_729}
    choice = Choice("explainer", "fast_shapley", options, "bench", NEARLY)
    yield Explained(NEARLY, (Setting(choice, standing="ceiling"),))


def measures(metrics: Sequence[Metric], operators: Sequence[str]) -> dict[str, str]:
    """The name of every measure of a benchmark, and which way it is better."""
    found: dict[str, str] = {}
    for metric in metrics:
        own: Mapping[str, str] = metric.measures
        for name, way in own.items():
            for told in [f"{name}@{each}" for each in operators] if plays(metric) else [name]:
                found[told] = way
    return found


def selecting(recipe: Recipe, metrics: Sequence[Metric]) -> Metric:
    """The metric by which settings are chosen. Raises RecipeError where none takes the measure."""
    for metric in metrics:
        if recipe.bench.select in measures([metric], recipe.bench.operators):
            return metric
    known = measures(metrics, recipe.bench.operators)
    raise RecipeError(
        f"bench.select: no metric under fidelity takes '{recipe.bench.select}': "
        f"{nearest(recipe.bench.select, known)}"
    )


@dataclass(frozen=True)
class Judgement:
    """What is judged: an explainer's setting by one of its draws, on a model's users of a split.

    again: by the metrics that ask the explainer again, else by the others.
    """

    model: int
    split: str
    setting: Setting
    draw: int = 0
    again: bool = False

    @property
    def name(self) -> str:
        """Its name as a cell, and as the file of what was found."""
        words = (self.model, self.split, self.setting.label, self.setting.name or "own", self.draw)
        return ".".join(map(str, words)) + (".again" if self.again else "")

"""The two small tables that sum a run up, as text: for the end of `xrec run` and for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xrec.recipe import Recipe
    from xrec.runs.store import Store

Show = Callable[[dict[str, Any] | None], str]
Rows = list[tuple[str, ...]]
ARROWS = {"higher": "↑", "lower": "↓"}
COSTS = ("p50 ms", "p95 ms", "first ms", "rows/s", "forward", "backward")
SEEN = 0.0005  # the least that three decimals show


def quality(store: Store, show: Show) -> tuple[tuple[str, ...], Rows]:
    """Ranking quality of the model and the baselines; `show` is `interval` or `mean`."""
    table = store.json("quality.json")["ranking"]
    names = list(next(iter(table.values())))
    return ("model", *names), [
        (model, *(show(measured[name]) for name in names)) for model, measured in table.items()
    ]


def fidelity(store: Store, recipe: Recipe, show: Show) -> tuple[tuple[str, ...], Rows]:
    """Fidelity and costs (`COSTS`) of each explainer; an arrow says which way is better."""
    found = {each.label: store.json(f"fidelity/{each.label}.json") for each in recipe.explain}
    if not found:
        return (), []
    measures = {name: way for each in found.values() for name, way in each["better"].items()}
    heads = [f"{name} {ARROWS[way]}" for name, way in measures.items()]
    rows = []
    for name, each in found.items():
        cells = [show(each["measures"].get(measure)) for measure in measures]
        rows.append((name, *cells, *_costs(each["latency"])))
    return ("explainer", *heads, *COSTS), rows


def _costs(timed: dict[str, float]) -> Sequence[str]:
    return (
        milliseconds(timed["p50"]),
        milliseconds(timed["p95"]),
        milliseconds(timed["first"]),
        f"{timed['throughput']:,.0f}",
        f"{timed['forward']:,}",
        f"{timed['backward']:,}",
    )


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, with a decimal where there are few of them."""
    value = 1000 * seconds
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def mean(found: dict[str, Any] | None) -> str:
    """A mean alone; "–" where there is none."""
    return "–" if found is None or found["mean"] is None else _figure(found["mean"])


def interval(found: dict[str, Any] | None) -> str:
    """A mean, with half of its 95 % interval's width if that is wide enough to be seen."""
    if found is None or found["mean"] is None or found.get("low") is None:
        return mean(found)
    half = (found["high"] - found["low"]) / 2
    if half < SEEN:
        return mean(found)
    decimals = _decimals(found["mean"])
    return f"{_rounded(found['mean'], decimals)} ± {half:,.{decimals}f}"


def _figure(value: float) -> str:
    """Three decimals, fewer of a large number; what is above 0 is not said to be 0."""
    return "<0.001" if 0 < value < SEEN else _rounded(value, _decimals(value))


def _rounded(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0 makes -0.0 plain 0


def _decimals(value: float) -> int:
    return 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1

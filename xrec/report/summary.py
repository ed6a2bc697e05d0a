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


def quality(store: Store, show: Show) -> tuple[tuple[str, ...], Rows]:
    """Ranking quality of the model and the baselines; `show` is `interval` or `mean`."""
    table = store.json("quality.json")["ranking"]
    names = list(next(iter(table.values())))
    return ("model", *names), [
        (model, *(show(measured[name]) for name in names)) for model, measured in table.items()
    ]


def fidelity(store: Store, recipe: Recipe, show: Show) -> tuple[tuple[str, ...], Rows]:
    """Fidelity and latency of each explainer; an arrow says which way is better."""
    found = {each.name: store.json(f"fidelity/{each.name}.json") for each in recipe.explain}
    if not found:
        return (), []
    measures = {name: way for each in found.values() for name, way in each["better"].items()}
    heads = [f"{name} {ARROWS[way]}" for name, way in measures.items()]
    head = ("explainer", *heads, "p50 ms", "p95 ms", "rows/s", "forward", "backward")
    rows = []
    for name, each in found.items():
        cells = [show(each["measures"].get(measure)) for measure in measures]
        rows.append((name, *cells, *_latency(each["latency"])))
    return head, rows


def _latency(timed: dict[str, float]) -> Sequence[str]:
    return (
        f"{1000 * timed['p50']:.1f}",
        f"{1000 * timed['p95']:.1f}",
        f"{timed['throughput']:.0f}",
        str(timed["forward"]),
        str(timed["backward"]),
    )


def mean(found: dict[str, Any] | None) -> str:
    """A mean alone."""
    return "–" if found is None or found["mean"] is None else f"{found['mean']:.3f}"


def interval(found: dict[str, Any] | None) -> str:
    """A mean, with half of its 95 % interval's width if it has one; "–" where there is none."""
    if found is None or found.get("low") is None:
        return mean(found)
    return f"{found['mean']:.3f} ± {(found['high'] - found['low']) / 2:.3f}"

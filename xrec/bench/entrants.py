"""The explainers that enter a benchmark: taught, tried, and ready to explain each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from xrec.bench.cells import Cell
from xrec.bench.plan import Explained, Setting
from xrec.errors import XrecError
from xrec.explain.explainer import Explainer, learns
from xrec.fidelity.retelling import reseeded
from xrec.runs.explaining import asking
from xrec.runs.run import Run
from xrec.runs.store import Store
from xrec.runs.subject import Subject
from xrec.testing.gates import gates


class Entrants:
    """Explainers with all their settings, and the models that they explain, by their seeds."""

    def __init__(
        self, explained: Sequence[Explained], runs: Mapping[int, Run], store: Store
    ) -> None:
        self.explained, self.runs, self.store = explained, runs, store
        self._ready: dict[tuple[int, str, str], Any] = {}

    def taught(self) -> Iterator[Cell]:
        """A cell for each explainer that learns, and each model that it learns of."""
        for seed, run in self.runs.items():
            weights = run.store.writes("train")
            for each in self.explained:
                if learns(each.own.make()):
                    name, work = f"fit.{seed}.{each.label}", partial(self._teach, seed, each.own)
                    yield Cell(name, f"fit {each.label}", (each.own, weights), work)

    def _teach(self, seed: int, setting: Setting) -> None:
        name, explainer, run = _learned(seed, setting), setting.make(), self.runs[seed]
        assert learns(explainer)
        try:
            figures = explainer.fit(run.model, run.data)
        except XrecError as error:
            self.store.write_json(f"{name}.json", {"said": str(error)})
            return
        self.store.write_tensors(f"{name}.safetensors", explainer.state())
        self.store.write_json(f"{name}.json", figures)

    def fitting(self, seed: int, setting: Setting) -> float | None:
        """The seconds that an explainer took to learn, where it had to."""
        record = self.store.record(f"fit.{seed}.{setting.label}")
        return record["seconds"] if record else None

    def ready(self, seed: int, setting: Setting, draw: int = 0) -> Explainer:
        """An explainer, fit to explain a model, by one of its draws.

        Raises XrecError where it could not learn of it.
        """
        key = (seed, setting.label, setting.name)
        if key not in self._ready:
            explainer, run = setting.make(), self.runs[seed]
            if learns(explainer):
                name = _learned(seed, setting)
                if said := self.store.json(f"{name}.json").get("said"):
                    raise XrecError(said)
                explainer.restore(self.store.tensors(f"{name}.safetensors"), run.model, run.data)
            self._ready[key] = explainer
        made: Explainer = self._ready[key]
        return reseeded(made, getattr(made, "seed", 0) + draw)

    def tried(self, seed: int, subject: Subject) -> Iterator[Cell]:
        """A cell for each explainer: whether it can explain a model, and which gates it passes."""
        weights = self.runs[seed].store.writes("train")
        for each in self.explained:
            work = partial(self._try, each, seed, subject)
            yield Cell(f"trial.{each.label}", "trial", (each, weights), work)

    def _try(self, each: Explained, seed: int, subject: Subject) -> None:
        said = {one.name: self._said(one, seed, subject) for one in each.settings}
        unable = {name: why for name, why in said.items() if why}
        found = {"said": said[each.own.name], "unable": unable}
        passed = {} if found["said"] else gates(each.own.make())
        self.store.write_json(f"trials/{each.label}.json", {**found, "gates": passed})

    def _said(self, setting: Setting, seed: int, subject: Subject) -> str | None:
        """Why a setting cannot explain the recommendations with the most features, if it cannot."""
        most = subject.inputs.players.sum(1).argsort(descending=True, stable=True)[:2]
        try:
            explainer, few = self.ready(seed, setting), subject.inputs.rows(most)
            asking(self.runs[seed])(explainer, subject.model, few, subject.target)
        except XrecError as error:
            return str(error)
        return None

    def trial(self, label: str) -> dict[str, Any]:
        """What the trial of an explainer found.

        said: why it cannot explain, if it cannot; unable: why settings of it cannot; gates.
        """
        found: dict[str, Any] = self.store.json(f"trials/{label}.json")
        return found

    def able(self) -> list[Explained]:
        """The explainers that can explain the model they were tried on, with settings that can."""
        found = []
        for each in self.explained:
            trial = self.trial(each.label)
            if not trial["said"]:
                able = tuple(one for one in each.settings if one.name not in trial["unable"])
                found.append(Explained(each.label, able))
        return found


def _learned(seed: int, setting: Setting) -> str:
    return f"explainers/{seed}.{setting.label}"

"""Plugins that are as good as installed, for variants to be made of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from types import ModuleType

import polars as pl
import pytest
import torch

from xrec import hookimpl, plugins
from xrec.bench.variants import KINDS
from xrec.errors import XrecError
from xrec_plugins.explainers.leave_one_out import LeaveOneOut


@dataclass(frozen=True)
class Coarse:
    """A compressor: weights in steps."""

    step: float = 0.05

    def compress(self, model, data, tell):
        for parameter in model.parameters():
            parameter.data = (parameter.data / self.step).round() * self.step
        return model


@dataclass(frozen=True)
class Broken:
    """A compressor that cannot work with this model."""

    def compress(self, model, data, tell):
        raise XrecError("compressor 'broken' cannot work with it: choose another")


@dataclass(frozen=True)
class Demanding:
    """A compressor without default options."""

    bits: int


@dataclass(frozen=True)
class Forgetful:
    """A mechanism that leaves out what every third user did."""

    every: int = 3

    @hookimpl
    def xrec_tables(self, tables):
        users = tables.interactions["user"].unique().sort().gather_every(self.every)
        gone = pl.col("user").is_in(users.implode())
        return replace(tables, interactions=tables.interactions.filter(~gone))


@dataclass(frozen=True)
class Picky:
    """An explainer of models that are not coarse."""

    def explain(self, model, inputs, target):
        weights = torch.cat([each.flatten() for each in model.parameters()])
        if torch.allclose(weights / Coarse.step, (weights / Coarse.step).round(), atol=1e-3):
            raise XrecError("explainer 'picky' cannot explain a coarse model")
        return LeaveOneOut().explain(model, inputs, target)


def offering(hook: str, name: str, factory: type) -> ModuleType:
    module = ModuleType(name)

    def offers() -> dict[str, type]:
        return {name: factory}

    offers.__name__ = hook
    setattr(module, hook, hookimpl(offers))
    return module


OFFERED = {
    "compressor": {"coarse": Coarse, "broken": Broken, "demanding": Demanding},
    "mechanism": {"forgetful": Forgetful},
    "explainer": {"picky": Picky},
}


def of_other_kinds() -> list[EntryPoint]:
    """Plugins that are installed, without those of which each would be a variant."""
    entries = plugins.entry_points(group=plugins.ENTRY_POINTS)  # once, as it takes long
    return [each for each in entries if each.name.partition(".")[0] not in KINDS.values()]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compressor and no mechanism is installed."""
    entries = of_other_kinds()
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """The plugins above, and all that are installed of other kinds."""
    entries = of_other_kinds()
    with pytest.MonkeyPatch.context() as patch:
        for kind, factories in OFFERED.items():
            for name, factory in factories.items():
                where = f"as_installed_{name}"
                entries.append(EntryPoint(f"{kind}.{name}", where, plugins.ENTRY_POINTS))
                patch.setitem(sys.modules, where, offering(plugins.KINDS[kind], name, factory))
        patch.setattr(plugins, "entry_points", lambda group: entries)
        yield

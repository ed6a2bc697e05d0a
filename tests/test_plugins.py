"""Finding and loading plugins, and calling their hooks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint
from types import ModuleType

import pytest

from xrec import hookimpl, plugins
from xrec.errors import PluginError


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch):
    """Declare plugins as an installed package would: declare({"explainer.x": module})."""

    def set_up(modules: dict[str, ModuleType | None]) -> None:
        entries = []
        for name, module in modules.items():
            where = f"declared_{name.replace('.', '_')}"
            entries.append(EntryPoint(name, where, plugins.ENTRY_POINTS))
            if module is not None:
                monkeypatch.setitem(sys.modules, where, module)
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries)

    return set_up


def module_with(**hooks: object) -> ModuleType:
    module = ModuleType("a plugin")
    vars(module).update(hooks)
    return module


@dataclass(frozen=True)
class Mine:
    """A factory."""

    strength: int = 1


def offers(mapping: dict) -> ModuleType:
    @hookimpl
    def xrec_explainers() -> dict:
        return mapping

    return module_with(xrec_explainers=xrec_explainers)


def test_a_factory_is_found_by_kind_and_name(declare) -> None:
    declare({"explainer.mine": offers({"mine": Mine})})
    assert plugins.factory("explainer", "mine") is Mine


def test_finding_a_plugin_reads_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing the metadata of a package for each of its plugins takes longer than all the rest."""
    read: list[str] = []
    for name in ("name", "version"):
        monkeypatch.setattr(Distribution, name, property(lambda self, name=name: read.append(name)))
    assert plugins.factory("explainer", "random")
    assert not read


def test_unknown_kind_and_name(declare) -> None:
    declare({"explainer.mine": offers({"mine": Mine})})
    with pytest.raises(PluginError, match="unknown kind of plugin 'explaner': did you mean"):
        plugins.listings("explaner")
    with pytest.raises(PluginError, match="unknown explainer 'mime': did you mean 'mine'"):
        plugins.factory("explainer", "mime")
    with pytest.raises(PluginError, match="unknown metric 'x': there is none to choose from"):
        plugins.factory("metric", "x")


@pytest.mark.parametrize("name", ["mine", "explaner.mine", "explainer."])
def test_an_entry_point_with_a_wrong_name(declare, name: str) -> None:
    declare({name: offers({})})
    with pytest.raises(PluginError, match=r"an entry point is called kind\.name"):
        plugins.listings()


@pytest.mark.parametrize("mapping", [{}, {"mine": lambda: 1}, {"other": Mine}])
def test_a_plugin_that_breaks_its_contract(declare, mapping: dict) -> None:
    declare({"explainer.mine": offers(mapping)})
    with pytest.raises(PluginError, match="must return a mapping in which 'mine' is a dataclass"):
        plugins.factory("explainer", "mine")


def test_a_module_that_is_not_there(declare) -> None:
    declare({"explainer.mine": None})
    with pytest.raises(PluginError, match="has no module declared_explainer_mine: reinstall it"):
        plugins.factory("explainer", "mine")


def test_two_packages_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = [EntryPoint("explainer.x", where, plugins.ENTRY_POINTS) for where in ("one", "two")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: twins)
    with pytest.raises(PluginError, match="explainer 'x' is offered by both"):
        plugins.listings()


def test_every_declared_first_party_plugin_loads() -> None:
    for listing in plugins.listings():
        if listing.package == "xrec":
            assert plugins.factory(listing.kind, listing.name)


class Adds:
    """Lifecycle plugin that appends its mark to a list of tables."""

    def __init__(self, mark: str | None) -> None:
        self.mark = mark

    @hookimpl
    def xrec_tables(self, tables):
        return None if self.mark is None else [*tables, self.mark]


def test_chain_calls_in_recipe_order_and_keeps_what_none_changed() -> None:
    manager = plugins.new_manager([Adds("first"), Adds(None), Adds("second")])
    assert plugins.chain(manager.hook.xrec_tables, [], recipe=None) == ["first", "second"]


def test_chain_without_implementers_is_the_value_itself() -> None:
    value = object()
    assert plugins.chain(plugins.new_manager().hook.xrec_tables, value, recipe=None) is value


def test_registering_a_plugin_reads_none_of_its_properties() -> None:
    class Lazy(Adds):
        @property
        def model(self):
            raise AssertionError("loaded before it was needed")

    assert plugins.new_manager([Lazy("x")]).hook.xrec_tables.get_hookimpls()

"""Finding plugins by entry point, and loading only those that are named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from types import SimpleNamespace
from typing import Any

import pluggy

from xrec import hooks
from xrec.errors import PluginError, nearest

ENTRY_POINTS = "xrec.plugins"

#: The kinds of plugin, each with the registration hook that offers it.
KINDS = {
    "dataset": "xrec_datasets",
    "encoder": "xrec_encoders",
    "model": "xrec_models",
    "explainer": "xrec_explainers",
    "compressor": "xrec_compressors",
    "mechanism": "xrec_mechanisms",
    "metric": "xrec_metrics",
    "influence": "xrec_influences",
    "tracker": "xrec_trackers",
    "section": "xrec_sections",
    "hook": "xrec_hooks",
}


@dataclass(frozen=True)
class Listing:
    """One installed plugin, as its package's metadata tells it; nothing of it is imported.

    package and version are read when they are asked for, as that takes long.
    """

    kind: str
    name: str
    entry: EntryPoint

    @property
    def package(self) -> str:
        """The package that declares it; "?" where none does."""
        return self.entry.dist.name if self.entry.dist else "?"

    @property
    def version(self) -> str:
        """The package's version; "?" likewise."""
        return self.entry.dist.version if self.entry.dist else "?"


def listings(kind: str | None = None) -> list[Listing]:
    """Every installed plugin, of one kind if asked, sorted by kind and name.

    Raises PluginError if `kind` is not one, or if two packages offer the same name.
    """
    if kind is not None and kind not in KINDS:
        raise PluginError(f"unknown kind of plugin '{kind}': {nearest(kind, KINDS)}")
    found: dict[tuple[str, str], Listing] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        listing = _listing(entry)
        if kind not in (None, listing.kind):
            continue
        twin = found.setdefault((listing.kind, listing.name), listing)
        if twin.entry.value != entry.value:
            raise PluginError(
                f"{listing.kind} '{listing.name}' is offered by both {twin.package} and "
                f"{listing.package}: uninstall one of them"
            )
    return [found[key] for key in sorted(found)]


def _listing(entry: EntryPoint) -> Listing:
    kind, _, name = entry.name.partition(".")
    listing = Listing(kind, name, entry)
    if kind not in KINDS or not name:
        raise PluginError(
            f"package {listing.package} declares the plugin '{entry.name}': "
            f"an entry point is called kind.name, with a kind of {', '.join(KINDS)}"
        )
    return listing


def factory(kind: str, name: str) -> type:
    """The dataclass whose fields are the options of the plugin `kind.name`, imported now.

    Raises PluginError if there is no such plugin, if it or a package it needs cannot be imported,
    or if what it registers is not a dataclass of that name.
    """
    known = {listing.name: listing for listing in listings(kind)}
    if name not in known:
        raise PluginError(f"unknown {kind} '{name}': {nearest(name, known)}")
    listing = known[name]
    module = _import(listing)
    manager = new_manager()
    manager.register(module)
    offered: dict[str, Any] = {}
    for mapping in getattr(manager.hook, KINDS[kind])():
        offered.update(mapping)
    if not is_dataclass(offered.get(name)):
        raise PluginError(
            f"{kind} '{name}' of package {listing.package}: the hook {KINDS[kind]} in "
            f"{listing.entry.module} must return a mapping in which '{name}' is a dataclass"
        )
    return offered[name]


def _import(listing: Listing) -> Any:
    try:
        return importlib.import_module(listing.entry.module)
    except ModuleNotFoundError as error:
        if error.name and listing.entry.module.startswith(error.name):
            raise PluginError(
                f"{listing.kind} '{listing.name}': package {listing.package} has no module "
                f"{error.name}: reinstall it"
            ) from error
        who = f"{listing.kind} '{listing.name}'"
        raise lacking(who, error, listing.package) from error
    except ImportError as error:
        raise PluginError(
            f"{listing.kind} '{listing.name}' of package {listing.package} cannot be imported: "
            f"{error}"
        ) from error


def lacking(
    who: str, error: ModuleNotFoundError, package: str = "xrec", extra: str = ""
) -> PluginError:
    """What to raise where `who`, a part of an installed package, lacks one that it imports.

    extra: the extra of `package` that brings it, where that is not called after what is imported.
    """
    missing = (error.name or "?").partition(".")[0]
    try:
        extras = metadata(package).get_all("Provides-Extra") or ()
    except PackageNotFoundError:  # a plugin that no installed package declares
        extras = ()
    wanted = extra or missing
    known = wanted.lower().replace("_", "-") in extras  # as metadata spell them
    install = f"{package}[{wanted}]" if known else missing
    return PluginError(f"{who} needs the package {missing}: pip install '{install}'")


def new_manager(objects: Iterable[object] = ()) -> pluggy.PluginManager:
    """A pluggy manager that calls the lifecycle hooks of `objects`, in their order."""
    manager = pluggy.PluginManager(hooks.GROUP)
    manager.add_hookspecs(sys.modules[hooks.__name__])
    for plugin in reversed(list(objects)):  # pluggy calls the last registered first
        # Only the hooks are shown to pluggy: it reads every attribute, and some load a model.
        names = [name for name in dir(type(plugin)) if name.startswith("xrec_")]
        if names:
            manager.register(SimpleNamespace(**{name: getattr(plugin, name) for name in names}))
    return manager


def chain(caller: pluggy.HookCaller, value: Any, **rest: Any) -> Any:
    """Call a hook whose first argument each plugin may replace; returns the last replacement."""
    implementations = caller.get_hookimpls()
    if not implementations:
        return value
    assert caller.spec is not None
    first = caller.spec.argnames[0]
    for implementation in reversed(implementations):
        given = {first: value, **rest}
        answer = implementation.function(*(given[name] for name in implementation.argnames))
        value = value if answer is None else answer
    return value

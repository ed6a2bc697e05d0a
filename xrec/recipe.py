"""What a run is asked to do: a YAML file with a typed schema, and overrides on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from xrec import plugins
from xrec.data.cleaning.finding import Step
from xrec.data.cleaning.steps import DEFAULT, STEPS
from xrec.data.tasks import CLICK, KNOWN, Task
from xrec.errors import RecipeError, nearest
from xrec.filling import fill, known_keys, one_line
from xrec.options import (
    AdaptOptions,
    BenchOptions,
    DataOptions,
    PretrainOptions,
    ProtocolOptions,
    ReportOptions,
    TrainOptions,
)
from xrec.tune.space import Range, TuneOptions


@dataclass(frozen=True)
class Choice:
    """A plugin that the recipe names, and the options it gives it.

    label: what the run calls it, its name unless the recipe says otherwise.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    key: str
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name)

    def make(self) -> Any:
        """The plugin's object. Raises PluginError or RecipeError (unknown plugin, bad option)."""
        return fill(plugins.factory(self.kind, self.name), self.options, self.key)


@dataclass(frozen=True)
class Compression(Choice):
    """A compressor, and the largest share of the quality that it may take."""

    max_quality_drop: float = 0.05


@dataclass(frozen=True)
class Recipe:
    """A validated recipe. `resolved` is the plain mapping it came from, overrides included."""

    name: str
    seed: int
    data: DataOptions
    dataset: Choice
    clean: tuple[Step, ...]
    encoder: Choice
    pretrain: PretrainOptions | None
    model: Choice
    tasks: tuple[Task, ...]
    train: TrainOptions
    adapt: AdaptOptions | None
    protocol: ProtocolOptions
    report: ReportOptions
    bench: BenchOptions
    hooks: tuple[Choice, ...]
    privacy: tuple[Choice, ...]
    compress: tuple[Compression, ...]
    track: tuple[Choice, ...]
    explain: tuple[Choice, ...]
    fidelity: tuple[Choice, ...]
    influence: tuple[Choice, ...]
    tune: TuneOptions | None
    resolved: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe file and apply overrides such as ``train.epochs=2``.

        Raises RecipeError: no such file, not YAML, an unknown key, a wrong type or value. Plugins
        are not loaded here: `check` does that.
        """
        path = Path(path)
        if not path.is_file():
            raise RecipeError(f"recipe {path}: there is no such file")
        try:
            config = OmegaConf.merge(OmegaConf.load(path), _dotlist(overrides))
            resolved = OmegaConf.to_container(config, resolve=True)
        except RecipeError:
            raise
        except Exception as error:  # yaml and OmegaConf raise many kinds, all about the text
            raise RecipeError(f"recipe {path}: cannot be read: {one_line(error)}") from error
        if not isinstance(resolved, dict):
            raise RecipeError(f"recipe {path}: it must be a mapping of keys such as 'data:'")
        return cls.of({str(key): value for key, value in resolved.items()})

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Recipe:
        """The recipe that a plain mapping describes. Raises RecipeError as `load` does."""
        known_keys(given, _KEYS, "")
        for key in ("name", "data", "model"):
            if key not in given:
                raise RecipeError(f"{key}: this key is missing from the recipe")
        if not isinstance(given["name"], str) or not is_folder_name(given["name"]):
            raise RecipeError(f"name: '{given['name']}' must be a word fit for a folder's name")
        seed = given.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise RecipeError(f"seed: expected a whole number from 0 to 2**32 - 1, got '{seed}'")
        data, dataset = _data(given["data"])
        tasks, train = (
            _tasks(given.get("tasks")),
            fill(TrainOptions, given.get("train") or {}, "train"),
        )
        return cls(
            name=given["name"],
            seed=seed,
            data=data,
            dataset=dataset,
            clean=_steps(data),
            encoder=_choice("encoder", given.get("encoder", ENCODER), "encoder"),
            pretrain=_pretrain(given.get("pretrain")),
            model=_choice("model", given["model"], "model"),
            tasks=tasks,
            train=train,
            adapt=_adapt(given.get("adapt"), tasks, train),
            protocol=_protocol(given.get("protocol"), tasks),
            report=fill(ReportOptions, given.get("report") or {}, "report"),
            bench=fill(BenchOptions, given.get("bench") or {}, "bench"),
            tune=_tune(given.get("tune")),
            resolved=given,
            compress=_chain(given.get("compress")),
            **{
                key: _choices(kind, given.get(key), key)
                for key, kind in _LISTS.items()
                if key != "compress"
            },
        )

    def check(self) -> dict[str, tuple[Any, ...]]:
        """Make every plugin the recipe names, by recipe key, in recipe order.

        Raises PluginError or RecipeError for the first that is unknown, lacks a package, or is
        given an option it does not have.
        """
        single = {"dataset": self.dataset, "encoder": self.encoder, "model": self.model}
        made = {key: (choice.make(),) for key, choice in single.items()}
        for key in _LISTS:
            made[key] = tuple(choice.make() for choice in getattr(self, key))
        made["sections"] = tuple(
            Choice("section", name, {}, "report.sections").make() for name in self.report.sections
        )
        return made

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with other values of keys such as "train.lr". Raises RecipeError as `of`."""
        given = dict(self.resolved)
        for key, value in values.items():
            head, _, name = key.partition(".")
            section = given.get(head) or (ENCODER if head == "encoder" else {})
            section = {"name": section} if isinstance(section, str) else section
            given[head] = {**section, name: value}
        return Recipe.of(given)

    def seeded(self, seed: int) -> Recipe:
        """The recipe with another seed; itself where it has that one."""
        return self if seed == self.seed else Recipe.of({**self.resolved, "seed": seed})

    def digest(self) -> str:
        """SHA-256 of all that the recipe says of a run, which `tune:` and `bench:` do not."""
        said = {k: v for k, v in self.resolved.items() if k not in ("tune", "bench")}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


ENCODER = "pretrained"  # where a recipe names none

#: Recipe keys that list plugins, each with the kind it lists.
_LISTS = {
    "hooks": "hook",
    "privacy": "mechanism",
    "compress": "compressor",
    "track": "tracker",
    "explain": "explainer",
    "fidelity": "metric",
    "influence": "influence",
}
_KEYS = (
    "name", "seed", "data", "encoder", "pretrain", "model", "tasks", "train", "adapt", "protocol",
    "report", "tune", "bench", *_LISTS,
)  # fmt: skip


def _data(given: Any) -> tuple[DataOptions, Choice]:
    """Split `data:` into the options every dataset has and those of the dataset named."""
    if not isinstance(given, Mapping) or "dataset" not in given:
        raise RecipeError("data.dataset: name the dataset, as in data: {dataset: planted}")
    own = {f.name for f in fields(DataOptions)}
    core = {key: value for key, value in given.items() if key in own}
    rest = {key: value for key, value in given.items() if key not in own and key != "dataset"}
    return fill(DataOptions, core, "data"), _choice(
        "dataset", {"name": given["dataset"], **rest}, "data"
    )


def _pretrain(given: Any) -> PretrainOptions | None:
    if given is None:
        return None
    return fill(PretrainOptions, {"name": given} if isinstance(given, str) else given, "pretrain")


def _tasks(given: Any) -> tuple[Task, ...]:
    """The tasks of the recipe: their names alone where xrec knows them, else what they predict."""
    if given is None:
        return (CLICK,)
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise RecipeError(f"tasks: expected a list of tasks, got '{given}'")
    tasks = []
    for at, each in enumerate(given):
        if isinstance(each, str) and each not in KNOWN:
            raise RecipeError(
                f"tasks[{at}]: no task is known as '{each}': {nearest(each, KNOWN)} Else say what "
                f"it predicts, as in {{name: {each}, target: value}}"
            )
        tasks.append(KNOWN[each] if isinstance(each, str) else fill(Task, each, f"tasks[{at}]"))
    _once([task.name for task in tasks], "tasks")
    return tuple(tasks)


def _protocol(given: Any, tasks: Sequence[Task]) -> ProtocolOptions:
    options = fill(ProtocolOptions, given or {}, "protocol")
    known = ("logit", "margin", *(task.name for task in tasks))
    if options.target not in known:
        raise RecipeError(
            f"protocol.target: there is no '{options.target}': {nearest(options.target, known)}"
        )
    return options


def _adapt(given: Any, tasks: Sequence[Task], train: TrainOptions) -> AdaptOptions | None:
    if given is None:
        return None
    options = fill(AdaptOptions, given, "adapt")
    names = [task.name for task in tasks]
    if options.task not in names:
        raise RecipeError(
            f"adapt.task: there is no task '{options.task}' under tasks; "
            f"{nearest(options.task, names)}"
        )
    if len(names) < 2 or options.task != names[-1]:
        raise RecipeError(
            f"adapt.task: under tasks, list those of the run {options.run} in their order, and "
            f"'{options.task}' after them"
        )
    if not train.monitor.startswith(f"val_{options.task}_"):
        raise RecipeError(
            f"train.monitor: only the head of task '{options.task}' learns, and "
            f"'{train.monitor}' does not tell of it: choose one of its own, such as "
            f"val_{options.task}_loss"
        )
    return options


def _steps(data: DataOptions) -> tuple[Step, ...]:
    """The steps of cleaning that `data.clean` names, in the order of `STEPS`."""
    given = [] if data.clean == "none" else data.clean
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, Sequence):
        raise RecipeError(f"data.clean: expected default, none or a list of steps, got '{given}'")
    chosen: dict[str, Mapping[str, Any]] = {}
    for at, each in enumerate(given):
        choice = _choice("step", each, f"data.clean[{at}]")
        if choice.name not in (*STEPS, "default"):
            known = nearest(choice.name, (*STEPS, "default"))
            raise RecipeError(f"{choice.key}: there is no step '{choice.name}'; {known}")
        if choice.name == "default":
            chosen = {**{name: {} for name in DEFAULT}, **chosen}
        else:
            chosen[choice.name] = choice.options
    return tuple(step_of(name, data, chosen[name]) for name in STEPS if name in chosen)


def step_of(name: str, data: DataOptions, options: Mapping[str, Any]) -> Step:
    """A step of cleaning; what it is not told it takes from the other options of `data:`."""
    implied: Mapping[str, Mapping[str, Any]] = {
        "incomplete": {"times": data.split == "leave_last_out"},
        "short_histories": {"events": data.min_events},
    }
    return fill(STEPS[name], {**implied.get(name, {}), **options}, f"data.clean.{name}")


def _tune(given: Any) -> TuneOptions | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("space") or None, Mapping):
        raise RecipeError(
            "tune.space: say what is searched, as in "
            "tune: {space: {train.lr: {low: 1e-4, high: 1e-2, log: true}}}"
        )
    options = fill(TuneOptions, {**given, "space": {}}, "tune")
    space = {
        str(key): fill(Range, each, f"tune.space.{key}") for key, each in given["space"].items()
    }
    return replace(options, space=space)


def _choices(kind: str, given: Any, key: str) -> tuple[Choice, ...]:
    listed = _listed(kind, given, key)
    choices = tuple(_choice(kind, each, f"{key}[{at}]") for at, each in enumerate(listed))
    if kind == "explainer":
        choices = tuple(_labelled(choice) for choice in choices)
    _once([choice.label for choice in choices], key)
    return choices


def _listed(kind: str, given: Any, key: str) -> Sequence[Any]:
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RecipeError(f"{key}: expected a list of {kind}s, got '{given}'")
    return given


def _chain(given: Any) -> tuple[Compression, ...]:
    """The compressors in order; the same may come twice."""
    return tuple(
        _compression(_choice("compressor", each, f"compress[{at}]"))
        for at, each in enumerate(_listed("compressor", given, "compress"))
    )


def _compression(choice: Choice) -> Compression:
    """The choice with the bound that is among its options."""
    options = dict(choice.options)
    known = options.pop("max_quality_drop", Compression.max_quality_drop)
    if isinstance(known, bool) or not isinstance(known, (int, float)) or not 0 <= known <= 1:
        raise RecipeError(
            f"{choice.key}.max_quality_drop: '{known}' must be a share, from 0 to 1, of the quality"
        )
    return Compression("compressor", choice.name, options, choice.key, "", float(known))


def _labelled(choice: Choice) -> Choice:
    """The choice with the label that is among its options, so that one plugin may come twice."""
    options = dict(choice.options)
    label = options.pop("label", choice.name)
    if not isinstance(label, str) or not is_folder_name(label):
        raise RecipeError(f"{choice.key}.label: '{label}' must be a word fit for a file's name")
    return replace(choice, options=options, label=label)


def _once(names: Sequence[str], key: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{key}: '{name}' is listed more than once")


def _choice(kind: str, given: Any, key: str) -> Choice:
    if isinstance(given, str):
        return Choice(kind, given, {}, key)
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise RecipeError(f"{key}: expected the name of a {kind}, or {{name: …, option: …}}")
    return Choice(kind, given["name"], {k: v for k, v in given.items() if k != "name"}, key)


def _dotlist(overrides: Sequence[str]) -> Any:
    for override in overrides:
        if "=" not in override:
            raise RecipeError(f"override '{override}': write it as key=value, as in train.epochs=2")
    return OmegaConf.from_dotlist(list(overrides))


def is_folder_name(name: str) -> bool:
    """Whether a name is of letters, digits, hyphens and underscores alone."""
    return bool(name) and name.replace("-", "").replace("_", "").isalnum()

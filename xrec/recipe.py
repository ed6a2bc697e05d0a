"""What a run is asked to do: a YAML file with a typed schema, and overrides on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xrec import plugins
from xrec.data.cleaning.finding import Step
from xrec.data.cleaning.steps import DEFAULT, STEPS
from xrec.data.tasks import CLICK, KNOWN, Task
from xrec.errors import RecipeError, nearest
from xrec.tune.space import Range, TuneOptions

Options = TypeVar("Options")


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
class DataOptions:
    """data: how any dataset is cleaned, split and cut into windows."""

    split: str = "leave_last_out"  # or leave_random_out: of each user, one event in any order
    clean: Any = "default"  # or none, or a list of steps, "default" standing for its own
    history: int = 50  # events that a model looks back on
    min_events: int = 3  # users with fewer are left out: train, validate and test need one each
    exclude_seen: bool = True  # rank only items that the user has not had

    def __post_init__(self) -> None:
        _one_of("split", self.split, ("leave_last_out", "leave_random_out"))
        _at_least("history", self.history, 1)
        _at_least("min_events", self.min_events, 3)


@dataclass(frozen=True)
class TrainOptions:
    """train: how the model is fitted."""

    epochs: int = 20
    batch: int = 64  # windows of history a step
    optimizer: str = "adamw"
    lr: float = 1e-3
    rates: dict[str, float] = field(default_factory=dict)  # of parts of the model, by name
    weight_decay: float = 0.01
    momentum: float = 0.9  # SGD only
    negatives: int = 128  # sampled a window
    clip: float = 1.0  # largest norm of the gradient
    monitor: str = "val_ndcg@10"
    patience: int = 5  # epochs without a better `monitor` before stopping
    validate: int = 0  # users, drawn by the seed, whose queries validate each epoch; 0: all
    precision: str = "32"  # bf16: forward and backward in bfloat16 where that is safe
    checkpoint: int = 200  # steps between checkpoints within an epoch; 0: none, at its end neither

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, ("adamw", "sgd"))
        for name in ("epochs", "batch", "negatives", "patience"):
            _at_least(name, getattr(self, name), 1)
        _one_of("precision", self.precision, ("32", "bf16"))
        for name in ("checkpoint", "validate"):
            _at_least(name, getattr(self, name), 0)
        if self.lr <= 0 or self.clip <= 0 or any(rate <= 0 for rate in self.rates.values()):
            raise ValueError("lr, clip and rates must be above 0")


@dataclass(frozen=True)
class PretrainOptions:
    """pretrain: how the encoder is trained further on the items' texts, before it encodes them."""

    name: str = "mlm"  # masked-language modelling
    epochs: int = 3
    lr: float = 5e-5
    batch: int = 32  # texts a step
    mask: float = 0.15  # share of a text's tokens that is to be guessed
    held_out: float = 0.1  # share of the texts that are not learned from, for the perplexity

    def __post_init__(self) -> None:
        _one_of("name", self.name, ("mlm",))
        for name in ("epochs", "batch"):
            _at_least(name, getattr(self, name), 1)
        if self.lr <= 0:
            raise ValueError("lr must be above 0")
        for name in ("mask", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be between 0 and 1")


@dataclass(frozen=True)
class AdaptOptions:
    """adapt: a new head on the trunk of a run that was trained before, which stays as it is."""

    run: str  # the folder of that run
    task: str  # the last of `tasks:`, which the head is for; the others are those of that run


@dataclass(frozen=True)
class ProtocolOptions:
    """protocol: how explanations are scored and timed."""

    users: int = 128  # test users whose top recommendation is explained
    target: str = "logit"  # what is explained: or margin, over the runner-up, or a task's name
    absent: str = "remove"  # what becomes of a feature outside the coalition
    points: int = 10  # of a deletion or insertion curve
    repeats: int = 20  # timed calls at batch 1
    batch: int = 64  # rows of the throughput call
    max_bytes: int = 2**30  # that explaining may hold at once, whatever the users

    def __post_init__(self) -> None:
        _one_of("absent", self.absent, ("remove", "baseline", "resample"))
        for name in ("users", "points", "repeats", "batch", "max_bytes"):
            _at_least(name, getattr(self, name), 1)


@dataclass(frozen=True)
class ReportOptions:
    """report: what is written for people."""

    formats: list[str] = field(default_factory=lambda: ["html"])
    sections: list[str] = field(
        default_factory=lambda: [
            "summary",
            "training",
            "quality",
            "fidelity",
            "recommendations",
            "counterfactuals",
            "layers",
            "reproduce",
        ]
    )
    explained: int = 5  # recommendations shown with their explanations

    def __post_init__(self) -> None:
        for name in self.formats:
            _one_of("formats", name, ("html",))
        _at_least("explained", self.explained, 1)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is '{value}': {nearest(value, known)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}, it must be at least {least}")


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
    hooks: tuple[Choice, ...]
    privacy: tuple[Choice, ...]
    compress: tuple[Choice, ...]
    track: tuple[Choice, ...]
    explain: tuple[Choice, ...]
    fidelity: tuple[Choice, ...]
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
            raise RecipeError(f"recipe {path}: cannot be read: {_one_line(error)}") from error
        if not isinstance(resolved, dict):
            raise RecipeError(f"recipe {path}: it must be a mapping of keys such as 'data:'")
        return cls.of({str(key): value for key, value in resolved.items()})

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Recipe:
        """The recipe that a plain mapping describes. Raises RecipeError as `load` does."""
        _known_keys(given, _KEYS, "")
        for key in ("name", "data", "model"):
            if key not in given:
                raise RecipeError(f"{key}: this key is missing from the recipe")
        if not isinstance(given["name"], str) or not _is_folder_name(given["name"]):
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
            tune=_tune(given.get("tune")),
            resolved=given,
            **{key: _choices(kind, given.get(key), key) for key, kind in _LISTS.items()},
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

    def digest(self) -> str:
        """SHA-256 of everything that the recipe says of a run: `tune:` changes nothing in one."""
        said = {key: value for key, value in self.resolved.items() if key != "tune"}
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
}
_KEYS = (
    "name", "seed", "data", "encoder", "pretrain", "model", "tasks", "train", "adapt", "protocol",
    "report", "tune", *_LISTS,
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
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RecipeError(f"{key}: expected a list of {kind}s, got '{given}'")
    choices = tuple(_choice(kind, each, f"{key}[{at}]") for at, each in enumerate(given))
    if kind == "explainer":
        choices = tuple(_labelled(choice) for choice in choices)
    _once([choice.label for choice in choices], key)
    return choices


def _labelled(choice: Choice) -> Choice:
    """The choice with the label that is among its options, so that one plugin may come twice."""
    options = dict(choice.options)
    label = options.pop("label", choice.name)
    if not isinstance(label, str) or not _is_folder_name(label):
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


def fill(schema: type[Options], given: Any, key: str) -> Options:
    """Make the options dataclass `schema` from plain values, checking names and types.

    Raises RecipeError that names the key: unknown (with the nearest), missing, of a wrong type, or
    refused by the dataclass itself with a ValueError.
    """
    if not isinstance(given, Mapping):
        raise RecipeError(f"{key}: expected a mapping of options, got '{given}'")
    known = [f for f in fields(schema) if f.init]  # type: ignore[arg-type]
    _known_keys(given, [f.name for f in known], key)
    for f in known:
        if f.default is MISSING and f.default_factory is MISSING and f.name not in given:
            raise RecipeError(f"{key}.{f.name}: this option must be given")
    try:
        config = OmegaConf.structured(_given(schema))
        OmegaConf.set_readonly(config, False)
        typed = OmegaConf.merge(config, dict(given))
        values = {f.name: _plain(OmegaConf.select(typed, f.name)) for f in known}
    except OmegaConfBaseException as error:
        name = f"{key}.{error.full_key}" if error.full_key else key
        raise RecipeError(f"{name}: {_one_line(error)}") from error
    try:
        return schema(**values)
    except ValueError as error:
        raise RecipeError(f"{key}: {error}") from error


def _given(schema: type[Options]) -> type:
    """The dataclass without the fields that are not options, but what it comes to hold."""
    every = fields(schema)  # type: ignore[arg-type]
    if all(f.init for f in every):
        return schema
    types = get_type_hints(schema)
    options: list[tuple[str, Any, Any]] = [
        (f.name, types[f.name], field(default=f.default, default_factory=f.default_factory))
        if f.default is MISSING
        else (f.name, types[f.name], field(default=f.default))
        for f in every
        if f.init
    ]
    return make_dataclass(schema.__name__, options)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _known_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            name = f"{where}.{key}" if where else str(key)
            raise RecipeError(f"{name}: there is no such key; {nearest(str(key), known)}")


def _dotlist(overrides: Sequence[str]) -> Any:
    for override in overrides:
        if "=" not in override:
            raise RecipeError(f"override '{override}': write it as key=value, as in train.epochs=2")
    return OmegaConf.from_dotlist(list(overrides))


def _is_folder_name(name: str) -> bool:
    return bool(name) and name.replace("-", "").replace("_", "").isalnum()


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]

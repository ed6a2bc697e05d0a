"""What the benchmark of compression compares: models of recipes, and chains of compressors."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from xrec.errors import XrecError
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender
from xrec.recipe import Recipe
from xrec.runs.pipeline import trained
from xrec.runs.precision import native_on_cpu
from xrec.runs.run import Run
from xrec_plugins.models.sequential import Layer

RECIPES = Path(__file__).parents[1] / "recipes"
ALL = 1  # max_quality_drop: a chain goes on whatever it takes, as what it takes is what is asked
TRAINING = ("name", "seed", "data", "encoder", "model", "tasks", "train")

Step = Mapping[str, Any]
Chains = Mapping[str, Sequence[Step]]

INT8 = {"name": "quantise", "to": "int8"}
DYNAMIC = {"name": "quantise", "to": "int8_dynamic", "compile": True}
INT4 = {"name": "quantise", "to": "int4"}

_STUDENT = {"name": "distil", "layers": 1, "epochs": 5}
_THINNED = {"name": "structured_pruning", "heads": 0.5, "width": 0.5, "epochs": 5, "lr": 1e-3}
_RANKED = {"name": "low_rank", "ratio": 0.5, "embeddings": True, "epochs": 5, "lr": 1e-3}

#: Chains of the sequential model, which is small: two layers of width 64 beside the item texts.
SEQUENTIAL: Chains = {
    "int8": [INT8],
    "int4": [INT4],
    "int8 dynamic, compiled": [DYNAMIC],
    "int8 dynamic, straight-through": [{**DYNAMIC, "straight_through": True}],
    "onnx": [{"name": "onnx"}],
    "distil": [_STUDENT],
    "distil by explanations": [{**_STUDENT, "explanations": 0.1}],
    "distil, int8": [_STUDENT, INT8],
    "prune, int8": [_THINNED, INT8],
    "low rank, int8": [_RANKED, INT8],
}

#: A step of training reads few rows: each row is a user with an item, in words.
_TAUGHT = {"name": "distil", "layers": 3, "rows": 4, "rivals": 3, "epochs": 3, "lr": 1e-4}
_TRIMMED = {
    "name": "structured_pruning",
    "only": ["language"],
    "width": 0.25,
    "heads": 0.17,
    "batches": 16,
    "rows": 8,
    "lr": 5e-5,
    "epochs": 0,
}
_HALVED = {**_TRIMMED, "width": 0.5, "heads": 0.34}
_ONNX = {"name": "onnx", "precision": "int8"}

#: Chains of the cross-encoder: six layers of width 384, half of its weights in word embeddings.
CROSS_ENCODER: Chains = {
    "int8": [INT8],
    "int8 dynamic, compiled": [DYNAMIC],
    "onnx int8": [_ONNX],
    "distil": [_TAUGHT],
    "distil, int8 dynamic, compiled": [_TAUGHT, DYNAMIC],
    "distil, onnx int8": [_TAUGHT, _ONNX],
    "distil by explanations, int8 dynamic, compiled": [{**_TAUGHT, "explanations": 0.1}, DYNAMIC],
    "trim, int8 dynamic, compiled": [_TRIMMED, DYNAMIC],
    "trim, onnx int8": [_TRIMMED, _ONNX],
    "trim to half, onnx int8": [_HALVED, _ONNX],
}

#: Those that are tried on films, where it takes several times as long to measure one.
FILMS: Chains = {
    name: CROSS_ENCODER[name]
    for name in (
        "int8",
        "int8 dynamic, compiled",
        "distil",
        "distil, int8 dynamic, compiled",
        "distil, onnx int8",
        "trim, onnx int8",
        "trim to half, onnx int8",
    )
}


@dataclass(frozen=True)
class World:
    """A model to be compressed: its recipe, and the chains that are tried on it.

    changes: of the recipe. evaluations, steps: what explanations of one row may cost. users: whose
    explanations are compared. asked: the users who are waited for, in turns.
    """

    recipe: str
    chains: Chains
    changes: Mapping[str, Any]
    evaluations: int
    steps: int
    users: int
    asked: int
    turns: int

    def base(self) -> Recipe:
        """The recipe of the model as it is trained, in bfloat16 where this CPU has that."""
        train = {"precision": "bf16"} if native_on_cpu() else {}
        config = OmegaConf.merge(
            OmegaConf.load(RECIPES / f"{self.recipe}.yaml"), {"train": train}, self.changes
        )
        given = OmegaConf.to_container(config, resolve=True)
        assert isinstance(given, dict)
        return Recipe.of({str(key): given[key] for key in given if key in TRAINING})


FULL = {
    "planted, sequential": World("quickstart", SEQUENTIAL, {}, 256, 20, 60, 20, 40),
    "films, sequential": World("video", SEQUENTIAL, {}, 256, 20, 60, 20, 40),
    "planted, cross-encoder": World("rerank", CROSS_ENCODER, {}, 160, 20, 16, 12, 24),
    "films, cross-encoder": World("rerank-films", FILMS, {}, 128, 20, 16, 12, 24),
}

_TINY = {"users": 60, "items": 100, "events": 8, "history": 6}
SHORT = {
    "planted, sequential": World(
        "quickstart",
        {"int8": [INT8]},
        {"name": "tiny", "data": _TINY, "model": {"width": 16}, "train": {"epochs": 2}},
        64, 4, 6, 3, 6,
    ),
    "planted, cross-encoder": World(
        "rerank",
        {"int8": [INT8], "int8 dynamic, compiled": [DYNAMIC]},
        {
            "name": "tiny-rerank",
            "data": _TINY,
            "model": {"tokens": 48, "candidates": 4, "rows": 2},
            "train": {"epochs": 1, "validate": 20},
        },
        112, 4, 4, 3, 6,
    ),
}  # fmt: skip


def base(world: World, out: Path) -> Run:
    """The run of the model as trained; nothing is trained again that was before."""
    return trained(world.base(), out, _tell)


def chained(world: World, out: Path) -> Iterator[tuple[str, Run | XrecError]]:
    """The run of each chain by its name, or why there is none; they share what they begin with."""
    given = world.base().resolved
    for name, steps in world.chains.items():
        bounded = [{**step, "max_quality_drop": ALL} for step in steps]
        _tell(f"{given['name']}: {name}")
        try:
            yield name, trained(Recipe.of({**given, "compress": bounded}), out, _tell)
        except XrecError as error:
            yield name, error


def settled(model: Recommender) -> Recommender:
    """A copy in which adapters are merged: what every chain begins with, and is held against."""
    made = copy.deepcopy(model)
    made.settle()
    return made.eval()


def compiled(model: Recommender) -> Recommender:
    """A copy whose transformers are compiled, for rows of any length, when it is first asked."""
    made = copy.deepcopy(model)
    for module in list(made.modules()):
        if isinstance(module, LanguageModel):
            module.transformer.compile(dynamic=True)
        elif isinstance(module, Layer):
            module.compile(dynamic=True)
    return made


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

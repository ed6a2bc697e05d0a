"""xrec makes recommenders built on large pretrained models explainable, and measures it.

The public names are imported when they are first used, so that ``import xrec`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xrec.hooks import hookimpl

if TYPE_CHECKING:
    from xrec.explain.explanation import Explanation
    from xrec.explain.probe import probe
    from xrec.models.inputs import Inputs
    from xrec.models.recommender import Recommender
    from xrec.recipe import Recipe
    from xrec.runs.pipeline import run

__version__ = "0.1.0"
__all__ = ["Explanation", "Inputs", "Recipe", "Recommender", "hookimpl", "probe", "run"]

_HOMES = {
    "Explanation": "xrec.explain.explanation",
    "Inputs": "xrec.models.inputs",
    "Recipe": "xrec.recipe",
    "Recommender": "xrec.models.recommender",
    "probe": "xrec.explain.probe",
    "run": "xrec.runs.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'xrec' has no attribute '{name}'")

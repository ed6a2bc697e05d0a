"""Can the fidelity benchmark be trusted, and what does it find?

1. Explainers that are broken on purpose are put to every metric: which measures see which fault
   (`faults.py`).

    python benchmarks/fidelity.py [--full]

The full form is of the quickstart's world and model, the short one of a small world. A model that
was trained is kept in the user's cache, by its recipe. Ends with JSON: faults_caught and
faults_planted; minutes.
"""

from __future__ import annotations

from time import perf_counter

import faults
from machine import arguments, finish, header
from platformdirs import user_cache_path

PACKAGES = ("xrec", "torch", "lightning", "transformers", "polars", "numpy", "scipy")


def main() -> None:
    """Put the faults to the metrics, and tell which were caught."""
    begin = perf_counter()
    given = arguments("Can the fidelity benchmark be trusted, and what does it find?")
    size = faults.FULL if given.full else faults.SHORT
    settings = {"form": f"{'full' if given.full else 'short'}: {size}", "threads": given.threads}
    header(PACKAGES, settings)
    rows, figures = faults.measure(size, user_cache_path("xrec") / "fidelity")
    figures["minutes"] = round((perf_counter() - begin) / 60, 2)
    finish(given.out / "fidelity-faults.csv", rows, figures)


if __name__ == "__main__":
    main()

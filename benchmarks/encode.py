"""How long does it take to encode a catalogue's texts, against sentence-transformers?

Both have the same weights (all-MiniLM-L6-v2, frozen), texts and number of threads, on the
processor. sentence-transformers has the batch of 32 texts that it takes by default, and, for
comparison, one of as many tokens as xrec's. Each is called in turn, the one that goes first
changing; loading the model and a first call are not counted.

The texts are the films' of MovieLens 100K where XREC_DATA_DIR tells of them, else those of the
planted world and longer ones made of them.

    python benchmarks/encode.py [--full]

Ends with JSON: time_ratio, xrec's time over that of sentence-transformers, median over repeats, and
max_abs_diff, the largest difference between their vectors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import arguments, compare, finish, header, row, tell_times, timed

from xrec.errors import XrecError
from xrec_plugins.datasets.movielens import MovieLens
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.encoders.pretrained import Pretrained

SEED = 0
SHORT, FULL = (64, 6), (1682, 20)  # texts at most, repeats
LONGEST = 40  # item texts in a longer text, which is then beyond the model's 256 tokens
TOLERANCE = 1e-4  # of a vector's entries
PACKAGES = ("xrec", "sentence-transformers", "transformers", "tokenizers", "torch", "numpy")


def texts(count: int) -> tuple[str, list[str]]:
    """Where the texts are from, and at most `count` of them, drawn at random."""
    rng = np.random.default_rng(SEED)
    if os.environ.get("XREC_DATA_DIR"):
        source, found = "MovieLens 100K", MovieLens(size="100k").load().items["text"].to_list()
    else:
        items = PlantedWorld(items=200, seed=SEED).load().items["text"].to_list()
        sizes = np.geomspace(2, LONGEST, num=len(items)).astype(int)
        longer = [". ".join(rng.choice(items, size)) for size in sizes]
        source, found = "planted world, and longer texts made of its", items + longer
    return source, [found[at] for at in rng.permutation(len(found))[:count]]


def sides(some: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """What encodes the texts, by name; the models are loaded. Raises XrecError: a package lacks."""
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise XrecError(
            f"this benchmark needs the package {error.name}: pip install 'xrec[bench]'"
        ) from error
    ours = Pretrained()
    theirs = SentenceTransformer(str(ours.folder), device="cpu")
    tokens = theirs.tokenizer(some, truncation=True, max_length=ours.max_tokens)["input_ids"]
    alike = max(1, round(ours.batch_tokens * len(some) / sum(map(len, tokens))))
    lengths = sorted(map(len, tokens))
    print(f"tokens a text: {lengths[0]} to {lengths[-1]}, mean {np.mean(lengths):.1f}")
    print(f"batches: xrec {ours.batch_tokens} tokens, theirs 32 texts, theirs_alike {alike} texts")

    def their_vectors(**options: Any) -> np.ndarray:
        return theirs.encode(some, convert_to_numpy=True, normalize_embeddings=True, **options)

    return {
        "xrec": lambda: ours.encode(some).numpy(),
        "theirs": their_vectors,
        "theirs_alike": lambda: their_vectors(batch_size=alike),
    }


def main() -> None:
    """Encode in turn, compare the vectors, and tell how long it took."""
    given = arguments("How long does it take to encode a catalogue's texts?")
    count, repeats = FULL if given.full else SHORT
    try:
        source, some = texts(count)
        settings = {
            "form": f"{'full' if given.full else 'short'}: {len(some)} texts of the {source}",
            "seed": SEED,
            "threads": given.threads,
            "warm-up": "one call of each side",
            "repeats": repeats,
        }
        header(PACKAGES, settings)
        encoders = sides(some)
        vectors = {name: encode() for name, encode in encoders.items()}
    except XrecError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    apart = {name: float(np.abs(vectors["xrec"] - found).max()) for name, found in vectors.items()}
    assert max(apart.values()) <= TOLERANCE, f"the vectors differ by {apart}"
    rows = []
    for repeat in range(repeats):
        names = list(encoders)[:: -1 if repeat % 2 else 1]
        times = {name: timed(encoders[name]) for name in names}
        rows.append(row(repeat, times))
    tell_times(rows, encoders)
    compare(rows, "xrec", "theirs_alike")
    ratio = compare(rows, "xrec", "theirs")
    figures = {"time_ratio": round(ratio, 4), "max_abs_diff": apart["theirs"]}
    finish(given.out / "encode.csv", rows, figures)


if __name__ == "__main__":
    main()

"""What does it cost a training step to tune the language model: frozen, by adapters, or whole?

A step encodes a batch of texts with all-MiniLM-L6-v2, puts a linear head on the vectors, and takes
a step of AdamW over what learns. The three ways have the same texts and take turns, the one that
goes first changing; loading the model and a first step are not counted. Peak memory is measured of
each way in a process of its own, above what is held when the model is loaded: on a GPU what torch
allocates, else the resident memory that Linux tells of.

The texts are made of those of the planted world, so that each fills the tokens that are read.

    python benchmarks/tuning.py [--full]

Ends with JSON: step_time and peak_bytes, of each way over those of full tuning, medians over
repeats.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import arguments, compare, finish, header, row, tell_times, timed
from torch import nn
from torch.nn import functional

from xrec.errors import XrecError
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.encoders.pretrained import Pretrained

SEED = 0
SHORT, FULL = (8, 64, 6, 1), (32, 128, 20, 5)  # texts, tokens of each, repeats, those of memory
TUNES = ("frozen", "lora", "full")
WARM_UP = 1  # steps; the first makes AdamW's state
STEPS = 2  # of which the peak is the peak memory
PACKAGES = ("xrec", "transformers", "peft", "torch", "numpy")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def new_step(tune: str, count: int, tokens: int, device: str) -> Callable[[], None]:
    """A training step of one way of tuning, its model loaded."""
    torch.manual_seed(SEED)
    model = Pretrained(tune=tune).language().to(device)
    items = PlantedWorld(items=200, seed=SEED).load().items["text"].to_list()
    rng = np.random.default_rng(SEED)
    texts = [". ".join(rng.choice(items, tokens)) for _ in range(count)]
    room = tokens - len(model.opening) - len(model.closing)
    ids, mask = model.padded([model.framed(each[:room]) for each in model.tokens(texts)])
    assert ids.shape == (count, tokens)
    head = nn.Linear(model.width, 1).to(device)
    label = torch.arange(count, device=device)[:, None] % 2 * 1.0
    learning = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(head(model(ids, mask)), label).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def resident(name: str) -> int:
    """Bytes of this process: VmRSS is held now, VmHWM the most since the peak was cleared."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def peak(tune: str, count: int, tokens: int, device: str, threads: int, seat: Any) -> None:
    """Put into `seat` the bytes that steps take above the loaded model."""
    torch.set_num_threads(threads)
    step = new_step(tune, count, tokens, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    else:
        CLEAR.write_text("5")
        held = resident("VmRSS")
    for _ in range(STEPS):
        step()
    most = torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")
    seat.put(most - held)


def peak_of(tune: str, *settings: Any) -> int:
    """`peak`, in a process of its own."""
    context = get_context("spawn")
    seat = context.SimpleQueue()
    process = context.Process(target=peak, args=(tune, *settings, seat))
    process.start()
    process.join()
    if process.exitcode:
        raise XrecError(f"the process that measured the memory of '{tune}' failed: see above")
    return int(seat.get())


def main() -> None:
    """Take steps in turn, measure their memory, and tell what each costs."""
    given = arguments("What does it cost a training step to tune the language model?")
    count, tokens, repeats, measured = FULL if given.full else SHORT
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if device == "cpu" and not CLEAR.exists():
            raise XrecError("peak memory is read from /proc: run this on Linux, or on a GPU")
        settings = {
            "form": f"{'full' if given.full else 'short'}: {count} texts of {tokens} tokens",
            "device": device,
            "seed": SEED,
            "threads": given.threads,
            "warm-up": f"{WARM_UP} step of each way",
            "repeats": f"{repeats}, of memory {measured}",
        }
        header(PACKAGES, settings)
        steps = {tune: new_step(tune, count, tokens, device) for tune in TUNES}
        for step in steps.values():
            for _ in range(WARM_UP):
                step()
        rows: list[dict[str, Any]] = []
        for repeat in range(repeats):
            order = TUNES[:: -1 if repeat % 2 else 1]
            rows.append(row(repeat, {tune: timed(steps[tune]) for tune in order}))
        steps.clear()
        for told in rows:
            for tune in TUNES:
                some = int(told["repeat"]) < measured
                told[f"{tune}_peak_bytes"] = (
                    peak_of(tune, count, tokens, device, given.threads) if some else None
                )
    except XrecError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    tell_times(rows, TUNES)
    times = {tune: round(compare(rows, tune, "full"), 4) for tune in TUNES[:-1]}
    peaks = {
        tune: float(np.median([told[f"{tune}_peak_bytes"] for told in rows[:measured]]))
        for tune in TUNES
    }
    for tune, most in peaks.items():
        print(f"{tune}: {most / 2**20:.0f} MiB above the loaded model")
    figures: Any = {
        "step_time": {**times, "full": 1.0},
        "peak_bytes": {tune: round(most / peaks["full"], 4) for tune, most in peaks.items()},
    }
    finish(given.out / "tuning.csv", rows, figures)


if __name__ == "__main__":
    main()

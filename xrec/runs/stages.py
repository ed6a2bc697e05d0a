"""What each stage of a run does: it reads from the run's files and writes to them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl
import torch
from torch import Tensor

from xrec import __version__, plugins
from xrec.data.cleaning.steps import DEFAULT, NEEDED, clean, demand
from xrec.data.leakage import leakage
from xrec.data.module import QUERY_BATCH, Data
from xrec.fidelity.statistics import bootstrap
from xrec.models.baselines import Ranker, baselines
from xrec.models.encoder import encode_once
from xrec.models.quality import (
    CUTOFF,
    Ranked,
    classification_report,
    coverage,
    ranking_metrics,
    task_report,
)
from xrec.models.recommender import Recommender
from xrec.recipe import step_of
from xrec.report.page import page
from xrec.runs.adapting import adapt
from xrec.runs.kept import FOLDER, Kept, clear
from xrec.runs.resume import position
from xrec.runs.run import SHORTLIST, WEIGHTS, Run
from xrec.runs.training import fit, new_trainer

LIBRARIES = ("torch", "lightning", "transformers", "captum", "shap", "torchmetrics", "polars")


def load(run: Run) -> None:
    """Load the tables, let plugins change them, clean them, and see that their split leaks nothing.

    Raises DataError where data that are said to be clean are not, or where the split leaks.
    """
    recipe, source = run.recipe, f"dataset {run.recipe.dataset.name}"
    tables = run.made["dataset"][0].load()
    tables = plugins.chain(run.manager.hook.xrec_tables, tables, recipe=recipe)
    tables, findings = clean(tables.check(source), recipe.clean)
    needed = DEFAULT if recipe.data.clean == "none" else NEEDED
    demand(tables, [step_of(name, recipe.data, {}) for name in needed], source)
    for name, frame in tables.frames().items():
        run.store.write_table(f"data/{name}.parquet", frame)
    counts = {name: frame.height for name, frame in tables.frames().items()}
    counts["active users"] = tables.interactions["user"].n_unique()
    told = {
        "rows": counts,
        "found": [finding.row() for finding in findings],
        "leakage": [check.row() for check in leakage(run.data)],
    }
    run.store.write_json("data.json", told)


def encode(run: Run) -> None:
    """Encode the item texts, once for all runs."""
    vectors = encode_once(run.encoder, run.data.texts)
    run.store.write_tensors("texts.safetensors", {"texts": vectors})


def beginning(run: Run) -> Recommender:
    """The model as training finds it."""
    model = run.fresh_model()
    if run.recipe.adapt is not None:
        adapt(run, model)
    return model


def train(run: Run) -> None:
    """Fit the model; keep its best weights and the figures of each epoch."""
    model, checkpoint = beginning(run), run.store.checkpoint
    begun = position(checkpoint, model, run.tell)
    step = begun.steps if begun else 0
    loggers = [tracker.logger(run.folder, "train", step) for tracker in run.made["track"]]
    kept = Kept(run.folder / FOLDER, run.recipe.train.keep)
    if begun is None:
        clear(kept.folder)
    watching = [kept] if kept.most else []
    history = fit(model, run.data, loggers, run.folder, checkpoint, run.tell, watching)
    for epoch in kept.epochs:
        run.store.adopt(f"{FOLDER}/{kept.path(epoch).name}")
    model = plugins.chain(run.manager.hook.xrec_fitted, model, data=run.data)
    run.store.write_tensors(WEIGHTS, model.state_dict())
    sizes = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "learning": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    shares = {name: float(share[1:].mean()) for name, share in _write_shares(run, model).items()}
    notes = model.notes()
    for note in notes:
        run.tell(f"  {note}")
    told = {**sizes, "epochs": history, "views": shares, "notes": notes, "versions": versions()}
    run.store.write_json("training.json", told)
    run.manager.hook.xrec_trained(run=run, module=model)


def _write_shares(run: Run, model: Recommender) -> dict[str, Tensor]:
    """Write how much each view weighs in each item, where the model has views."""
    with torch.no_grad():
        shares = model.eval().view_shares()
    if shares:
        columns = {name: share[1:].cpu().numpy() for name, share in shares.items()}
        table = run.data.tables.items.select("item", "title").with_columns(**columns)
        run.store.write_table("views.parquet", table)
    return shares


def versions() -> dict[str, str]:
    """The machine and the libraries that a run's figures were made with."""
    found = {"xrec": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    machine = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    return {**found, "machine": f"{machine}, {gpu}"}


def measure_quality(run: Run) -> None:
    """Test the model, once, and the baselines beside it, on the full catalogue."""
    loggers = [tracker.logger(run.folder, "test") for tracker in run.made["track"]]
    new_trainer(loggers, run.folder).test(run.model, datamodule=run.data, verbose=False)
    assert run.model.ranked is not None
    found = {run.recipe.model.name: run.model.ranked}
    for name, ranker in baselines(run.data).items():
        found[name] = _tested(run.data, ranker)
    rows, table = [], {}
    for name, ranked in found.items():
        measured = ranking_metrics(ranked.rank)
        table[name] = {key: bootstrap(value.numpy()) for key, value in measured.items()}
        table[name][f"coverage@{CUTOFF}"] = {"mean": coverage(ranked.top, len(run.data.items) - 1)}
        users = [run.data.users.ids[user] for user in ranked.user.tolist()]
        rows.append(pl.DataFrame({"model": name, "user": users, "rank": ranked.rank.numpy()}))
    run.store.write_table("ranks.parquet", pl.concat(rows))
    tasks = {
        task.name: task_report(task, run.model.outputs[task.name], run.data.known(at))
        for at, task in enumerate(run.data.tasks)
        if not task.ranks
    }
    told = {
        "ranking": table,
        "classification": classify(run),
        "tasks": tasks,
        "users": len(run.data.users) - 1,
    }
    run.store.write_json("quality.json", told)


def _tested(data: Data, ranker: Ranker) -> Ranked:
    """What a baseline finds for the test users."""
    return Ranked.joined(
        [
            Ranked.of(
                ranker(data.seen(batch.user, "test").float()),
                batch,
                data.left_out(batch.user, "test"),
            )
            for batch in data.test_dataloader()
        ]
    )


def classify(run: Run) -> dict[str, Any]:
    """The classification report of test items against one item each that the user never had."""
    queries = run.data.queries("test")
    never = (~run.data.seen(queries.user, "test")).float()
    never[:, 0] = 0
    never.scatter_(1, queries.candidate[:, None], 0)
    generator = torch.Generator().manual_seed(run.recipe.seed)
    others = torch.multinomial(never, 1, generator=generator)[:, 0]
    parts = torch.arange(len(queries)).split(QUERY_BATCH)
    with torch.no_grad():
        logits = torch.cat(
            [
                run.model(each.rows(some))
                for each in (queries, queries.about(others))
                for some in parts
            ]
        )
    label = torch.cat([torch.ones(len(queries)), torch.zeros(len(queries))]).long()
    return classification_report(logits, label)


def recommend(run: Run) -> None:
    """Recommend to a sample of test users; what comes first is what is explained."""
    data, count = run.data, run.recipe.protocol.users
    generator = torch.Generator().manual_seed(run.recipe.seed)
    users = 1 + torch.randperm(len(data.users) - 1, generator=generator)[:count]
    queries = data.queries("test", users)
    wanted = max(CUTOFF, 1 + run.model.shortlist)
    items, scores = run.recommend(queries, data.seen(users, "test"), wanted)
    items = torch.where(scores > -torch.inf, items, 0)  # fewer are left than were asked for
    run.store.write_tensors(SHORTLIST, {"items": items[:, : 1 + run.model.shortlist]})
    names, found = data.users, data.items
    first = zip(users.tolist(), items[:, :CUTOFF].tolist(), scores.tolist(), strict=True)
    rows = [
        (names.ids[user], found.ids[item], data.titles[item], rank, score)
        for user, top, values in first
        for rank, (item, score) in enumerate(zip(top, values, strict=False), start=1)
        if item
    ]
    columns = ["user", "item", "title", "rank", "score"]
    run.store.write_table("recommendations.parquet", pl.DataFrame(rows, columns, orient="row"))


def write_report(run: Run) -> None:
    """Lay out the report's sections on one page; one that has nothing to say is left out."""
    blocks = [section.render(run) for section in run.made["sections"]]
    blocks = [chapter for chapter in blocks if chapter.blocks]
    if "html" in run.recipe.report.formats:
        run.store.write_text("report.html", page(run.recipe.name, blocks))

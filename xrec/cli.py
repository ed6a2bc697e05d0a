"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from xrec.errors import XrecError

if TYPE_CHECKING:
    from xrec.runs.run import Run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recommenders that are explainable, and measured to be.",
)
out = Console(soft_wrap=True, highlight=False)

STOPPED = 130  # the exit code that typer makes of Ctrl-C

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the recipe, as in train.epochs=2.")
]
Runs = Annotated[Path, typer.Option(help="The folder that runs are kept in.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, such as recipes/quickstart.yaml.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
) -> None:
    """Carry out a recipe, going on where an earlier run of it stopped."""
    from xrec.recipe import Recipe

    loaded = Recipe.load(recipe, overrides or ())
    from xrec.report import summary
    from xrec.runs import pipeline

    finished = pipeline.run(loaded, runs, tell=lambda text: out.print(text, markup=False))
    head, rows = summary.quality(finished.store, summary.mean)
    out.print(_table(head, rows))
    head, rows = summary.fidelity(finished.store, finished.recipe, summary.mean)
    if rows:
        short = 1 + head.index("p50 ms")  # the rest is in the report
        out.print(_table(head[:short], [row[:short] for row in rows]))
    _print_places(finished)


def _print_places(finished: Run) -> None:
    out.print(f"run: {finished.folder}", markup=False)
    report = finished.folder / "report.html"
    if report.is_file():
        out.print(f"report: {report}", markup=False)


@app.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe file with the key tune:.")],
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many in all; else as the recipe says.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Search a recipe's options for the best on the validation users, going on after a kill."""
    from xrec.recipe import Recipe

    loaded = Recipe.load(recipe, overrides or ())
    from xrec.tune import search

    found = search.tune(loaded, runs, trials, tell=lambda text: out.print(text, markup=False))
    keys = list(loaded.tune.space if loaded.tune else ())
    rows = [
        (
            f"{at}{' *' if at == found.best + 1 else ''}",
            *(search.shown(trial.values[key]) if key in trial.values else "" for key in keys),
            trial.said or search.shown(trial.value),
        )
        for at, trial in enumerate(found.outcomes, start=1)
    ]
    out.print(_table(("trial", *keys, found.metric), rows))
    if found.importances:
        shares = [(key, f"{share:.2f}") for key, share in found.importances.items()]
        out.print(_table(("key", "importance"), shares))
    out.print(f"best: xrec run {found.folder / search.BEST}", markup=False)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    user: Annotated[str, typer.Option(help="The id of a user.")],
    item: Annotated[
        str | None, typer.Option(help="The id of an item; else the first choice.")
    ] = None,
    explainer: Annotated[
        str | None, typer.Option(help="Its label or name; else the recipe's first.")
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="The id of an item they had, to be explained by its words.")
    ] = None,
) -> None:
    """Explain one recommendation of a finished run."""
    from xrec.runs.asking import ask
    from xrec.runs.run import Run

    answer = ask(Run.open(run), user, item, explainer, event)
    out.print(answer.title, style="bold", markup=False)
    for line in answer.lines:
        out.print(line, markup=False)
    for bars in (answer.bars, answer.groups):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for bar in bars:
            table.add_row(f"{bar.value:+.3f}", bar.name)
        out.print(table)
    out.print(answer.note, markup=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    kind: Annotated[str, typer.Option("--format", help="onnx, pt2 or safetensors.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to; else export/ in the run.")
    ] = None,
) -> None:
    """Take a run's model to where it is served, checked to score as it does in the run."""
    from xrec.export import export as exporting
    from xrec.runs.run import Run

    written, checked = exporting.export(Run.open(run), kind, folder)
    out.print(
        f"checked: {checked.rows} queries differ by {checked.difference:.1e} at most",
        markup=False,
    )
    out.print(f"export: {written}", markup=False)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    shadows: Annotated[
        int, typer.Option(help="How many models are trained, on halves of the users.")
    ] = 16,
    users: Annotated[int, typer.Option(help="How many users are attacked, at most.")] = 1000,
    explainer: Annotated[
        str | None, typer.Option(help="Its label in the recipe; else the first.")
    ] = None,
) -> None:
    """Attack a finished run's model and its explanations, and report what leaks."""
    from xrec.audit import telling
    from xrec.audit.audit import Asked
    from xrec.audit.audit import audit as carry_out
    from xrec.report.summary import interval
    from xrec.runs.run import AUDIT, Run

    opened = Run.open(run)
    opened.tell = lambda text: out.print(text, markup=False)
    found = carry_out(opened, Asked(shadows, users, explainer))
    for head, rows in (telling.attacks(found, interval), telling.guesses(found, interval)):
        if rows:
            out.print(_table(head, rows))
    out.print(f"audit: {opened.folder / AUDIT}", markup=False)
    _print_places(opened)


bench = typer.Typer(no_args_is_help=True, help="Compare explainers, and what models cost them.")
app.add_typer(bench, name="bench")


@bench.command()
def fidelity(
    recipe: Annotated[Path, typer.Argument(help="A recipe that lists explainers and metrics.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
) -> None:
    """Judge explainers by budgets, seeds and models, going on where it was stopped."""
    from xrec.recipe import Recipe

    loaded = Recipe.load(recipe, overrides or ())
    from xrec.bench.fidelity import bench as carry_out

    folder = carry_out(loaded, runs, tell=lambda text: out.print(text, markup=False))
    out.print(f"benchmark: {folder}", markup=False)
    out.print(f"report: {folder / 'report.html'}", markup=False)


@bench.command()
def tradeoff(
    recipe: Annotated[Path, typer.Argument(help="A recipe that lists explainers and metrics.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
) -> None:
    """Weigh what smaller and more private models cost, going on where it was stopped."""
    from xrec.recipe import Recipe

    loaded = Recipe.load(recipe, overrides or ())
    from xrec.bench import overview
    from xrec.bench.tradeoff import tradeoff as carry_out

    folder = carry_out(loaded, runs, tell=lambda text: out.print(text, markup=False))
    out.print(_table(*overview.overview(folder)))
    for line in overview.failures(folder):
        out.print(line, markup=False)
    out.print(f"grid: {folder}", markup=False)


@app.command()
def plugins(
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as explainer.")] = None,
) -> None:
    """List the installed plugins, from their packages' metadata alone."""
    from xrec.plugins import listings

    rows = [(each.kind, each.name, each.package, each.version) for each in listings(kind)]
    out.print(_table(("kind", "name", "package", "version"), rows))


@app.command()
def check(
    recipe: Annotated[Path, typer.Argument(help="A recipe file.")], overrides: Overrides = None
) -> None:
    """Say whether a recipe can be carried out: keys, types, plugins and their packages, sources."""
    from xrec.recipe import Recipe

    loaded = Recipe.load(recipe, overrides or ())
    made = loaded.check()
    if loaded.pretrain is not None:
        from xrec.runs import pretraining

        pretraining.check(loaded, made["encoder"][0])
    made["dataset"][0].sources()
    made["encoder"][0].digest()
    out.print(f"{recipe}: good; {sum(len(each) for each in made.values())} plugins", markup=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in head:
        table.add_column(
            name.replace("_", " "),
            justify="left" if name == head[0] else "right",
            no_wrap=name == head[0],
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    return table


def main() -> None:
    """Run the command line; a mistake in what was given is one line, and exit code 2."""
    try:
        app()
    except XrecError as error:
        print(f"xrec: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == STOPPED:
            print("xrec: stopped; start the same command again to go on", file=sys.stderr)
        raise

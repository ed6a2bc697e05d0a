"""The command line: what it prints, and how it takes a mistake."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xrec import files

RECIPES = Path(__file__).parents[1] / "recipes"


def refused(told: tuple[int, str, str], *words: str) -> None:
    """The command failed as a mistake should: one line that has all the words, exit code 2."""
    code, _, err = told
    assert code == 2
    assert err.startswith("xrec: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    "command", [["--help"], ["bench", "--help"], ["plugins"], ["plugins", "--kind", "explainer"]]
)
def test_help_and_plugins_import_nothing_heavy(command: list[str]) -> None:
    check = (
        "import sys\n"
        "from xrec.cli import main\n"
        f"sys.argv = ['xrec', *{command!r}]\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'lightning', 'polars', 'transformers', 'pyarrow', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not [name for name in sys.modules if name.startswith('xrec_plugins.')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_plugins_lists_a_kind(xrec) -> None:
    code, out, _ = xrec("plugins", "--kind", "metric")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["kind", "name", "package", "version"]
    assert {row[0] for row in rows[1:]} == {"metric"}
    assert {"deletion", "insertion", "completeness", "planted_truth"} <= {row[1] for row in rows}


@pytest.mark.parametrize("name", [path.name for path in RECIPES.glob("*.yaml")])
def test_shipped_recipes_check(xrec, name: str) -> None:
    if "dataset: planted" not in (RECIPES / name).read_text() and "XREC_DATA_DIR" not in os.environ:
        pytest.skip("XREC_DATA_DIR is not set")
    code, out, err = xrec("check", RECIPES / name)
    assert code == 0, err
    assert "good" in out


def test_explain_prints_contributions_and_group_sums(xrec, tiny_run) -> None:
    code, out, err = xrec("explain", tiny_run.folder, "--user", "u3")
    assert code == 0, err
    assert "Recommended to user u3" in out or "user u3" in out
    assert "leave_one_out" in out


def test_explain_takes_an_item_and_an_explainer(xrec, tiny_run) -> None:
    code, out, _ = xrec(
        "explain", tiny_run.folder, "--user", "u3", "--item", "i5", "--explainer", "recency"
    )
    assert code == 0
    titles = dict(zip(tiny_run.data.items.ids, tiny_run.data.titles, strict=True))
    assert out.splitlines()[0] == titles["i5"]
    assert "recency" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "nobody"], ["user 'nobody'"]),
        (["--user", "u3", "--item", "i5000"], ["item 'i5000'"]),
        (["--user", "u3", "--explainer", "kernel_shp"], ["kernel_shp", "kernel_shap"]),
    ],
)
def test_explain_refuses_what_is_not_there(xrec, tiny_run, arguments, words) -> None:
    refused(xrec("explain", tiny_run.folder, *arguments), *words)


def test_a_folder_that_is_no_run(xrec, tmp_path: Path) -> None:
    refused(xrec("explain", tmp_path, "--user", "u1"), str(tmp_path), "is not a run")
    assert not list(tmp_path.iterdir())


MISTAKES = {
    "unknown key": (["trian.epochs=2"], ["trian", "did you mean 'train'"]),
    "unknown nested key": (["train.epoch=2"], ["train.epoch", "did you mean 'epochs'"]),
    "unknown option": (["data.user=60"], ["data.user", "did you mean 'users'"]),
    "wrong type": (["train.epochs=many"], ["train.epochs", "'many'"]),
    "wrong type of option": (["model.width=wide"], ["model.width", "'wide'"]),
    "wrong value": (["train.optimizer=adam"], ["train", "did you mean 'adamw'"]),
    "wrong value of option": (["model.width=15"], ["model", "multiple of heads"]),
    "unknown plugin": (["model.name=sequentail"], ["model 'sequentail'", "'sequential'"]),
    "unknown dataset": (["data.dataset=movielense"], ["did you mean 'movielens'"]),
    "no override": (["train.epochs"], ["train.epochs", "key=value"]),
    "unknown monitor": (["train.monitor=val_ndcg@5"], ["val_ndcg@5", "val_ndcg@10"]),
    "nothing left": (["data.min_events=500"], ["after cleaning no interaction is left"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_recipe(xrec, tiny_recipe: Path, tmp_path: Path, mistake: str) -> None:
    overrides, words = MISTAKES[mistake]
    out = tmp_path / "runs"
    refused(xrec("run", tiny_recipe, *overrides, "--runs", out), *words)
    if mistake == "unknown monitor":  # found by training: the stages before it are good, and kept
        assert not list(out.rglob("*.partial"))
        assert not list(out.rglob("weights*"))
    else:
        assert not out.exists()


def test_no_such_recipe(xrec, tmp_path: Path) -> None:
    refused(xrec("run", tmp_path / "none.yaml"), "none.yaml", "there is no such file")


def test_a_recipe_that_is_not_yaml(xrec, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: [1, 2")
    refused(xrec("run", tmp_path / "bad.yaml", "--runs", tmp_path / "runs"), "bad.yaml")
    assert not (tmp_path / "runs").exists()


def test_a_missing_extra(xrec, tiny_recipe: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "xrec_plugins.explainers.kernel_shap", raising=False)
    monkeypatch.setitem(sys.modules, "shap", None)
    out = tmp_path / "runs"
    told = xrec("run", tiny_recipe, "explain=[kernel_shap]", "--runs", out)
    refused(told, "explainer 'kernel_shap' needs the package shap: pip install 'xrec[shap]'")
    assert not out.exists()


RATINGS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
FILMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tComedy\n"
)
FILES = {
    "missing": (None, ["MovieLens 100k", "ml-100k.inter"]),
    "rating outside the scale": ("7\t1\t9\t1\n", ["line 2", "column 3", "'9'"]),
    "not a number": ("7\t1\tgood\t1\n", ["line 2", "column 3", "'good'"]),
    "a field short": ("7\t1\t3\t1\n7\t1\t3\n", ["line 3", "3 fields"]),
}


@pytest.mark.parametrize("fault", FILES)
def test_faults_in_data_files(xrec, tiny_recipe: Path, tmp_path: Path, fault: str) -> None:
    text, words = FILES[fault]
    folder, out = tmp_path / "films", tmp_path / "runs"
    folder.mkdir()
    if text is not None:
        (folder / "ml-100k.inter").write_text(RATINGS + text)
        (folder / "ml-100k.item").write_text(FILMS)
    recipe = tmp_path / "films.yaml"
    planted = "dataset: planted, users: 60, items: 100, events: 8"
    recipe.write_text(tiny_recipe.read_text().replace(planted, "dataset: movielens"))
    told = xrec("run", recipe, f"data.folder={folder}", "--runs", out)
    refused(told, str(folder), *words)
    assert not out.exists()


def test_weights_with_a_wrong_digest(xrec, tiny_recipe: Path, tmp_path: Path, monkeypatch) -> None:
    pretrained = pytest.importorskip("xrec_plugins.encoders.pretrained")
    name, inside, _ = next(iter(pretrained.PACKAGED.values()))
    wrong = dict.fromkeys(pretrained.PACKAGED, (name, inside, "0" * 64))
    monkeypatch.setattr(pretrained, "PACKAGED", wrong)
    recipe, out = tmp_path / "wrong.yaml", tmp_path / "runs"
    recipe.write_text(tiny_recipe.read_text().replace("name: hashed, size: 16", "name: pretrained"))
    refused(xrec("run", recipe, "--runs", out), "model.safetensors", "SHA-256")
    assert not out.exists()


@pytest.mark.parametrize("name", ["data/items.parquet", "weights.safetensors", "report.html"])
def test_a_full_disk(xrec, tiny_recipe: Path, tmp_path: Path, monkeypatch, name: str) -> None:
    """The disk fills up while a file is written: no half of it stays, and the run can go on."""
    real, out = files.os.fsync, tmp_path / "runs"

    def fsync(descriptor: int) -> None:
        if name.rpartition("/")[2] in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        refused(xrec("run", tiny_recipe, "--runs", out), "the disk is full", name)
    assert not list(out.rglob("*.partial"))
    assert not list(out.rglob(name.rpartition("/")[2]))
    if name.startswith("data/"):  # no stage was finished
        assert not out.exists()
    code, _, err = xrec("run", tiny_recipe, "--runs", out)
    assert code == 0, err


def test_run_ends_with_the_tables_and_the_report(xrec, tiny_recipe: Path, tiny_run) -> None:
    code, out, err = xrec("run", tiny_recipe, "--runs", tiny_run.folder.parents[1])
    assert code == 0, err
    lines = out.splitlines()
    assert lines[-1] == f"report: {tiny_run.folder / 'report.html'}"
    assert {"sequential", "popularity", "item_knn", "ease", "leave_one_out", "random"} <= {
        line.split()[0] for line in lines if line.strip()
    }


def test_data_said_to_be_clean_must_be(xrec, tiny_recipe: Path, tmp_path: Path) -> None:
    told = xrec(
        "run", tiny_recipe, "data.clean=none", "data.min_events=8", "--runs", tmp_path / "runs"
    )
    refused(
        told, "events of users with fewer than 8", "let data.clean have the step short_histories"
    )
    assert not (tmp_path / "runs").exists()

"""Cells: done once, told of, and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrec.bench.cells import Cell, Cells
from xrec.runs.store import Store


def counting(done: list[str], store: Store, name: str, follows: object = 0) -> Cell:
    def work() -> None:
        done.append(name)
        store.write_json(f"cells/{name}.json", {"name": name})

    return Cell(name, "kind", (follows,), work)


def test_a_cell_is_done_once(tmp_path: Path) -> None:
    done: list[str] = []
    told: list[str] = []
    for _ in range(2):
        store = Store(tmp_path)
        cells = Cells(store, told.append)
        cells.do([counting(done, store, "a"), counting(done, store, "b")])
    assert done == ["a", "b"]
    assert [line.split()[0] for line in told] == ["[1/2]", "[2/2]"]
    assert "left" in told[0]


def test_it_is_done_again_where_what_it_follows_or_its_file_has_changed(tmp_path: Path) -> None:
    done: list[str] = []
    store = Store(tmp_path)
    Cells(store, str).do([counting(done, store, "a", 1), counting(done, store, "b")])
    Cells(store, str).do([counting(done, store, "a", 2), counting(done, store, "b")])
    (tmp_path / "cells/b.json").write_text("{}")
    Cells(store, str).do([counting(done, store, "a", 2), counting(done, store, "b")])
    assert done == ["a", "b", "a", "b"]


def test_what_is_stopped_goes_on(tmp_path: Path) -> None:
    done: list[str] = []
    store = Store(tmp_path)

    def stop(line: str) -> None:
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    each = [counting(done, store, name) for name in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        Cells(store, stop).do(each)
    told: list[str] = []
    Cells(store, told.append).do(each)
    assert done == list("abcd")
    assert [line.split()[0] for line in told] == ["[3/4]", "[4/4]"]


def test_cells_to_come_are_counted_as_they_become_known(tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path)
    cells = Cells(store, told.append)
    cells.do([counting([], store, "a")])
    cells.do([counting([], store, "b"), counting([], store, "c")])
    assert [line.split()[0] for line in told] == ["[1/1]", "[2/3]", "[3/3]"]

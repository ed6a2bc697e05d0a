"""What a run says of its model's recommendations."""

from __future__ import annotations

import torch

from xrec.runs.run import Run


def test_rivals_of_what_comes_first_are_what_comes_next(tiny_run: Run) -> None:
    users = torch.arange(1, 8)
    subject = tiny_run.first_choices(users, "test")
    assert torch.equal(tiny_run.rivals(subject.batch, "test"), subject.inputs.rivals)


def test_rivals_are_the_best_but_the_item_itself(tiny_run: Run) -> None:
    data, users = tiny_run.data, torch.arange(1, 8)
    batch = data.queries("test", users)
    batch = batch.about(batch.candidate.roll(1))
    rivals = tiny_run.rivals(batch, "test")
    with torch.no_grad():
        said, seen = tiny_run.model.catalogue(batch), data.seen(users, "test")
    for row, found in enumerate(rivals.tolist()):
        item = int(batch.candidate[row])
        others = [at for at in range(1, len(data.items)) if at != item and not seen[row, at]]
        expected = sorted(others, key=lambda at: -float(said[row, at]))
        assert [at for at in found if at] == expected

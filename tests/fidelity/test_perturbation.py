"""Vectors moved a little, in units of their own size."""

from __future__ import annotations

import torch
from explain.toys import random_toy, toy_inputs

from xrec.fidelity.perturbation import perturbed


def test_each_row_in_turn_is_moved_by_its_own_noises_in_units_of_its_size() -> None:
    # Slot 0 is fixed and slot 3 absent: the size of row 0 is that of 3, 4 and 0, 0 alone.
    values = torch.tensor([[[9, 9], [3, 4], [0, 0], [7, 7]], [[9, 9], [2, 2], [2, 2], [1, 1]]])
    present = torch.tensor([[True, True, True, False], [True, True, True, False]])
    inputs = toy_inputs(values.double(), present, fixed=(0,)).against(torch.tensor([[4], [5]]))
    noise = torch.arange(16.0).view(1, 2, 4, 2).repeat(2, 1, 1, 1)
    moved = perturbed(inputs, noise)
    for copy, (row, at) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        size = 2.5 if row == 0 else 2.0  # sqrt of 25 / 4, and of 16 / 4
        expected = values[row] + size * noise[row, at]
        assert torch.equal(moved.values[copy, 1:3], expected[1:3])
        assert torch.equal(moved.values[copy, [0, 3]], values[row, [0, 3]].double())
        assert moved.rivals is not None
        assert moved.rivals[copy].tolist() == [4 + row]
    assert moved.present.tolist() == present.repeat_interleave(2, 0).tolist()


def test_a_row_without_features_stays() -> None:
    _, inputs = random_toy(rows=2, slots=4, seed=0, fixed=(0,))
    bare = inputs.with_present(inputs.features.fixed)
    moved = perturbed(bare, torch.ones(2, 3, 4, 3))
    assert torch.equal(moved.values, bare.values.repeat_interleave(3, 0))

"""A beginning at what is like a user's last events: beside principal components, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.testing import small_data
from xrec.testing.world import SmallEncoder
from xrec_plugins.models.sequential import Sequential, SequentialRecommender
from xrec_plugins.models.similar import components


def _model(data: Data, texts: Tensor, **options: object) -> SequentialRecommender:
    torch.manual_seed(0)
    given = {"width": 16, "start": "similar", "views": ["text", "identity"], **options}
    model = Sequential(**given).build(data, texts, SmallEncoder())  # type: ignore[arg-type]
    assert isinstance(model, SequentialRecommender)
    return model.eval()


def _texts(data: Data) -> Tensor:
    torch.manual_seed(1)
    return functional.normalize(torch.randn(len(data.items), 40) + 0.5, dim=1)


def _asked(data: Data, history: list[int]) -> Batch:
    batch = data.queries("test").rows(torch.tensor([0]))
    padded = [0] * (data.options.history - len(history)) + history
    return replace(batch, history=torch.tensor([padded]))


def test_components_are_those_of_the_scatter_without_the_mean() -> None:
    texts = _texts(small_data(items=60))
    found = components(texts, 5)
    mean = functional.normalize(texts.mean(0), dim=0)
    assert (found @ mean).abs().max() < 1e-5
    apart = (texts - torch.outer(texts @ mean, mean)).double().numpy()
    values, vectors = np.linalg.eigh(apart.T @ apart)
    by_size = vectors[:, values.argsort()[::-1][:5]].T
    alike = np.abs((functional.normalize(found, dim=1).double().numpy() * by_size).sum(1))
    assert alike == pytest.approx(np.ones(5), abs=1e-4)
    assert float((texts @ found.T).norm(dim=1).mean()) == pytest.approx(1, abs=1e-5)


def test_there_are_no_more_components_than_the_texts_have() -> None:
    assert components(torch.eye(3), 16).shape == (3, 3)
    model = _model(small_data(), torch.randn(len(small_data().items), 4))
    assert model(small_data().queries("test")).isfinite().all()


@pytest.mark.parametrize("layers", [1, 3])
def test_what_is_like_the_last_event_comes_first(layers: int) -> None:
    data = small_data(items=60, history=6)
    texts = _texts(data)
    texts[7] = texts[3]
    model = _model(data, texts, layers=layers)
    with torch.no_grad():
        scores = model.catalogue(_asked(data, [20, 21, 3]))[0, 1:]
    assert set((1 + scores.topk(2).indices).tolist()) == {3, 7}


def test_an_event_weighs_less_the_longer_ago_it_is() -> None:
    """By attention of 1 over its distance, and as little as the first for what is no event."""
    data = small_data(items=60, history=6)
    model = _model(data, _texts(data), layers=1, heads=2)
    with torch.no_grad():
        (attention,) = model.attend(model.embed(_asked(data, [4, 5, 6, 7, 8, 9])))
    profiles = data.profile.values.shape[1]
    told = attention[0, :, 6 + profiles, : 7 + profiles]  # of the query
    known = _asked(data, [4]).profile[0] > 0
    weights = torch.cat([1 / torch.arange(6.0, 0, -1), known / 6, torch.tensor([1 / 6])])
    torch.testing.assert_close(told, (weights / weights.sum()).expand(2, -1))


def test_where_nothing_is_alike_it_recommends_what_was_had_most() -> None:
    data = small_data(items=60)
    texts = functional.normalize(torch.ones(len(data.items), 40), dim=1)
    model, counts = _model(data, texts), torch.rand(len(data.items)) * 50 + 1
    model.views.text.weight.data.zero_()  # of texts that are all the same there are no components
    model.begin_with(counts)
    with torch.no_grad():
        scores = model.catalogue(data.queries("test"))[:, 1:]
    expected = counts[1:].argsort(descending=True)
    assert all(torch.equal(row.argsort(descending=True), expected) for row in scores)


def test_only_a_model_that_begins_so_begins_with_counts() -> None:
    data = small_data()
    for options in ({"start": "random"}, {"views": ["text"]}):
        with pytest.raises(XrecError, match=r"set model\.start to 'similar', and let model\.views"):
            _model(data, _texts(data), **options).begin_with(torch.ones(len(data.items)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "similr"}, "start is 'similr': did you mean 'similar'"),
        ({"start": "similar", "views": ["identity"]}, "views must have 'text'"),
        ({"start": "similar", "width": 1, "heads": 1}, "width be at least 2"),
    ],
)
def test_options_that_make_no_beginning_are_refused(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sequential(**options)

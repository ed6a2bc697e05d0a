"""The transformers within a model: their layers, and what of these can be taken out.

They are found by what they are made of, linear maps that fit together, so that models of any family
or author are understood that are made of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xrec.models.language import LanguageModel

#: What attention calls the number of its heads.
HEADS = ("heads", "num_heads", "num_attention_heads", "n_heads")
CHANNELS = "all_head_size"  # and, in the BERT family, of the channels of all heads
FUSED = 3  # a map that makes queries, keys and values at once is as many maps


@dataclass(frozen=True, eq=False)
class Units:
    """Alike parts of a block, which add up, between the maps that make them and one that reads.

    writers: maps (D → A) that each make a share of every unit, or one (D → 3A) that makes queries,
    keys and values, each of all units. reader (A → D): what each unit adds to the states.
    size: channels of a unit.
    """

    writers: tuple[nn.Linear, ...]
    reader: nn.Linear
    size: int

    @property
    def count(self) -> int:
        """How many units there are by now."""
        return self.reader.in_features // self.size

    @property
    def fused(self) -> bool:
        """Whether one map makes queries, keys and values."""
        return self.writers[0].out_features == FUSED * self.reader.in_features


@dataclass(frozen=True, eq=False)
class Attention(Units):
    """The heads of a block.

    module, counts: what keeps their number, and under which name. columns: tables with a number for
    each head, such as a bias by distance.
    """

    module: nn.Module
    counts: str
    columns: tuple[nn.Embedding, ...]

    def recount(self) -> None:
        """Tell the block how many heads there are, after its maps were changed."""
        for name, number in {self.counts: self.count, CHANNELS: self.reader.in_features}.items():
            if hasattr(self.module, name):
                setattr(self.module, name, number)


@dataclass(frozen=True, eq=False)
class FeedForward(Units):
    """The hidden units of a block's feed-forward net; a gated one has two writers."""


@dataclass(frozen=True, eq=False)
class Block:
    """A layer. attention, feed: None where they are not made of linear maps in a way known here."""

    name: str
    module: nn.Module
    attention: Attention | None
    feed: FeedForward | None


class Left(nn.ModuleList):
    """The layers that were left of a transformer, and the places that they had in it."""

    def __init__(self, modules: Sequence[nn.Module] = (), places: Sequence[int] = ()) -> None:
        super().__init__(modules)
        self.places = tuple(places)


@dataclass(frozen=True, eq=False)
class Stack:
    """The layers of a transformer, first to last; `name` is what the model calls their list.

    language: the language model that they are of, if of one.
    """

    name: str
    model: nn.Module
    blocks: tuple[Block, ...]
    language: LanguageModel | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """The places that the layers had before any was left out, or when last renumbered."""
        layers = self.model.get_submodule(self.name)
        return layers.places if isinstance(layers, Left) else tuple(range(len(self.blocks)))

    def renumber(self) -> None:
        """Let the places be those that the layers have by now."""
        self._put(nn.ModuleList(block.module for block in self.blocks))

    def keep(self, at: Sequence[int]) -> None:
        """Leave the layers at some places of `blocks` alone; this stack is of the past then."""
        self._put(
            Left([self.blocks[each].module for each in at], [self.places[each] for each in at])
        )
        if self.language is not None:
            config = self.language.transformer.config
            config.num_hidden_layers = len(at)
            if getattr(config, "layer_types", None) is not None:
                config.layer_types = [config.layer_types[each] for each in at]

    def _put(self, layers: nn.ModuleList) -> None:
        self.model.set_submodule(self.name, layers)


def stacks(model: nn.Module) -> list[Stack]:
    """Every transformer of a model: those of language models, and what else is a list of layers.

    Of the latter, each layer must have attention as it is known here.

    Raises XrecError: the layers of a language model are not to be found.
    """
    found = []
    inside: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, LanguageModel):
            inside.append(f"{name}." if name else "")
            layers = module.layers
            place = next(n for n, m in module.named_modules() if _lists(m, layers))
            whole = f"{name}.{place}" if name else place
            found.append(Stack(whole, model, _blocks(whole, layers), module))
        elif isinstance(module, nn.ModuleList) and not name.startswith(tuple(inside)):
            blocks = _blocks(name, list(module))
            if blocks and all(block.attention for block in blocks):
                found.append(Stack(name, model, blocks))
    return found


def _lists(module: nn.Module, layers: Sequence[nn.Module]) -> bool:
    return isinstance(module, nn.ModuleList) and list(module) == list(layers)


def _blocks(name: str, layers: Sequence[nn.Module]) -> tuple[Block, ...]:
    return tuple(_block(f"{name}.{at}", module) for at, module in enumerate(layers))


def _block(name: str, module: nn.Module) -> Block:
    maps = _maps(module.modules())
    attention = next(_attentions(module, maps), None)
    return Block(name, module, attention, _feed(maps, _attending(module, attention)))


def _maps(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    """Those that are linear maps, and have plain numbers for weights."""
    linear = [each for each in modules if isinstance(each, nn.Linear)]
    return [each for each in linear if not is_traceable_wrapper_subclass(each.weight)]


def _attentions(block: nn.Module, maps: Sequence[nn.Linear]) -> Iterator[Attention]:
    """Where a module knows of heads and has maps of its own, of which the last may be another's."""
    for module in block.modules():
        counts = next((name for name in HEADS if isinstance(vars(module).get(name), int)), None)
        own = _maps(module.children())
        if counts is None or not own:
            continue
        heads = getattr(module, counts)
        if len(own) in (1, FUSED):
            own += maps[maps.index(own[-1]) + 1 :][:1]
        *writers, reader = own
        inner = reader.in_features
        wanted = {1: FUSED * inner, FUSED: inner}.get(len(writers))
        if heads > 0 and inner % heads == 0 and _fit(writers, reader, wanted):
            columns = tuple(
                each
                for each in module.children()
                if isinstance(each, nn.Embedding) and each.embedding_dim == heads
            )
            yield Attention(tuple(writers), reader, inner // heads, module, counts, columns)


def _attending(block: nn.Module, attention: Attention | None) -> list[nn.Linear]:
    """The maps of attention; where it is unknown, those of the block's first part that has any."""
    if attention is not None:
        return [*attention.writers, attention.reader]
    return next(filter(None, (_maps(part.modules()) for part in block.children())), [])


def _feed(maps: Sequence[nn.Linear], attending: Sequence[nn.Linear]) -> FeedForward | None:
    """The last maps of a block: one or two into the hidden units, and one out of them."""
    rest = [each for each in maps if each not in attending]
    if not rest:
        return None
    reader, writers = rest.pop(), list[nn.Linear]()
    while rest and _fit(rest[-1:], reader, reader.in_features):
        writers.insert(0, rest.pop())
    return FeedForward(tuple(writers), reader, 1) if len(writers) in (1, 2) else None


def _fit(writers: Sequence[nn.Linear], reader: nn.Linear, made: int | None) -> bool:
    """Whether maps make so many channels each, of states as wide as what the reader gives."""
    return all((w.in_features, w.out_features) == (reader.out_features, made) for w in writers)

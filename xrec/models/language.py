"""A pretrained transformer that reads texts: as token vectors, as states, as one vector a text."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import XrecError
from xrec.models.family import Family

for _name in ("torch.utils._pytree", "torchao"):  # which transformers imports where it is there
    logging.getLogger(_name).setLevel(logging.ERROR)

TUNES = ("frozen", "lora", "full")
POOLINGS = ("auto", "mean", "last", "first")
TOKENIZED_AT_ONCE = 4096  # texts: those of a large catalogue do not fit in memory as tokens
UNBOUNDED = 2**20  # positions of a model that knows no end, as those without position vectors
#: Query and value projections (Hu et al., 2021), as model families call them; some fuse them.
PROJECTIONS = (
    *("query", "value", "query_proj", "value_proj", "q_proj", "v_proj", "q_lin", "v_lin", "q", "v"),
    *("c_attn", "query_key_value", "qkv_proj", "Wqkv", "in_proj"),
)
#: The norm after the last layer, as model families call it; most encoders have none.
FINAL_NORMS = ("norm", "ln_f", "final_norm", "final_layer_norm", "decoder.final_layer_norm")


class LanguageModel(nn.Module):
    """A pretrained transformer that reads texts: an encoder (BERT family) or a decoder (GPT-2 …).

    kind: "encoder" or "decoder".
    width, embedding_width: E of its states, D of its word vectors.
    longest: how many tokens it can read at once.
    pooling: "mean", "last" or "first": which states make the vector of a text.
    opening, closing: special tokens before and after a text; a decoder always has one end token.
    tune: "frozen", nothing learns and no dropout is drawn; "lora", low-rank adapters of the query
        and value projections learn (Hu et al., 2021); "full", everything learns.

    `state_dict` holds only what learns, and loading asks for no more: what is frozen comes from the
    model's files.
    """

    def __init__(
        self,
        transformer: Any,
        tokenizer: Any,
        family: Family,
        *,
        tune: str = "frozen",
        rank: int = 8,
        alpha: int = 16,
        checkpointing: bool = False,
        pooling: str = "auto",
    ) -> None:
        super().__init__()
        self.kind, self.model_type = family.kind, family.model_type
        self.pooling = family.pooling if pooling == "auto" else pooling
        self.tune, self.tokenizer, self.transformer = tune, tokenizer, transformer
        config = transformer.config
        self.width: int = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
        self.embedding_width: int = transformer.get_input_embeddings().weight.shape[1]
        self.opening, self.closing = _framed(tokenizer, self.kind)
        self._offset = _offset(transformer)
        self._types = _types(transformer)
        self.longest = _longest(config, tokenizer, self._offset)
        self._takes = frozenset(inspect.signature(transformer.forward).parameters)
        self._tune(rank, alpha, checkpointing)
        learning = {n for n, p in self.named_parameters(remove_duplicate=False) if p.requires_grad}
        self._frozen = frozenset(self.state_dict()) - learning
        self.register_state_dict_post_hook(_keep_what_learns)
        self.register_load_state_dict_pre_hook(_add_what_is_frozen)
        self.train()

    @classmethod
    def load(cls, folder: Path, **options: Any) -> LanguageModel:
        """The model of a folder of `transformers` files; options as the constructor's.

        Raises XrecError: the folder does not hold such a model, whole; or peft is not installed.
        """
        from transformers import AutoModel, AutoTokenizer

        family = Family.of(folder)
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            # In float32 whatever the files have: a text's vector must not depend on its batch.
            transformer, found = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        lacking = sorted(name for name in found["missing_keys"] if "pooler" not in name)
        if lacking:
            raise XrecError(
                f"language model {folder}: the weights lack {lacking[0]} and {len(lacking) - 1} "
                f"more tensors of a '{family.model_type}' model; give the folder of the whole model"
            )
        return cls(transformer, tokenizer, family, **options)

    def _tune(self, rank: int, alpha: int, checkpointing: bool) -> None:
        """Let what `tune` names learn, and nothing else."""
        self.transformer.requires_grad_(self.tune == "full")
        if self.tune == "lora":
            _adapt(self.transformer, self.model_type, rank, alpha)
        for name, parameter in self.transformer.named_parameters():
            if "pooler." in name:  # never read here
                parameter.requires_grad_(False)
        if checkpointing and self.tune != "frozen":
            if not self.transformer.supports_gradient_checkpointing:
                raise XrecError(
                    f"encoder.checkpointing: a '{self.model_type}' model cannot be checkpointed: "
                    "set it to false"
                )
            self.transformer.activation_checkpointing_enable()

    def settle(self) -> None:
        """Merge adapters into the weights, and let all of these learn and be kept with the model.

        For what changes a model after training: what is frozen is in its files no longer.
        """
        if self.tune == "lora":
            _merge(self.transformer)
        self.tune, self._frozen = "full", frozenset()
        self._tune(0, 0, checkpointing=False)

    def train(self, mode: bool = True) -> LanguageModel:
        """Draw dropout or not; a frozen model never does, as nothing would learn from it."""
        return super().train(mode and self.tune != "frozen")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._words.weight.device

    @property
    def _words(self) -> Any:
        return self.transformer.get_input_embeddings()

    # Texts

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special tokens, however long."""
        return self._tokens(texts)

    def _tokens(self, texts: Sequence[str], most: int | None = None) -> list[list[int]]:
        found = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=most is not None,
            max_length=most,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = found["input_ids"]
        return ids

    def framed(self, content: Sequence[int]) -> list[int]:
        """Token ids between the special tokens."""
        return [*self.opening, *content, *self.closing]

    @cached_property
    def _pieces(self) -> tuple[str, ...]:
        named = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        bytes_of = _bytes() if _is_byte_level(self.tokenizer) else None
        known = [_called(token, bytes_of) for token in named]
        spare = range(len(known), len(self._words.weight))
        return (*known, *(f"token {at}" for at in spare))

    def pieces(self) -> list[str]:
        """What a person calls each token id: "##ing" is "ing", "Ġthe" and "▁the" are "the"."""
        return list(self._pieces)

    # Vectors

    def word_vectors(self, ids: Tensor) -> Tensor:
        """(…, D): the input embedding of token ids (…) int64."""
        vectors: Tensor = self._words(ids)
        return vectors

    def states(self, vectors: Tensor, present: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """(B, T, E) the last layer's states, 0 where a token is absent.

        vectors (B, T, D), as `word_vectors` gives them; present (B, T) bool; positions (B, T)
        int64 from 0; types (B, T) int64, ignored by models without token types. A token that is
        absent changes nothing, whatever its vector, even NaN. Models with relative positions or
        windows (MPNet, DeBERTa, ModernBERT) count distance in slots.

        Raises XrecError: the model cannot be given vectors and positions.
        """
        given = self._given(vectors, present, positions, types)
        states = self.transformer(**given).last_hidden_state
        return states.masked_fill(~present[..., None], 0)

    def attention(
        self, vectors: Tensor, present: Tensor, positions: Tensor, types: Tensor
    ) -> list[Tensor]:
        """Attention of each layer (B, H, T, T), in evaluation; the arguments are as in `states`.

        An absent token attends to itself alone, and none to it.
        """
        with torch.no_grad(), still(self):
            _, maps = self.watched(vectors, present, positions, types)
        alone = torch.eye(present.shape[1], dtype=maps[0].dtype, device=present.device)
        return [torch.where(present[:, None, :, None], each, alone) for each in maps]

    def watched(
        self, vectors: Tensor, present: Tensor, positions: Tensor, types: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """`states`, and the attention (B, H, T, T) of each layer that they were made of.

        What the rows of absent tokens say is of no account.
        """
        given = self._given(vectors, present, positions, types)
        with eager(self.transformer):
            told = self.transformer(**given, output_attentions=True)
        return told.last_hidden_state.masked_fill(~present[..., None], 0), list(told.attentions)

    def states_by_layer(
        self, vectors: Tensor, present: Tensor, positions: Tensor, types: Tensor
    ) -> list[Tensor]:
        """(B, T, E) what `states` would be before any layer, and after each.

        Where the model ends with a norm, the states before it go through that norm as well.
        """
        given = self._given(vectors, present, positions, types)
        *before, last = self.transformer(**given, output_hidden_states=True).hidden_states
        norm = next((m for n, m in self._inside.named_modules() if n in FINAL_NORMS), None)
        each = [*(before if norm is None else map(norm, before)), last]
        return [states.masked_fill(~present[..., None], 0) for states in each]

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer's layers, first to last.

        Raises XrecError where they are not to be found.
        """
        count = self.transformer.config.num_hidden_layers
        for module in self._inside.modules():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return list(module)
        raise XrecError(f"the layers of a '{self.model_type}' model are not where they are sought")

    @property
    def _inside(self) -> nn.Module:
        """The transformer, or where another module stands for it, the one that this keeps."""
        inside: nn.Module = getattr(self.transformer, "beside", self.transformer)
        return inside

    def _given(
        self, vectors: Tensor, present: Tensor, positions: Tensor, types: Tensor
    ) -> dict[str, Any]:
        if not {"inputs_embeds", "position_ids"} <= self._takes:
            raise XrecError(
                f"a '{self.model_type}' model cannot be given vectors and positions: choose a "
                "model that can, such as BERT, RoBERTa, MPNet, GPT-2, Llama or Qwen"
            )
        dtype = self._words.weight.dtype
        given = {
            "inputs_embeds": vectors.masked_fill(~present[..., None], 0).to(dtype),
            "attention_mask": present.long(),
            "position_ids": positions.masked_fill(~present, 0) + self._offset,
        }
        if self._types:
            given["token_type_ids"] = types.masked_fill(~present, 0)
        return given | self._uncached()

    def _uncached(self) -> dict[str, bool]:
        return {"use_cache": False} if self.kind == "decoder" else {}

    def pooled(self, states: Tensor, present: Tensor) -> Tensor:
        """(B, E) one vector a row of states (B, T, E): by `pooling`, of those present (B, T)."""
        if self.pooling == "mean":
            count = present.sum(1, keepdim=True).clamp(min=1)
            return states.masked_fill(~present[..., None], 0).sum(1) / count
        order = torch.arange(present.shape[1], device=present.device)
        order = order + 1 if self.pooling == "last" else len(order) - order
        at = torch.where(present, order, 0).argmax(1)
        return states[torch.arange(len(at), device=at.device), at]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(N, E) float32 of unit length, for token ids (N, T) int64 where mask (N, T) is 1."""
        given = {"input_ids": ids, "attention_mask": mask.long(), **self._uncached()}
        states = self.transformer(**given).last_hidden_state.float()
        return functional.normalize(self.pooled(states, mask.bool()), dim=-1)

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """ids and mask (N, longest row) int64 of rows of token ids, padded on the right."""
        width = max(map(len, rows), default=0)
        ids = torch.tensor([[*row, *[self.filler] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return ids.to(self.device), mask.to(self.device)

    @property
    def filler(self) -> int:
        """The token id that fills rows: it is masked, so any will do where none is for padding."""
        pad, rows = self.tokenizer.pad_token_id, len(self._words.weight)
        # A tokenizer's class may name a token for padding that the model has no vector of.
        return int(pad) if pad is not None and pad < rows else (*self.opening, *self.closing)[-1]

    def encode(self, texts: Sequence[str], max_tokens: int, batch_tokens: int) -> Tensor:
        """(N, E) float32 of unit length on the CPU, without gradient.

        Texts are cut off at max_tokens, special tokens included, or where the model ends;
        batch_tokens, padding included, go at once: it changes the time taken, not the vectors.

        Raises XrecError: more than half of what the texts say is unknown to the tokenizer.
        """
        room = min(max_tokens, self.longest) - len(self.opening) - len(self.closing)
        vectors, tally = torch.empty(len(texts), self.width), Tally(self.tokenizer.unk_token_id)
        for at in range(0, len(texts), TOKENIZED_AT_ONCE):
            some = slice(at, at + TOKENIZED_AT_ONCE)
            content = self._tokens(texts[some], max(room, 1))
            tally.count(texts[some], content)
            rows = [self.framed(each[: max(room, 0)]) for each in content]
            self._encode_into(vectors[some], rows, batch_tokens)
        tally.check()
        return vectors

    def _encode_into(self, vectors: Tensor, rows: Sequence[Sequence[int]], size: int) -> None:
        with torch.inference_mode(), still(self):
            for some in _batches([len(row) for row in rows], size):
                vectors[some] = self(*self.padded([rows[at] for at in some])).cpu()


class Tally:
    """How much of texts a tokenizer knows."""

    def __init__(self, unknown: int | None) -> None:
        self.unknown = unknown
        self.all = self.lost = 0
        self.example = ""

    def count(self, texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> None:
        """Count the tokens of some texts."""
        for text, ids in zip(texts, tokens, strict=True):
            lost = ids.count(self.unknown) if self.unknown is not None else 0
            self.all += len(ids)
            self.lost += lost
            if 2 * lost > len(ids) and not self.example:
                self.example = text

    def check(self) -> None:
        """Raise XrecError if more than half of the tokens are unknown."""
        if 2 * self.lost > self.all:
            raise XrecError(
                f"encoder.source: the tokenizer does not know {self.lost / self.all:.0%} of what "
                f"the texts say, as in '{self.example[:60]}': choose a multilingual model, "
                "such as sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
            )


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows in batches of at most `size` tokens, padding included, or of one row longer than that.

    Texts with as many tokens go together, so that little is padding and little needs a mask.
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while rows:
        count = max(1, size // max(1, lengths[rows[0]]))
        yield rows[:count]
        rows = rows[count:]


# What models and tokenizers are like


def _framed(tokenizer: Any, kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and after a text, found by tokenizing one."""
    whole = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    at = next(at for at in range(len(whole) + 1) if whole[at : at + len(bare)] == bare)
    opening, closing = tuple(whole[:at]), tuple(whole[at + len(bare) :])
    if kind == "encoder" and (opening or closing):
        return opening, closing
    # A decoder's tokenizer may add an end or not; one without any special token reads "" as none.
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id)
    known = [token for token in ends if token is not None]
    if not known:
        raise XrecError(
            f"encoder.source: the tokenizer of {tokenizer.name_or_path} has no end token "
            "(eos_token): set it in tokenizer_config.json"
        )
    return opening, (known[0],)


def _offset(transformer: Any) -> int:
    """What is added to positions: the RoBERTa family begins after its padding index."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def _types(transformer: Any) -> bool:
    """Whether the model tells token types apart."""
    return any(
        name.endswith("token_type_embeddings")
        and isinstance(module, nn.Embedding)
        and module.num_embeddings > 1
        for name, module in transformer.named_modules()
    )


def _longest(config: Any, tokenizer: Any, offset: int) -> int:
    positions = getattr(config, "max_position_embeddings", None)
    sizes = [positions - offset if positions and positions > 0 else UNBOUNDED]
    sizes += [tokenizer.model_max_length]  # 1e30 where the files do not say
    return int(min(UNBOUNDED, *sizes))


def _adapt(transformer: Any, model_type: str, rank: int, alpha: int) -> None:
    """Put low-rank adapters on the query and value projections; they change nothing at first."""
    check_peft()
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    projections = [
        name
        for name, module in transformer.named_modules()
        if name.rpartition(".")[2] in PROJECTIONS and isinstance(module, (nn.Linear, Conv1D))
    ]
    if not projections:
        raise XrecError(
            f"encoder.tune: no attention projection of a '{model_type}' model is known to 'lora': "
            "set it to frozen or full"
        )
    fused = any(isinstance(transformer.get_submodule(name), Conv1D) for name in projections)
    options = LoraConfig(r=rank, lora_alpha=alpha, target_modules=projections, fan_in_fan_out=fused)
    inject_adapter_in_model(options, transformer)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def _merge(transformer: Any) -> None:
    """Put what each adapter adds into the weights that it is beside, and take the adapter away."""
    from peft.tuners.lora import LoraLayer

    adapted = [(n, m) for n, m in transformer.named_modules() if isinstance(m, LoraLayer)]
    for name, module in adapted:
        module.merge()
        transformer.set_submodule(name, module.get_base_layer())


def check_peft() -> None:
    """Raise XrecError if peft is not installed."""
    if find_spec("peft") is None:
        raise XrecError("encoder.tune 'lora' needs the package peft: pip install 'xrec[peft]'")


# What is kept


def _keep_what_learns(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, LanguageModel)
    for key in [key for key in state if key.startswith(prefix)]:
        if key[len(prefix) :] in module._frozen:
            del state[key]


def _add_what_is_frozen(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Give what is frozen back to itself, so that a strict load misses nothing."""
    assert isinstance(module, LanguageModel)
    own = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    for name, tensor in own:
        if name in module._frozen:
            state.setdefault(prefix + name, tensor.detach())


# Moments


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from telling of what it loads for a while: a run tells its own progress."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


@contextmanager
def eager(transformer: Any) -> Iterator[None]:
    """Compute attention step by step for a while: faster ways do not show it."""
    before = transformer.config._attn_implementation
    transformer.set_attn_implementation("eager")
    try:
        yield
    finally:
        transformer.set_attn_implementation(before)


# What tokens are called


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and '"ByteLevel"' in json.dumps(
        json.loads(backend.to_str()).get("decoder")
    )


def _bytes() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (Radford et al., 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + at): byte for at, byte in enumerate(others)
    }


def _called(token: str | None, bytes_of: dict[str, int] | None) -> str:
    if token is None:
        return ""
    text = token.removeprefix("##").replace("▁", " ")
    if bytes_of and all(letter in bytes_of for letter in token):
        # Part of a letter that takes several bytes is shown as bytes.
        text = bytes(bytes_of[letter] for letter in token).decode(errors="backslashreplace")
    # A space or a new line alone would show as nothing.
    return text.strip() or repr(text)[1:-1].replace(" ", "␣")

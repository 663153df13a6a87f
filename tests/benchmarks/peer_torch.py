"""The step in PyTorch that ours is compared with, and what both compute.

What a good PyTorch user would write: Hugging Face's ElectraForMaskedLM and
ElectraForPreTraining with shared embeddings, the same masking, sampling, losses,
clipping and AdamW; logits of the vocabulary at the masked positions alone, sampled
with one random number each; fused optimizer, scaled-dot-product attention with
its dropout, autocast for bfloat16. No step waits for the one before it.
"""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from electra_jax.interop.names import hugging_face_from_params
from electra_jax.runs.networks import electra_config
from electra_jax.shapes import Params
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import SpecialIds

VOCAB_SIZE, FIRST_WORD = 30_522, 1_000
SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
MODES = {"eager": None, "compile": "default", "cudagraphs": "reduce-overhead"}
PARTS = {
    "generator": ("embeddings", "generator", "generator_head"),
    "discriminator": ("embeddings", "discriminator", "discriminator_head"),
}


class Case(NamedTuple):
  """What a side computes, and how.

  Attributes:
    size: of configs/pretrain.py.
    batch_size: rows of a step.
    length: tokens of a row.
    dtype: of activations, "float32" or "bfloat16".
    overrides: of the config, "KEY=VALUE" each.
    full_rows: no row has padding, so that the peer needs no mask.
    device: of the peer, as torch names it.
    mode: of the peer, one of MODES.
    attention: of the peer, transformers' "sdpa" or "eager".
  """

  size: str = "small"
  batch_size: int = 16
  length: int = 128
  dtype: str = "float32"
  overrides: tuple[str, ...] = ()
  full_rows: bool = False
  device: str = "cpu"
  mode: str = "eager"
  attention: str = "sdpa"

  def config(self):
    """Returns the pre-training config, resolved."""
    config = config_files.load_config(
        f"{ROOT}/configs/pretrain.py:{self.size}",
        [f"--config.{override}" for override in self.overrides],
    )
    config.model.dtype = self.dtype
    config.data.length = self.length
    config.train.batch_size = self.batch_size
    return config

  def batch(self) -> Batch:
    """Returns made-up rows; every eighth has padding."""
    shape = self.batch_size, self.length
    ids = np.random.default_rng(0).integers(FIRST_WORD, VOCAB_SIZE, shape)
    total = np.full(self.batch_size, self.length)
    if not self.full_rows:
      total[::8] -= self.length // 4
    first, row = total // 2, np.arange(self.batch_size)
    ids[:, 0], ids[row, first - 1], ids[row, total - 1] = 101, 102, 102
    ids[np.arange(self.length) >= total[:, None]] = SPECIAL.pad
    lengths = np.stack([first, total], axis=1).astype(np.int32)
    return Batch(ids.astype(np.uint16), lengths)


class PeerStep:
  """The same step in PyTorch."""

  def __init__(self, case: Case):
    config = case.config()
    model = electra_config(config, VOCAB_SIZE)
    self.device, self.dtype = case.device, getattr(torch, case.dtype)
    self.mask_prob = config.objective.mask_prob
    self.gen_weight = config.objective.gen_weight
    self.disc_weight = config.objective.disc_weight
    self.generator = transformers.ElectraForMaskedLM(
        hf_config(model.generator, case.attention)
    )
    self.discriminator = transformers.ElectraForPreTraining(
        hf_config(model.discriminator, case.attention)
    )
    shared = self.discriminator.electra.embeddings
    self.generator.electra.embeddings = shared
    self.generator.generator_lm_head.weight = shared.word_embeddings.weight
    self.both = torch.nn.ModuleList([self.generator, self.discriminator])
    self.both.to(self.device).train()
    self.optimizer = adamw(self.both, config.optimizer)
    self._place(case, config.data.length)
    self.loss = self._loss
    if MODES[case.mode]:
      self.loss = torch.compile(self._loss, mode=MODES[case.mode])

  def run(self, steps: int) -> float:
    """Takes steps, waits for the last one and returns its loss."""
    is_mixed = self.dtype != torch.float32
    for _ in range(steps):
      with torch.autocast(self.device, self.dtype, enabled=is_mixed):
        loss = self.loss()
      loss.backward()
      torch.nn.utils.clip_grad_norm_(self.both.parameters(), 1.0)
      self.optimizer.step()
      self.optimizer.zero_grad(set_to_none=True)
    if self.device == "cuda":
      torch.cuda.synchronize()
    return loss.item()

  def load(self, params: Params) -> None:
    """Takes over parameters of ours."""
    for name, parts in PARTS.items():
      tensors = hugging_face_from_params({part: params[part] for part in parts})
      result = getattr(self, name).load_state_dict(
          {key: torch.tensor(value) for key, value in tensors.items()},
          strict=False,
      )
      # The table that the generator's head shares stands there once.
      assert not result.unexpected_keys, result
      assert set(result.missing_keys) <= {"generator_lm_head.weight"}, result

  @torch.no_grad()
  def logits(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both networks' float32 logits of the first rows, no dropout.

    Args:
      positions: [B, K] where the generator's are wanted.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    self.both.eval()
    places = torch.tensor(positions, device=self.device).long()
    rows = slice(len(places))
    extra = {"token_type_ids": self.segments[rows]}
    if self.mask is not None:
      extra["attention_mask"] = self.mask[rows]
    mlm = self._generator_logits(self.ids[rows], places, extra)
    rtd = self.discriminator(self.ids[rows], **extra)[0]
    self.both.train()
    torch.set_float32_matmul_precision(precision)
    return mlm.cpu().numpy(), rtd.cpu().numpy()

  def _place(self, case: Case, length: int) -> None:
    batch, place = case.batch(), torch.arange(length)[None]
    first, total = torch.tensor(batch.segment_lengths).long().split(1, 1)
    self.ids = torch.tensor(batch.input_ids.astype(np.int64)).to(self.device)
    self.is_token = (place < total).to(self.device)
    self.segments = ((place >= first) & (place < total)).long().to(self.device)
    slots = max(1, int((self.mask_prob + 0.005) * length))
    count = (total * self.mask_prob).round().clamp(1, slots)
    self.is_used = (torch.arange(slots)[None] < count).to(self.device)
    # In its final shape: from [B, L] transformers makes it in every step, and
    # waits for the device to see whether it is needed.
    self.mask = None
    if not case.full_rows:
      self.mask = self.is_token[:, None, None, :]
      if case.attention == "eager":
        self.mask = torch.where(self.mask, 0.0, torch.finfo(self.dtype).min)

  def _loss(self) -> torch.Tensor:
    special = (self.ids == SPECIAL.cls) | (self.ids == SPECIAL.sep)
    scores = torch.rand(self.ids.shape, device=self.device)
    scores = scores.masked_fill(special | ~self.is_token, -1)
    positions = scores.topk(self.is_used.shape[1]).indices
    labels = self.ids.gather(1, positions)
    writes = torch.rand(positions.shape, device=self.device) < 0.85
    masked = self.ids.scatter(
        1, positions, torch.where(writes & self.is_used, SPECIAL.mask, labels)
    )
    extra = {"attention_mask": self.mask, "token_type_ids": self.segments}
    logits = self._generator_logits(masked, positions, extra).float()
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none"
    )
    mlm = (nats * self.is_used.flatten()).sum() / self.is_used.sum()
    sampled = torch.where(self.is_used, sample(logits.detach()), labels)
    corrupted = self.ids.scatter(1, positions, sampled)
    scores = self.discriminator(corrupted, **extra)[0].float()
    nats = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, (corrupted != self.ids).float(), reduction="none"
    )
    rtd = (nats * self.is_token).sum() / self.is_token.sum()
    return self.gen_weight * mlm + self.disc_weight * rtd

  def _generator_logits(self, ids, positions, extra) -> torch.Tensor:
    hidden = self.generator.electra(ids, **extra)[0]
    index = positions[..., None].expand(-1, -1, hidden.shape[-1])
    hidden = self.generator.generator_predictions(hidden.gather(1, index))
    return self.generator.generator_lm_head(hidden)


def sample(logits: torch.Tensor) -> torch.Tensor:
  """Samples by the inverse distribution: V random numbers cost more."""
  mass = logits.softmax(-1).cumsum(-1)
  uniforms = torch.rand((*mass.shape[:-1], 1), device=mass.device)
  chosen = torch.searchsorted(mass, uniforms * mass[..., -1:]).squeeze(-1)
  return chosen.clamp(max=mass.shape[-1] - 1)


def adamw(modules: torch.nn.Module, config) -> torch.optim.Optimizer:
  """The recipe's Adam, in one kernel."""
  groups = {config.weight_decay: [], 0.0: []}
  for name, parameter in modules.named_parameters():
    skips = "LayerNorm" in name or "bias" in name
    groups[0.0 if skips else config.weight_decay].append(parameter)
  return torch.optim.AdamW(
      [
          {"params": params, "weight_decay": decay}
          for decay, params in groups.items()
      ],
      lr=config.learning_rate / config.warmup_steps,
      eps=config.adam_epsilon,
      fused=True,
  )


def hf_config(encoder, attention: str) -> transformers.ElectraConfig:
  return transformers.ElectraConfig(
      vocab_size=encoder.vocab_size,
      embedding_size=encoder.embedding_size,
      hidden_size=encoder.hidden_size,
      num_hidden_layers=encoder.num_layers,
      num_attention_heads=encoder.num_heads,
      intermediate_size=encoder.intermediate_size,
      hidden_dropout_prob=encoder.hidden_dropout,
      attention_probs_dropout_prob=encoder.attention_dropout,
      attn_implementation=attention,
  )

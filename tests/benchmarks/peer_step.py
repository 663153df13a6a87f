"""One training step of ours against the same step in PyTorch, in one run.

The peer is what a PyTorch user would write: Hugging Face's ElectraForMaskedLM
and ElectraForPreTraining with shared embeddings, the same masking, sampling,
losses, clipping and AdamW, eager or torch.compile. Rounds of both sides
alternate, so that the ratio holds when the machine's speed drifts.

  python tests/benchmarks/peer_step.py --size small --batch-size 16
  python tests/benchmarks/peer_step.py --size base --batch-size 128 \
      --dtype bfloat16 --compile --device cuda
"""

import argparse
import json
import pathlib
import platform
import statistics
import sys
import time

import jax
import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import cli, programs  # noqa: E402
from electra_jax.data.feed import Batch  # noqa: E402
from electra_jax.data.tokenizer import SpecialIds  # noqa: E402
from electra_jax.training import sharding  # noqa: E402

VOCAB_SIZE = 30522
SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def random_batch(batch_size: int, length: int) -> Batch:
  rng = np.random.default_rng(0)
  ids = rng.integers(1000, VOCAB_SIZE, (batch_size, length)).astype(np.uint16)
  ids[:, 0], ids[:, length // 2], ids[:, -1] = 101, 102, 102
  lengths = np.tile([[length // 2 + 1, length]], (batch_size, 1))
  return Batch(ids, lengths.astype(np.int32))


class OurStep:
  """The program that `electra-jax pretrain` runs."""

  def __init__(self, args):
    config = cli.load_config(f"{ROOT}/configs/pretrain.py:{args.size}", [])
    config.model.dtype = args.dtype
    config.data.length = args.length
    config.train.batch_size = args.batch_size
    self.mesh = sharding.make_mesh(devices=jax.devices()[:1])
    parts = programs.build(
        config, programs.Vocabulary(VOCAB_SIZE, SPECIAL), self.mesh
    )
    self.state, self.train_step = parts.init(), parts.train_step
    self.batch = random_batch(args.batch_size, args.length)

  def run(self, steps: int) -> float:
    for _ in range(steps):
      batch = sharding.to_global(self.mesh, self.batch)
      self.state, sums = self.train_step(self.state, batch)
    return float(sums["loss"][0])


class PeerStep:
  """The same step in PyTorch."""

  def __init__(self, args):
    config = cli.load_config(f"{ROOT}/configs/pretrain.py:{args.size}", [])
    model = programs.electra_config(config, VOCAB_SIZE)
    self.device, self.dtype = args.device, getattr(torch, args.dtype)
    self.generator = transformers.ElectraForMaskedLM(hf_config(model.generator))
    self.discriminator = transformers.ElectraForPreTraining(
        hf_config(model.discriminator)
    )
    shared = self.discriminator.electra.embeddings
    self.generator.electra.embeddings = shared
    self.generator.generator_lm_head.weight = shared.word_embeddings.weight
    both = torch.nn.ModuleList([self.generator, self.discriminator])
    both.to(self.device).train()
    named = dict(both.named_parameters()).items()

    def skip(name):
      return "LayerNorm" in name or "bias" in name

    self.parameters = [p for _, p in named]
    self.optimizer = torch.optim.AdamW(
        [
            {
                "params": [p for n, p in named if not skip(n)],
                "weight_decay": 0.01,
            },
            {"params": [p for n, p in named if skip(n)], "weight_decay": 0.0},
        ],
        lr=config.optimizer.learning_rate,
        eps=1e-6,
        fused=args.device == "cuda",
    )
    batch = random_batch(args.batch_size, args.length)
    place = torch.arange(args.length)[None]
    lengths = torch.tensor(batch.segment_lengths).long()
    self.ids = torch.tensor(batch.input_ids.astype(np.int64)).to(self.device)
    self.mask = (place < lengths[:, 1:]).long().to(self.device)
    self.segments = (place >= lengths[:, :1]).long().to(self.device)
    self.slots = int((config.objective.mask_prob + 0.005) * args.length)
    self.loss = self._loss
    if args.compile:
      self.loss = torch.compile(self._loss)

  def _loss(self):
    special = (self.ids == 101) | (self.ids == 102)
    scores = torch.rand(self.ids.shape, device=self.device)
    positions = scores.masked_fill(special, -1).topk(self.slots).indices
    labels = self.ids.gather(1, positions)
    writes = torch.rand(positions.shape, device=self.device) < 0.85
    masked = self.ids.scatter(1, positions, torch.where(writes, 103, labels))
    extra = {"attention_mask": self.mask, "token_type_ids": self.segments}
    hidden = self.generator.electra(masked, **extra)[0]
    index = positions[..., None].expand(-1, -1, hidden.shape[-1])
    hidden = self.generator.generator_predictions(hidden.gather(1, index))
    logits = self.generator.generator_lm_head(hidden).float()
    mlm = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten()
    )
    with torch.no_grad():
      noise = -torch.log(-torch.log(torch.rand_like(logits) + 1e-9) + 1e-9)
      sampled = (logits + noise).argmax(-1)
    corrupted = self.ids.scatter(1, positions, sampled)
    scores = self.discriminator(corrupted, **extra)[0].float()
    rtd = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, (corrupted != self.ids).float()
    )
    return mlm + 50 * rtd

  def run(self, steps: int) -> float:
    for _ in range(steps):
      with torch.autocast(
          self.device, self.dtype, enabled=self.dtype != torch.float32
      ):
        loss = self.loss()
      self.optimizer.zero_grad(set_to_none=True)
      loss.backward()
      torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
      self.optimizer.step()
    return float(loss)


def hf_config(encoder) -> transformers.ElectraConfig:
  return transformers.ElectraConfig(
      vocab_size=encoder.vocab_size,
      embedding_size=encoder.embedding_size,
      hidden_size=encoder.hidden_size,
      num_hidden_layers=encoder.num_layers,
      num_attention_heads=encoder.num_heads,
      intermediate_size=encoder.intermediate_size,
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="small")
  parser.add_argument("--batch-size", type=int, default=16)
  parser.add_argument("--length", type=int, default=128)
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--device", default="cpu")
  parser.add_argument("--compile", action="store_true")
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--steps", type=int, default=2, help="per round")
  args = parser.parse_args()
  sides = {"ours": OurStep(args), "peer": PeerStep(args)}
  secs = {name: [] for name in sides}
  for side in sides.values():
    side.run(2)  # Compiles and warms up.
  for _ in range(args.rounds):
    for name, side in sides.items():
      began = time.perf_counter()
      side.run(args.steps)
      secs[name].append((time.perf_counter() - began) / args.steps)
  median = {name: statistics.median(values) for name, values in secs.items()}
  ratios = [b / a for a, b in zip(secs["ours"], secs["peer"], strict=True)]
  print(
      json.dumps(
          {
              **vars(args),
              "secs_per_step": secs,
              "median_secs": median,
              "peer_over_ours": statistics.median(ratios),
              "versions": {
                  "python": platform.python_version(),
                  "jax": jax.__version__,
                  "torch": torch.__version__,
                  "transformers": transformers.__version__,
              },
              "device_kind": jax.devices()[0].device_kind,
          },
          indent=1,
      )
  )


if __name__ == "__main__":
  main()

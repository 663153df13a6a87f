"""The comparison with PyTorch: one network, one step, failures in words."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.benchmarks import peer_step, rounds

pytestmark = pytest.mark.slow

TINY = (
    "model.num_layers=2",
    "model.hidden_size=128",
    "model.embedding_size=32",
)


@pytest.mark.parametrize(
    ("attention", "full_rows"),
    [("sdpa", False), ("eager", False), ("sdpa", True)],
)
def test_the_peer_takes_the_same_step(attention, full_rows):
  case = peer_step.Case(
      batch_size=8,
      length=32,
      overrides=TINY,
      attention=attention,
      full_rows=full_rows,
  )
  params = peer_step.initial_params(case)
  peer = peer_step.PeerStep(case)
  assert peer_step.check(case, params, peer) < 1e-5
  ours = peer_step.OurStep(case)
  torch.manual_seed(0)
  losses = [step.run(1) for step in (ours, peer)]
  # Each side draws positions and samples of its own.
  assert losses[0] == pytest.approx(losses[1], rel=0.03)
  peer.segments = torch.zeros_like(peer.segments)
  with pytest.raises(AssertionError, match="logits differ by"):
    peer_step.check(case, params, peer)


class FakeStep:

  def __init__(self, fails_at=None, error=None):
    self.fails_at, self.error, self.steps = fails_at, error, 0

  def run(self, steps):
    self.steps += steps
    if self.fails_at is not None and self.steps >= self.fails_at:
      raise self.error


def test_a_side_that_fails_becomes_a_row():
  def side(step, **options):
    return rounds.Side("side", peer_step.Case(), lambda: step, **options)

  memory = RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
  ours = side(FakeStep())
  sides = [
      ours,
      side(FakeStep(), reference=ours),
      side(FakeStep(2, memory)),
      side(FakeStep(6, memory), reference=ours),
      side(FakeStep(1, RuntimeError("no C++")), compiles=True),
  ]
  rounds.measure(sides, rounds=3, steps=2)
  records = [x.record() for x in sides]
  assert len(records[0]["secs_per_step"]) == 3
  assert set(records[1]["peer_over_ours"]) == {"lower", "median", "upper"}
  assert "peer_over_ours" not in records[0]
  assert records[2]["failure"] == records[3]["failure"] == "out of memory"
  assert records[4]["failure"] == "torch.compile failed: RuntimeError: no C++"
  assert rounds.table(records).count("out of memory") == 2
  with pytest.raises(RuntimeError, match="a bug"):
    side(FakeStep(1, RuntimeError("a bug"))).start()


@pytest.mark.parametrize(
    ("backend", "flags", "message"),
    [
        ("tpu", [], "PyTorch has no tpu; use a GPU or a CPU"),
        ("gpu", [], "sees no GPU and jax does"),
        ("cpu", ["--processor-time"], "for one core of a CPU; use taskset"),
    ],
)
def test_the_peer_needs_the_same_device(
    backend, flags, message, monkeypatch, capsys
):
  monkeypatch.setattr(peer_step.jax, "default_backend", lambda: backend)
  monkeypatch.setattr(peer_step.os, "sched_getaffinity", lambda _: {0, 1})
  monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
  with pytest.raises(SystemExit) as stop:
    peer_step.parse(flags)
  assert stop.value.code == 2
  assert message in capsys.readouterr().err

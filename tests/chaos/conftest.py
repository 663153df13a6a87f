"""Sizes of the attacks, and the table of what came of them."""

import dataclasses
import json
import pathlib

import jax
import pytest

from electra_jax.preprocessing.synthetic import make_store
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.reporting import at_end
from tests.chaos import judging, state


@dataclasses.dataclass(frozen=True)
class Size:
  """How many attacks are made.

  Attributes:
    name: "short" or "long".
    inputs: damages of each input format.
    state: damages of each file of a workdir or a store.
    values: odd values of each key of a config.
    kills: of `pretrain`; a quarter as many, one at least, of other verbs.
    pairs: of runs at once in one workdir.
    examples: of hypothesis.
  """

  name: str
  inputs: int
  state: int
  values: int
  kills: int
  pairs: int
  examples: int


SIZES = {
    "short": Size("short", 2, 1, 1, 2, 1, 20),
    "long": Size("long", 60, 12, 25, 60, 4, 2_000),
}


@pytest.fixture(scope="module", autouse=True)
def without_reports():
  """Leaves the pages of runs out: drawing them takes as long as training."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(at_end, "report_at_end", lambda folder, show: None)
    yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> pathlib.Path:
  """A folder with a store and a run of four steps on it, to be copied."""
  folder = tmp_path_factory.mktemp("chaos")
  # As tests are compiled, so that answers are equal bit for bit.
  jax.config.update("jax_disable_most_optimizations", True)
  make_store(folder / "store", length=32)
  pretrain(state.run_config(folder / "store"), folder / "run", quiet=True)
  return folder


@pytest.fixture(
    params=[
        "short",
        pytest.param("long", marks=pytest.mark.chaos),
    ]
)
def size(request) -> Size:
  """How many attacks a test makes."""
  return SIZES[request.param]


@pytest.fixture
def tally(record_property) -> judging.Tally:
  """Counts what comes of attacks, for the table at the end."""
  counted = judging.Tally()
  yield counted
  record_property("attacks", json.dumps(counted.counts))
  for fault in counted.faults:
    record_property("fault", str(fault))


def pytest_terminal_summary(terminalreporter):
  """Prints all faults, and the table of all attacks of this session."""
  counts = []
  for reports in terminalreporter.stats.values():
    for report in reports:
      if getattr(report, "when", None) != "teardown":
        continue
      for name, value in report.user_properties:
        if name == "fault":
          terminalreporter.write_line(value, red=True)
        elif name == "attacks":
          counts += json.loads(value).items()
  if counts:
    terminalreporter.section("attacks")
    for line in judging.table(counts):
      terminalreporter.write_line(line)

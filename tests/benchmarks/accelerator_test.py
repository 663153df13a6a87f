"""The command for a GPU: what it measures, what it writes, when it stops."""

import re
import subprocess
import sys

import pytest

from electra_jax import config_files
from electra_jax.runs.config import read_pretrain_config
from electra_jax.runs.networks import Vocabulary, training_flops
from electra_jax.text.tokenizer import SpecialIds
from tests import helpers
from tests.benchmarks import accelerator, accelerator_plan
from tests.benchmarks.accelerator import Outcome
from tests.benchmarks.accelerator_plan import Job
from tests.benchmarks.accelerator_table import markdown

H100 = {
    "platform": "gpu",
    "kind": "NVIDIA H100 80GB HBM3",
    "count": 1,
    "memory_bytes": 73 * 2**30,
}
CPU = {"platform": "cpu", "kind": "cpu", "count": 1, "memory_bytes": None}
NAMED = {
    *accelerator_plan.SHAPES,
    *(
        f"{shape}/{variant}"
        for shape in accelerator_plan.VARIED
        for variant in accelerator_plan.VARIANTS
    ),
    *(
        f"peer/{shape}/{kind}"
        for shape in accelerator_plan.SHAPES
        for kind in accelerator_plan.PEERS
    ),
}


def jobs_of(*argv, device=H100) -> dict[str, Job]:
  args = accelerator.parse(argv)
  return {job.name: job for job in accelerator_plan.plan(args, device)}


def config_of(job: Job):
  """The config of a job's first attempt, as the command line loads it."""
  _, command = job.attempts[0]
  flag = command[command.index("--config") + 1]
  overrides = [x for x in command if x.startswith("--config.")]
  return config_files.load_config(f"{helpers.ROOT}/{flag}", overrides)


def figures(**values):
  return {
      "batch_size": 256,
      "length": 128,
      "step_secs": {"median": 0.05, "lower": 0.049, "upper": 0.052},
      "sequences_per_sec": 5120.0,
      "mfu": 0.42,
      "peak_memory_bytes": 30 * 2**30,
      "environment": {"commit": "abc", "packages": {"jax": "0.10.2"}},
  } | values


def test_the_most_telling_comes_first():
  names = list(jobs_of())
  assert names[:3] == ["base_128", "base_512", "small_128"]
  assert set(names) <= NAMED
  assert set(accelerator_plan.SMOKE_ORDER) <= NAMED
  assert names.index("large_512") < names.index("base_128/no_dropout")
  assert "base_128/attention_fused" in names


def test_a_tpu_has_no_peer_and_its_own_variants():
  tpu = {**H100, "platform": "tpu", "memory_bytes": None}
  names = jobs_of(device=tpu)
  assert "base_512/attention_xla" in names
  assert not {"base_512/attention_fused", "base_512/no_triton_gemm"} & {*names}
  assert not [name for name in names if name.startswith("peer/")]


def test_names_are_chosen():
  assert list(jobs_of("--only", "base_512")) == ["base_512"]
  chosen = jobs_of("--only", "base_512/*", "--only", "peer/*/float32")
  assert {"base_512/no_dropout", "peer/base_128/float32"} < set(chosen)
  assert "base_512" not in chosen
  with pytest.raises(SystemExit, match="--only base_1: no such name"):
    accelerator.main(["--smoke", "--only", "base_1"])


def test_every_config_loads():
  jobs = [*jobs_of().values(), *jobs_of("--smoke", device=CPU).values()]
  for job in jobs:
    if not job.is_peer:
      assert config_of(job).train.batch_size == job.attempts[0][0]
  base = config_of(jobs_of()["base_128"])
  assert (base.model.hidden_size, base.data.length) == (768, 128)
  assert config_of(jobs_of()["base_128/no_dropout"]).model.hidden_dropout == 0
  assert base.model.hidden_dropout == base.model.attention_dropout == 0.1


def test_an_override_is_a_variant():
  jobs = jobs_of(
      "--override", "model.remat=layer", "train.accumulation_steps=2"
  )
  name = "base_512/model.remat=layer train.accumulation_steps=2"
  config = config_of(jobs[name])
  assert (config.model.remat, config.train.accumulation_steps) == ("layer", 2)
  assert config.data.length == 512
  assert list(jobs).index(name) == 3


def test_a_wrong_override_is_told_at_once(capsys):
  with pytest.raises(SystemExit) as stop:
    accelerator.parse(["--override", "model.remta=layer"])
  assert stop.value.code == 2
  assert re.search(
      r"--override model.remta=layer: .*remat", capsys.readouterr().err
  )


def test_rows_follow_memory_and_devices():
  rows = [rows for rows, _ in jobs_of()["base_128"].attempts]
  assert rows == sorted(rows, reverse=True) and rows[0] == 512
  small = {**H100, "memory_bytes": 16 * 2**30, "count": 8}
  rows = [rows for rows, _ in jobs_of(device=small)["base_128"].attempts]
  assert rows == [8 * 64]
  tiny = {**H100, "memory_bytes": 2**30}
  assert len(jobs_of(device=tiny)["large_512"].attempts) == 1
  half = [rows for rows, _ in jobs_of()["base_128/half_rows"].attempts]
  assert half[0] == 256


class Machine:
  """Runs nothing: holds so many rows, and takes a minute for each try."""

  def __init__(self, most_rows=10**6, says=None):
    self.most_rows, self.says = most_rows, says
    self.now, self.tried, self.flags, self.saves = 0.0, [], [], 0

  def execute(self, command, xla_flags, seconds):
    rows = int(re.search(r"batch_size=(\d+)", " ".join(command))[1])
    self.tried.append(rows)
    self.flags.append(xla_flags)
    self.now += 60
    if seconds < 60:
      return Outcome()
    if self.says:
      return Outcome(failure=self.says)
    if rows > self.most_rows:
      return Outcome(
          failure=f"{rows} rows a step do not fit into the memory of"
      )
    return Outcome(figures(batch_size=rows))

  def run(self, jobs, results, minutes=1e3, **options):
    def save():
      self.saves += 1

    accelerator.run(
        [job for job in jobs.values() if not job.is_peer],
        results,
        save,
        execute=self.execute,
        deadline=60 * minutes,
        clock=lambda: self.now,
        **options,
    )


def test_fewer_rows_are_tried_until_they_fit():
  machine, results = Machine(most_rows=200), {}
  jobs = jobs_of("--only", "base_128", "--only", "base_128/*")
  machine.run(jobs, results)
  assert machine.tried[:3] == [512, 256, 128]
  assert results["base_128"]["figures"]["batch_size"] == 128
  # What is varied starts from there.
  assert machine.tried[3:] == [128, 128, 128, 128, 64, 128, 128]
  assert results["base_128/half_rows"]["figures"]["batch_size"] == 64
  flags = {name: result["xla_flags"] for name, result in results.items()}
  assert flags["base_128/no_triton_gemm"] in machine.flags
  assert "triton_gemm=false" in flags["base_128/no_triton_gemm"]
  assert "triton_gemm" not in flags["base_128"]
  assert machine.saves == len(results) == 8


def test_other_failures_are_written_and_tried_again_later():
  results = {}
  jobs = jobs_of("--only", "base_128")
  machine = Machine(says="no module named x")
  machine.run(jobs, results)
  assert machine.tried == [512]
  assert results["base_128"]["failure"] == "no module named x"
  Machine().run(jobs, results)
  assert "failure" not in results["base_128"]
  repeated = Machine()
  repeated.run(jobs, results)
  assert repeated.tried == []
  repeated.run(jobs, results, again=True)
  assert repeated.tried == [512]


def test_memory_may_never_suffice():
  results = {}
  Machine(most_rows=1).run(jobs_of("--only", "large_512"), results)
  assert results["large_512"]["failure"].startswith("8 rows a step do not fit")


def test_nothing_is_begun_that_cannot_end(capsys):
  machine, results = Machine(), {}
  machine.run(jobs_of("--only", "base_*"), results, minutes=2.5)
  assert list(results) == ["base_128", "base_512"]
  assert machine.tried == [512, 128]
  assert "base_128/half_rows: no time left" in capsys.readouterr().out
  # What the end of time stops leaves no trace.
  machine, results = Machine(most_rows=300), {}
  machine.run(jobs_of("--only", "base_128"), results, minutes=1.5)
  assert machine.tried == [512, 256] and results == {}
  assert machine.saves == 0


def test_targets_are_those_of_an_h100():
  for name, rows_per_sec in (
      ("base_128", 5_060),
      ("base_512", 1_160),
      ("small_128", 16_500),
  ):
    config = read_pretrain_config(config_of(jobs_of()[name]))
    special = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
    flops = training_flops(config, Vocabulary(30_522, special))
    peak_rows = 989e12 / (flops / config.train.batch_size)
    target = accelerator_plan.SHAPES[name].target_mfu * peak_rows
    assert target == pytest.approx(rows_per_sec, rel=5e-3)


def test_the_page_holds_targets_and_ratios():
  row = {"side": "torch compile, sdpa attention", "dtype": "bfloat16"}
  row |= {"batch_size": 256, "length": 128}
  results = {
      "base_128": {"figures": figures()},
      "large_512": {"failure": "a | b"},
      "peer/base_128/bfloat16": {
          "figures": {
              "rows": [
                  row
                  | {
                      "median_secs": 0.1,
                      "sequences_per_sec": 2560.0,
                      "peer_over_ours": {
                          "lower": 1.9,
                          "median": 2.0,
                          "upper": 2.1,
                      },
                  },
                  row | {"failure": "out of memory"},
              ]
          }
      },
      "peer/small_128/bfloat16": {"failure": "No module named 'torch'"},
  }
  page = markdown(H100, results)
  assert "# 1 x NVIDIA H100 80GB HBM3" in page
  assert "Commit abc, jax 0.10.2." in page
  # 5120 rows a second are 42 %: 40 % are 4876.
  assert "| 5,120.0 | 42.0% | 4,876 (40%) | 1.05 | 30.0 |" in page
  assert "50.00 (49.00 to 52.00)" in page
  assert "| large_512 | a / b |" in page
  assert "| 100.00 | 2,560.0 | 2.00 (1.90 to 2.10), target 1.3 |" in page
  assert "out of memory" in page and "No module named 'torch'" in page
  columns = {line.count("|") for line in page.splitlines() if "base" in line}
  assert columns == {9, 7}


def test_files_are_named_by_the_device():
  assert accelerator.file_name(H100, False) == "nvidia_h100_80gb_hbm3"
  pod = {"kind": "TPU v5 lite", "count": 8}
  assert accelerator.file_name(pod, True) == "smoke_tpu_v5_lite_x8"


def test_a_programs_last_words_are_kept(tmp_path):
  def ends(code: str, seconds: float = 60) -> Outcome:
    script = tmp_path / "script.py"
    script.write_text(f"import os, sys, time\n{code}")
    return accelerator.execute([str(script)], "--flag", seconds)

  assert ends("sys.exit('wrong')") == Outcome(failure="wrong")
  assert ends("os._exit(3)") == Outcome(failure="exit status 3")
  assert ends("time.sleep(60)", 0.5) == Outcome()
  told = ends("sys.exit('RESOURCE_EXHAUSTED' + ' .' * 500)")
  assert told.failure == "RESOURCE_EXHAUSTED"
  written = ends(
      "open(sys.argv[2], 'w').write('{\"a\": \"%s\"}' % os.environ['XLA_FLAGS'])"
  )
  assert written == Outcome({"a": "--flag"})


@pytest.mark.slow
def test_smoke_measures_writes_and_resumes(tmp_path):
  command = [
      sys.executable,
      f"{helpers.ROOT}/tests/benchmarks/accelerator.py",
      *("--smoke", "--out", str(tmp_path), "--only", "base_128"),
  ]
  for expected in ("== base_128: 8 rows", "== base_128: measured before"):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert expected in done.stdout
  page = (tmp_path / "smoke_cpu.md").read_text()
  assert page in done.stdout
  written = helpers.read_json(tmp_path / "smoke_cpu.json")
  assert written["device"]["kind"] == "cpu"
  assert written["results"]["base_128"]["figures"]["batch_size"] == 8

"""The table of exported models, without measuring any."""

import pytest

pytest.importorskip("onnxruntime")

from tests.benchmarks import deploy


def test_figures_are_the_least_and_ratios_of_what_was_timed_together():
  secs = {"jax": [0.004, 0.002, 0.008], "onnx": [0.003, 0.004, 0.004]}
  found = {
      name: [{"cpu": x, "wall": 2 * x} for x in rounds]
      for name, rounds in secs.items()
  }
  figures = deploy._figures(found, "onnx")
  assert figures["cpu_ms"] == pytest.approx(3)
  assert figures["cpu_over_jax"] == pytest.approx(1.5)
  assert figures["cpu_over_jax_median_of_rounds"] == pytest.approx(0.75)
  assert figures["wall_ms_of_rounds"] == pytest.approx([6, 8, 8])
  threads = {"load_average": [7.0, 8.0], "single": figures, "batch": figures}
  record = {
      "size": "tiny",
      "side": "onnx",
      "bytes": 2_500_000,
      "threads_1": threads,
      "threads_2": threads,
      "largest_difference": 1e-6,
  }
  *_, line = deploy.table([record]).splitlines()
  cells = [cell.strip() for cell in line.strip("|").split("|")]
  assert cells[:6] == ["tiny", "ONNX float32", "2.50", "3.00", "1.50", "0.75"]
  assert float(cells[9]) == pytest.approx(32 / 0.003, rel=1e-4)
  assert float(cells[10]) == pytest.approx(32 / 0.006, rel=1e-4)

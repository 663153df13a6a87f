"""What manifest.json tells of the machine that wrote it."""

from electra_jax.exporting import manifest


def test_a_module_of_another_distribution_is_told_by_that(
    tmp_path, monkeypatch
):
  folder = tmp_path / "runtime_gpu-1.9.dist-info"
  folder.mkdir()
  (folder / "METADATA").write_text(
      "Metadata-Version: 2.1\nName: runtime-gpu\nVersion: 1.9\n"
  )
  (folder / "top_level.txt").write_text("runtime\n")
  monkeypatch.syspath_prepend(tmp_path)
  assert manifest._versions({"runtime": "runtime"}) == {"runtime-gpu": "1.9"}

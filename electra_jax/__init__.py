"""ELECTRA in JAX: replaced-token detection, from a laptop to a TPU pod.

The names below are imported when they are first used.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "benchmark": "api",
    "convert": "api",
    "demo": "serve.server",
    "distill": "api",
    "doctor": "runs.doctor",
    "embed": "embedding.embed",
    "evaluate": "api",
    "export": "api",
    "finetune": "api",
    "open_run": "api",
    "plan": "api",
    "predict": "bulk.predicting",
    "pretrain": "api",
    "prepare": "api",
    "prune": "pruning.prune",
    "report": "reporting.page",
    "load_config": "config_files",
    "PretrainedModel": "pretraining.model",
    "FinetunedModel": "finetuning.model",
    "Electra": "models.electra",
    "ElectraConfig": "models.config",
    "EncoderConfig": "models.config",
    "Tokenizer": "text.tokenizer",
    "UserError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f"module 'electra_jax' has no attribute {name!r}")
  value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted(__all__)

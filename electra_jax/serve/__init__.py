"""Models behind a web page and a JSON API.

`app` is the ASGI application, to mount in one of your own; `electra_jax.demo`
serves it.
"""

import importlib

_HOMES = {"app": "asgi", "open_models": "served", "Limits": "limits"}
__all__ = ["Limits", "app", "open_models"]


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
  return sorted(__all__)

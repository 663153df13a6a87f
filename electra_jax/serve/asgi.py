"""The application: the page, the JSON API, health and metrics."""

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import time
from collections.abc import Collection, Sequence
from typing import Any

from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import to_json
from electra_jax.serve import guard
from electra_jax.serve.batching import Batcher, ClosedError, QueueFullError
from electra_jax.serve.limits import Limits
from electra_jax.serve.metrics import Metrics
from electra_jax.serve.page_facts import page_files
from electra_jax.serve.served import Ask, Served, open_models

_log = logging.getLogger(__name__)
NEEDS = "pip install 'electra-jax[serve]'"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PATHS = ("/", "/predict", "/models", "/health", "/metrics")


class RequestError(Exception):
  """A request that is refused, with its HTTP status and a word for it."""

  def __init__(self, status: int, reason: str, sentence: str):
    super().__init__(sentence)
    self.status = status
    self.reason = reason


def check_installed() -> None:
  """Raises a UserError that names every package that is missing."""
  missing = []
  for name in ("starlette", "uvicorn", "prometheus_client"):
    try:
      __import__(name)
    except ImportError:
      missing.append(name)
  if missing:
    raise UserError(
        f"to serve models needs {', '.join(missing)}, which"
        f" {'are' if len(missing) > 1 else 'is'} not installed; run {NEEDS}"
    )


def app(
    models: epath.PathLike | Served | Sequence[epath.PathLike | Served],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    allowed_hosts: Collection[str] | None = guard.LOOPBACK,
) -> Any:
  """Returns the ASGI application that serves models, to run or to mount.

  Programs are compiled at the first request of each shape, unless `warm_up`
  of each served model has run before.

  Args:
    models: workdirs, or what `electra_jax.serve.open_models` returns.
    limits: what is taken at most.
    token: which every request but GET /health must bear; None for none.
    allowed_hosts: names in the Host header that are answered, without ports;
      None for any, where a proxy in front has checked them.

  Raises:
    UserError: a package is missing, a folder holds no run, or two open models
      have one name.
  """
  check_installed()
  limits = limits or Limits()
  if isinstance(models, str) or not isinstance(models, Sequence):
    models = [models]
  closed = [model for model in models if not hasattr(model, "ask")]
  opened = iter(open_models(closed, limits=limits))
  served = [m if hasattr(m, "ask") else next(opened) for m in models]
  names = [model.name for model in served]
  for name in names:
    if names.count(name) > 1:
      raise UserError(
          f"two of the models have the name {name!r}; give their folders in one"
          " call, which numbers them"
      )
  return guard.Guard(
      _Service(served, limits).starlette(),
      token=token,
      allowed_hosts=allowed_hosts,
  )


class _Service:
  """Handlers of requests."""

  def __init__(self, models: Sequence[Served], limits: Limits):
    self._models = {model.name: model for model in models}
    self._limits = limits
    self._batcher = Batcher(limits, self._note_batch)
    self._metrics = Metrics(self._batcher.num_waiting)

  def starlette(self) -> Any:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    @contextlib.asynccontextmanager
    async def lifespan(app):
      yield
      await asyncio.to_thread(self._batcher.close)

    def get(path, handler):
      return Route(path, self._counted(path, handler), methods=["GET"])

    return Starlette(
        routes=[
            get("/", functools.partial(self._file, "index.html")),
            get("/page/{name}", self._page_file),
            get("/models", self._describe),
            get("/health", self._health),
            get("/metrics", self._figures),
            Route(
                "/predict",
                self._counted("/predict", self._predict),
                methods=["POST"],
            ),
        ],
        exception_handlers={HTTPException: self._refuse},
        lifespan=lifespan,
    )

  def _note_batch(self, count: int, seconds: float) -> None:
    self._metrics.note_batch(count, seconds)

  def _counted(self, path: str, handler):
    """Counts a handler's answers, and makes sentences of its errors."""
    label = path if path in _PATHS else "/page"

    async def counted(request):
      try:
        response = await handler(request)
      except RequestError as error:
        self._metrics.errors.labels(error.reason).inc()
        response = _json({"error": str(error)}, error.status)
        if error.status == 503:
          response.headers["retry-after"] = "1"
      except Exception as error:
        self._metrics.errors.labels("internal").inc()
        _log.error("a request failed", exc_info=error)
        sentence = "the service failed at this; its log says why"
        response = _json({"error": sentence}, 500)
      self._metrics.requests.labels(label, str(response.status_code)).inc()
      return response

    return counted

  async def _refuse(self, request, error):
    sentences = {
        404: "there is no such path; GET /models, /health, /metrics or POST"
        " /predict",
        405: "this path takes another method; GET /models, /health, /metrics or"
        " POST /predict",
    }
    sentence = sentences.get(error.status_code, str(error.detail))
    self._metrics.errors.labels("path").inc()
    self._metrics.requests.labels("other", str(error.status_code)).inc()
    return _json({"error": sentence}, error.status_code)

  async def _file(self, name, request):
    from starlette.responses import FileResponse

    del request
    kind = _TYPES.get(pathlib.PurePath(name).suffix, "text/html")
    return FileResponse(page_files()[name], media_type=kind)

  async def _page_file(self, request):
    name = request.path_params["name"]
    if name not in page_files():
      raise RequestError(404, "path", "there is no such file of the page")
    return await self._file(name, request)

  async def _describe(self, request):
    del request
    return _json(
        {
            "models": [model.describe() for model in self._models.values()],
            "limits": dataclasses.asdict(self._limits),
        }
    )

  async def _health(self, request):
    del request
    return _json({"status": "ok"})

  async def _figures(self, request):
    from starlette.responses import Response

    del request
    return Response(
        self._metrics.text(),
        headers={"content-type": self._metrics.content_type},
    )

  async def _predict(self, request):
    start = time.monotonic()
    try:
      async with asyncio.timeout(self._limits.timeout_secs):
        body = await self._read(request)
        model, asks = await asyncio.to_thread(self._asks, body)
        answers = await self._answers(asks)
    except UserError as error:
      raise RequestError(400, "input", str(error)) from error
    except TimeoutError as error:
      raise RequestError(
          504,
          "timeout",
          f"there was no answer within {self._limits.timeout_secs:g} s; ask for"
          " less at once, or later",
      ) from error
    self._metrics.latency.observe(time.monotonic() - start)
    return _json({"model": model, "answers": answers})

  async def _read(self, request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() != "application/json":
      raise RequestError(
          415,
          "content-type",
          f"the content type is {kind[:80]!r}; send application/json",
      )
    from starlette.requests import ClientDisconnect

    parts, size = [], 0
    try:
      async for part in request.stream():
        size += len(part)
        if size > self._limits.body_bytes:
          raise RequestError(
              413,
              "size",
              f"the request has over {self._limits.body_bytes:,} bytes; send"
              " less at once",
          )
        parts.append(part)
    except ClientDisconnect as error:  # Nobody reads this.
      raise RequestError(400, "left", "the request ended early") from error
    return b"".join(parts)

  def _asks(self, body: bytes) -> tuple[str, list[Ask]]:
    """Reads a request: the model's name, and what each input asks."""
    fields = _parse(body)
    name = fields.pop("model", None)
    task = fields.pop("task", None)
    if name is None and len(self._models) == 1:
      name = next(iter(self._models))
    if not isinstance(name, str) or name not in self._models:
      given = "no model" if name is None else f"the model {str(name)[:80]!r}"
      raise UserError(
          f"the request names {given}; give one of"
          f" {', '.join(self._models)} under 'model'"
      )
    if task is not None and not isinstance(task, str):
      raise UserError("the request has no name under 'task'; give one")
    if "inputs" not in fields:
      inputs, places = [fields], ["the input"]
    elif len(fields) > 1:
      other = next(key for key in fields if key != "inputs")
      raise UserError(
          f"the request has {other[:80]!r} beside 'inputs'; put it into each of"
          " them, or leave one of the two out"
      )
    else:
      inputs = fields["inputs"]
      if not isinstance(inputs, list) or not inputs:
        raise UserError(
            "'inputs' is no list with an input in it; give an object for each"
        )
      places = [f"input {number}" for number in range(1, len(inputs) + 1)]
    if len(inputs) > self._limits.inputs:
      raise UserError(
          f"the request has {len(inputs):,} inputs; give at most"
          f" {self._limits.inputs}"
      )
    asks = []
    for one, place in zip(inputs, places, strict=True):
      if not isinstance(one, dict):
        raise UserError(f'{place} is no object; give one, as {{"text": "…"}}')
      asks.append(self._models[name].ask(one, task, place))
    total = sum(len(ask.inputs) for ask in asks)
    if total > self._limits.queue:
      raise UserError(
          f"the request asks for {total:,} texts and places in all; give at most"
          f" {self._limits.queue:,} at once"
      )
    return name, asks

  async def _answers(self, asks: Sequence[Ask]) -> list[dict[str, Any]]:
    """Answers the inputs of one request, in their order."""
    by_program: dict[Any, list[Ask]] = {}
    for ask in asks:
      by_program.setdefault(ask.program, []).append(ask)
    futures = []
    try:
      for program, some in by_program.items():
        inputs = [one for ask in some for one in ask.inputs]
        futures.append(self._batcher.submit(program, some[0].run, inputs))
    except (QueueFullError, ClosedError) as error:
      for future in futures:
        future.cancel()
      is_full = isinstance(error, QueueFullError)
      raise RequestError(
          503,
          "queue" if is_full else "closing",
          "too many inputs wait already; ask again in a second"
          if is_full
          else "the service is ending; ask another, or later",
      ) from error
    groups = await asyncio.gather(*map(asyncio.wrap_future, futures))
    found = {
        program: iter(group)
        for program, group in zip(by_program, groups, strict=True)
    }

    def finish():
      return [
          ask.finish([next(found[ask.program]) for _ in ask.inputs])
          for ask in asks
      ]

    # Texts are tokenized for it: other requests go on meanwhile.
    return await asyncio.to_thread(finish)


def _parse(body: bytes) -> dict[str, Any]:
  def refuse(name):
    raise ValueError(f"{name} is no number of JSON")

  try:
    fields = json.loads(body, parse_constant=refuse)
  except RecursionError as error:
    raise UserError(
        "the request is nested too deeply to be read; send a flat object"
    ) from error
  except ValueError as error:
    reason = " ".join(str(error).split())[:120]
    raise UserError(
        f'the request is not JSON ({reason}); send an object, as {{"text": "…"}}'
    ) from error
  if not isinstance(fields, dict):
    raise UserError('the request is no object; send one, as {"text": "…"}')
  return fields


def _json(value: Any, status: int = 200):
  from starlette.responses import Response

  return Response(
      to_json(value, ensure_ascii=False).encode(),
      status,
      media_type="application/json",
  )

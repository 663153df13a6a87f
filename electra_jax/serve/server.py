"""Serves the application on a port, until it is stopped."""

import contextlib
import ipaddress
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from electra_jax.errors import UserError
from electra_jax.progress import Progress
from electra_jax.runs.console import shower
from electra_jax.serve import asgi, guard
from electra_jax.serve.limits import Limits
from electra_jax.serve.served import Served, open_models

_STOPS = (signal.SIGINT, signal.SIGTERM)


def demo(
    runs: epath.PathLike | Sequence[epath.PathLike],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    seed: int | None = None,
    limits: Limits | None = None,
    quiet: bool = False,
) -> None:
  """Serves a page and a JSON API for runs; returns at SIGINT or SIGTERM.

      demo(["run", "rte"], port=8080)

  `electra_jax.serve.app` is the application alone, to be mounted in another.

  Args:
    runs: workdirs of pretrain or finetune runs, one or several.
    host: where to listen; any other than loopback demands a token, which is
      drawn at random and printed in the URL.
    port: where to listen; 0 for any that is free.
    seed: finetune: whose model, or None for the best.
    limits: what is taken at most.
    quiet: prints the URL alone.

  Raises:
    UserError: a folder holds no run, a package is missing, or the port is not
      free.
  """
  asgi.check_installed()
  limits = limits or Limits()
  token, allowed_hosts = _protection(host)
  # Bound before anything is loaded: a port in use is told at once.
  with contextlib.closing(_bind(host, port)) as listening:
    show = shower(quiet)
    models = open_models(runs, seed=seed, limits=limits)
    _warm_up(models, Progress(quiet=quiet))
    app = asgi.app(
        models, limits=limits, token=token, allowed_hosts=allowed_hosts
    )
    url = _url(host, listening.getsockname()[1], token)
    shower(False)(f"{url}   (Ctrl-C stops it)")
    if token is not None:
      show(
          "whoever has this URL may use the models; what is typed travels"
          " unencrypted, so put a proxy with TLS in front outside of a network"
          " that you trust"
      )
    serve(app, listening, limits)
    show("stopped")


def serve(app: Any, listening: socket.socket, limits: Limits) -> None:
  """Serves an ASGI application on a socket, until SIGINT or SIGTERM.

  Nothing new is taken then, and what is being answered is answered.
  """
  with _signals_that_only_stop():
    _server(app, limits).run(sockets=[listening])


@contextlib.contextmanager
def serving(app: Any, limits: Limits | None = None) -> Iterator[str]:
  """Serves an ASGI application from a thread, on any free port of loopback.

  For notebooks, where the caller goes on working.

  Args:
    app: of `electra_jax.serve.app`.
    limits: as given to it.

  Yields:
    The URL.
  """
  asgi.check_installed()
  listening = _bind("127.0.0.1", 0)
  server = _server(app, limits or Limits())
  thread = threading.Thread(
      target=server.run, kwargs={"sockets": [listening]}, daemon=True
  )
  thread.start()
  try:
    yield _url("127.0.0.1", listening.getsockname()[1], None)
  finally:
    server.should_exit = True
    thread.join()
    listening.close()


def _server(app: Any, limits: Limits) -> Any:
  import uvicorn

  return uvicorn.Server(
      uvicorn.Config(
          app,
          http="h11",
          ws="none",
          lifespan="on",
          log_config=None,
          access_log=False,
          server_header=False,
          proxy_headers=False,
          timeout_graceful_shutdown=max(1, round(limits.timeout_secs)),
      )
  )


@contextlib.contextmanager
def _signals_that_only_stop() -> Iterator[None]:
  # uvicorn handles them itself while it runs, and raises them again behind
  # its end, for whoever has handled them before: the work is done then.
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.getsignal(number) for number in _STOPS}
  for number in _STOPS:
    signal.signal(number, lambda *_: None)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _warm_up(models: Sequence[Served], progress: Progress) -> None:
  """Compiles every shape of every model, so that no request waits for it."""
  for model in models:
    shapes = model.buckets.shapes()
    with progress.stage(
        f"{model.name}: compiling for {len(shapes)} shapes of input",
        "the next start reads them from the compilation cache",
    ):
      for rows, length in shapes:
        model.model.warm_up(rows, length)


def _protection(host: str) -> tuple[str | None, tuple[str, ...] | None]:
  """Returns the token that a host demands, and the hosts to answer for."""
  if _is_loopback(host):
    own = f"[{host}]" if ":" in host else host
    return None, tuple(dict.fromkeys((*guard.LOOPBACK, own.lower())))
  return secrets.token_urlsafe(24), None


def _is_loopback(host: str) -> bool:
  return all(
      ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
      for *_, address in _addresses(host, 0)
  )


def _addresses(host: str, port: int) -> list[Any]:
  try:
    return socket.getaddrinfo(
        host or None,
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
  except (OSError, UnicodeError) as error:
    raise UserError(
        f"--host {host!r} is no address of this machine ({error}); give"
        " 127.0.0.1, or 0.0.0.0 for all networks"
    ) from error


def _bind(host: str, port: int) -> socket.socket:
  if not 0 <= port <= 65535:
    raise UserError(f"--port is {port}; it must be between 0 and 65535")
  family, *_, address = _addresses(host, port)[0]
  try:
    return socket.create_server(address[:2], family=family, backlog=128)
  except OSError as error:
    raise UserError(
        f"--host {host} --port {port} cannot be listened at"
        f" ({error.strerror}); choose another --port, or 0 for any that is free"
    ) from error


def _url(host: str, port: int, token: str | None) -> str:
  if host in ("", "0.0.0.0", "::"):
    host = socket.gethostname()
  shown = f"[{host}]" if ":" in host else host
  query = "" if token is None else f"?token={token}"
  return f"http://{shown}:{port}/{query}"

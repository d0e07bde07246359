"""The whole service on this machine: opens what the options name, starts workers, answers until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.aside import Aside, Busy, Died
from facefact.apps.service.api.faces import SECONDS
from facefact.apps.service.api.guard import LOOPBACK
from facefact.apps.service.api.keys import Keys
from facefact.apps.service.api.photos_tools import Opening
from facefact.apps.service.api.photos_work import open_photos
from facefact.apps.service.api.pictures import open_decoder
from facefact.apps.service.api.service import Limits, Model, Service
from facefact.apps.service.jobs import Jobs
from facefact.apps.service.keeper import Keeper
from facefact.apps.service.store import open_store
from facefact.files import replacing
from facefact.types import UserError

log = logging.getLogger("facefact.service")

DECODERS = 2
WARMING = 120.0  # seconds for the first detector on a busy machine
STOPPING = 10  # seconds that open calls have when the service stops; jobs are handed back after that
BACKLOG = 512


class Workers(Protocol):
    """What makes the pictures: a pool."""

    error: str | None  # what keeps them from beginning, once it is known

    def start(self, *, wait: bool = True) -> None:
        """UserError: they cannot begin. wait: until one is ready."""

    def stop(self) -> None:
        """They finish or give back what they have."""

    @property
    def ready(self) -> bool:
        """Whether any has its model loaded."""
        ...

    @property
    def alive(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `facefact serve` was asked for. data: the folder for everything that has no other place. shared: whether
    strangers may be among the callers. keep, keep_photos: seconds; None: for ever, and as long as the results. signs:
    whether workers sign, here or perhaps elsewhere."""

    host: str
    port: int
    data: Path
    model: str
    adapter: str | None = None
    yunet: str | None = None
    offline: bool = False
    database: str | None = None
    store: str | None = None
    keys: Path | None = None
    open: bool = False
    origins: Sequence[str] = ()
    keep: float | None = None
    keep_photos: float | None = None
    store_limit: int | None = None
    signs: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.data / 'jobs.db').resolve()}"

    @property
    def store_place(self) -> str:
        return self.store or str((self.data / "files").resolve())


def open_service(plan: Plan, workers: Workers | None = None) -> Service:
    """Everything but the workers, which are only asked how many they are. UserError: a folder, database, store or file
    of keys that cannot be used."""
    try:
        plan.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"cannot make the folder {plan.data}: {error.strerror}; choose another with --data") from error
    limits = plan.limits
    bounds = {name: getattr(limits, name) for name in ("picture_bytes", "picture_pixels", "picture_side")}
    scratch = plan.data.resolve() / "scratch" / str(os.getpid())
    opening = Opening(plan.model, plan.adapter, plan.yunet, plan.offline, str(scratch))
    local = plan.host in LOOPBACK
    photos = Aside(open_photos, opening)
    jobs, store = Jobs.open(plan.database_url), open_store(plan.store_place)
    return Service(
        jobs=jobs,
        store=store,
        decoders=Aside(open_decoder, bounds, count=DECODERS),
        photos=photos,
        styles=lambda: photos.ask("styles", {}, [], seconds=SECONDS)[0]["data"],
        model=Model(name=_name(plan.model), adapter=_name(plan.adapter or "")),
        limits=limits,
        keys=Keys(plan.keys) if plan.keys else None,
        shared=plan.open and not local,
        hosts=None if plan.keys or plan.open else LOOPBACK,
        origins=plan.origins,
        workers=None if workers is None else lambda: workers.alive if workers.ready else 0,
        keeper=Keeper(jobs, store, keep=plan.keep, keep_photos=plan.keep_photos, store_limit=plan.store_limit),
        signs=plan.signs,
    )


def _name(model: str) -> str:
    """A hub id or `demo` as it is; of what lies on this machine only its last part."""
    return Path(model).resolve().name if model and Path(model).exists() else model


def app_of(service: Service, *, url: str, secret: str) -> FastAPI:
    """The app with its page, where the page's packages are; its life is that of the processes that look at pictures.
    url: where the page reaches the service. secret: what it encrypts a browser's memory with."""

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        service.decoders.start()
        threading.Thread(target=_warm, args=(service,), daemon=True).start()
        try:
            yield
        finally:
            await run_sync(service.decoders.close)
            await run_sync(service.photos.close)

    mount = page_mount()
    app = make_app(service, lifespan=living, page=mount is not None)
    return app if mount is None else mount(app, url=url, secret=secret, model=service.model.name)


def _warm(service: Service) -> None:
    """The first who asks for faces does not wait for the detector."""
    with contextlib.suppress(Died, Busy, UserError):
        said, _ = service.photos.ask("warm", {}, seconds=WARMING)
        service.model.licences.update({str(part): str(licence) for part, licence in said["licences"].items()})


def page_mount() -> Any:
    """`mount(app, url=..., secret=...) -> app` of the page, None where it or its packages are not here."""
    try:
        from facefact.apps.page import mount  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return mount


def serve(plan: Plan, workers: Workers | None) -> int:
    """Answers until SIGTERM or Ctrl-C; the exit code. UserError: what is named cannot be used, or the address is taken,
    or the workers cannot begin."""
    listening = listen(plan.host, plan.port)
    url = url_of(plan.host, listening.getsockname()[1])
    with contextlib.ExitStack() as opened:
        opened.callback(listening.close)
        service = open_service(plan, workers)
        opened.callback(service.jobs.close)
        assert service.keeper is not None
        opened.callback(service.keeper.stop)
        service.keeper.start()
        if workers is not None:
            opened.callback(workers.stop)
            workers.start(wait=False)
        server = Server(config_of(app_of(service, url=own_url(url), secret=page_secret(plan.data))))
        watch = threading.Thread(target=_watch, args=(server, workers), daemon=True)
        print(f"facefact: {url} (model {service.model.name}; the API is described at {url}/docs)", flush=True)
        watch.start()
        server.run(sockets=[listening])
        print("facefact: stopping; what is nearly done is finished, the rest waits for the next start", flush=True)
    if workers is not None and workers.error is not None and not workers.ready:
        raise UserError(workers.error)
    return 0 if server.started else 1


def _watch(server: Server, workers: Workers | None) -> None:
    """Says when the model is loaded, and ends the service where it cannot be."""
    while workers is not None and not server.should_exit:
        if workers.ready:
            print("facefact: ready", flush=True)
            return
        if workers.error is not None:
            server.should_exit = True
        time.sleep(0.1)


def config_of(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # addresses hold jobs' ids
        server_header=False,
        proxy_headers=False,  # nothing here asks from where somebody calls
        timeout_graceful_shutdown=STOPPING,
        h11_max_incomplete_event_size=32_768,
        lifespan="on",
    )


class Server(uvicorn.Server):
    """As uvicorn's; having stopped for a signal it returns, and does not die of the signal after all."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.set_inheritable(False)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --host or --port"
        ) from error
    return listening


def own_url(url: str) -> str:
    """Where this machine reaches a service that listens at all its addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def page_secret(data: Path) -> str:
    """The same from start to start, for this folder."""
    path = data / "page-secret"
    if not path.exists():
        with replacing(path, private=True) as temporary:
            temporary.write_text(secrets.token_urlsafe(32), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def url_of(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

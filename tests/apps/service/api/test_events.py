"""Server-sent events: what was, then what comes, and replay after the last that came."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from fastapi.testclient import TestClient

from facefact.apps.service.api.events import follow
from facefact.apps.service.api.service import Service
from facefact.apps.service.jobs import NewJob


def made(service: Service) -> str:
    job, _ = service.jobs.submit(NewJob(kind="portrait", settings={"prompt": "a"}), limit=10)
    return job.id


def events(text: str) -> list[dict[str, str]]:
    parts = [part for part in text.split("\n\n") if part.startswith("id: ")]
    return [dict(line.split(": ", 1) for line in part.splitlines()) for part in parts]


def test_events_are_replayed_after_the_last_that_came(client: TestClient, service: Service) -> None:
    id = made(service)
    service.jobs.claim("a worker")
    service.jobs.note(id, "preview", {"image": 0, "jpeg": "AAAA"})
    service.jobs.finish(id, "a worker", results=[])
    at = f"/v1/portraits/{id}/events"
    whole = client.get(at)
    assert whole.headers["content-type"].startswith("text/event-stream")
    found = events(whole.text)
    assert [one["event"] for one in found] == ["state", "state", "preview", "state"]
    assert found[-1]["data"] == '{"state": "done"}'
    for number in range(len(found)):
        last = found[number]["id"]
        assert events(client.get(at, headers={"Last-Event-ID": last}).text) == found[number + 1 :]
        assert events(client.get(at, params={"after": last}).text) == found[number + 1 :]
    for wrong in ("x", "-1", "1.5"):
        assert client.get(at, headers={"Last-Event-ID": wrong}).status_code == 400


def test_events_come_while_it_is_made(client: TestClient, service: Service) -> None:
    id = made(service)

    def work() -> None:
        time.sleep(0.3)
        service.jobs.claim("a worker")
        service.jobs.renew([id], "a worker", progress={id: 0.5})
        time.sleep(0.5)
        service.jobs.cancel(id)

    worker = threading.Thread(target=work)
    worker.start()
    found = events(client.get(f"/v1/portraits/{id}/events").text)
    worker.join()
    assert [one["event"] for one in found] == ["state", "state", "progress", "state"]
    assert "cancelled" in found[-1]["data"]


def test_so_many_listen_and_no_more(client: TestClient, service: Service) -> None:
    id = made(service)
    streams: Any = client.app.state.streams  # type: ignore[attr-defined]
    streams.now = streams.most
    full = client.get(f"/v1/portraits/{id}/events")
    assert full.status_code == 429
    assert "retry-after" in full.headers
    service.jobs.cancel(id)
    streams.now = 0
    client.get(f"/v1/portraits/{id}/events")
    assert streams.now == 0


def test_after_every_look_there_is_time_to_see_whether_somebody_listens(service: Service) -> None:
    """Of a job that says something all the time, too: a caller who hangs up on a busy worker is noticed."""
    id = made(service)
    service.jobs.note(id, "progress", {"progress": 0.0})

    async def looks(most: int) -> list[str]:
        seen: list[str] = []
        async for one in follow(service, id):
            seen.append("look" if one is None else getattr(one, "name", "end"))
            service.jobs.note(id, "progress", {"progress": len(seen) / 100})  # there is something at every look
            if len(seen) == most:
                break
        return seen

    assert "look" in asyncio.run(looks(6))

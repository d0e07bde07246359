"""What the page asks of the service: it is a client of the same jobs as everybody else, with the caller's own key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import httpx

PATHS = {"portrait": "portraits", "template": "templates", "group": "groups"}
FINISHED = ("done", "failed", "cancelled", "expired")
SECONDS = 130.0  # for an answer; photos are looked at by a process that may have to load its models first

Job = dict[str, Any]
Files = Mapping[str, Sequence[str | Path]]


class Calls:
    """One caller. url: of the service. key: what the browser sent as `Authorization`, if the service asks for keys."""

    def __init__(self, url: str, authorization: str | None = None) -> None:
        headers = {"Authorization": authorization} if authorization else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=SECONDS, trust_env=False)

    @classmethod
    def of(cls, url: str, request: gr.Request) -> Calls:
        return cls(url, request.headers.get("authorization"))

    def submit(self, kind: str, files: Files, fields: Mapping[str, Any]) -> Job:
        """The job. gr.Error: the service says why not."""
        return dict(self._sent(f"/v1/{PATHS[kind]}", files, fields).json())

    def job(self, kind: str, id: str) -> Job | None:
        """None: it has expired, was forgotten, or is another's."""
        answer = self.http.get(f"/v1/{PATHS[kind]}/{id}")
        return None if answer.status_code == 404 else dict(_checked(answer).json())

    def delete(self, kind: str, id: str) -> None:
        """Cancels it, or forgets a finished one with its pictures and photos."""
        answer = self.http.delete(f"/v1/{PATHS[kind]}/{id}")
        if answer.status_code != 404:
            _checked(answer)

    def events(self, kind: str, id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, data) as they come, until the job is finished."""
        with self.http.stream("GET", f"/v1/{PATHS[kind]}/{id}/events") as answer:
            if answer.status_code != 200:
                answer.read()
                _checked(answer)
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    yield name, json.loads(line[5:])

    def pictures(self, job: Job, folder: Path) -> list[str]:
        """The job's pictures as files, with their recipes inside: Gradio hands files out as they are."""
        found = []
        for link in job["links"]["images"]:
            path = folder / f"{job['id']}-{link.rsplit('/', 1)[-1]}"
            if not path.exists():
                content = _checked(self.http.get(link)).content
                path.write_bytes(content)
            found.append(str(path))
        return found

    def faces(self, photo: str | Path, which: int = 0) -> dict[str, Any]:
        """What is found in a photo, drawn."""
        return dict(self._sent("/v1/faces", {"face": [photo]}, {"draw": True, "which": which}).json())

    def card(self, photos: Sequence[str | Path], fields: Mapping[str, Any]) -> tuple[bytes, list[str]]:
        """An identity card, and what speaks against the photos."""
        answer = self._sent("/v1/cards", {"face": photos}, fields)
        return answer.content, json.loads(answer.headers.get("x-warnings", "[]"))

    def styles(self) -> list[dict[str, Any]]:
        answer = self.http.get("/v1/styles")
        return list(answer.json().get("data", [])) if answer.status_code == 200 else []

    def _sent(self, path: str, files: Files, fields: Mapping[str, Any]) -> httpx.Response:
        parts = [
            (role, (f"{role}-{i}", Path(one).read_bytes(), "application/octet-stream"))
            for role, several in files.items()
            for i, one in enumerate(several)
        ]
        data = {name: _text(value) for name, value in fields.items() if value is not None and value != ""}
        return _checked(self.http.post(path, files=parts, data=data))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _checked(answer: httpx.Response) -> httpx.Response:
    """gr.Error (a toast) with the service's own line, which says how to mend it."""
    if answer.status_code < 400:
        return answer
    try:
        line = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        line = f"the service answered {answer.status_code}"
    raise gr.Error(str(line), print_exception=False)

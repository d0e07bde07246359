"""A job as it is seen while it is made: submitted, followed, shown, cancelled."""

from __future__ import annotations

import html
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from facefact.apps.page.calls import FINISHED, Calls, Job

OnLoad = tuple[Any, list[Any], list[Any]]  # when the page is opened: function, inputs, outputs
# Of every event: the page is no API of its own, the service has one.
PRIVATE: Any = {"api_visibility": "private"}
# Of what needs no queue: one request and its answer.
AT_ONCE: Any = {**PRIVATE, "queue": False, "show_progress": "hidden"}
SHOWN_AFTER = 0.3  # seconds between two pictures, or two states, of a job: each costs the browser and the service
MOST_REMEMBERED = 200  # jobs that a browser remembers
STATES = {
    "queued": "waits",
    "running": "is being made",
    "done": "is done",
    "failed": "failed",
    "cancelled": "was cancelled",
    "expired": "has expired",
}


def folder() -> Path:
    """For files that are handed to the browser; Gradio serves what lies in its own cache alone."""
    return Path(tempfile.mkdtemp(prefix="facefact-page-"))


def followed(calls: Calls, job: Job) -> Iterator[tuple[Job, str | None]]:
    """The job whenever something has changed, and the forming picture (a JPEG in base64) where there is a new one. What
    an event says already is not asked for again."""
    kind, id = str(job["kind"]), str(job["id"])
    yield job, None
    shown = {"progress": 0.0, "preview": 0.0}
    for name, data in calls.events(job):
        if name in shown:
            if time.monotonic() - shown[name] < SHOWN_AFTER:
                continue
            shown[name] = time.monotonic()
            job = job | {"progress": data.get("progress", job["progress"])}
            yield job, data.get("jpeg")
            continue
        if (now := calls.job(kind, id)) is None:
            return
        job = now
        yield job, None
        if ended(job):
            return
    if (now := calls.job(kind, id)) is not None:
        yield now, None


def forming(jpeg: str) -> str:
    """The picture that forms, as HTML: as it came, neither decoded nor written anywhere."""
    data = html.escape(jpeg)
    return f'<figure class="forming"><img alt="Forming" src="data:image/jpeg;base64,{data}"></figure>'


def bar(job: Job | None) -> str:
    """Where a job is, as HTML that a screen reader reads too."""
    if job is None:
        return ""
    percent = 100 if job["state"] == "done" else round(100 * job["progress"])
    line = f"{STATES[job['state']]}"
    if job["state"] == "queued" and job.get("position"):
        line = f"waits behind {job['position']}"
    if job["state"] == "failed" and job.get("reason"):
        line = f"failed: {plain(job['reason'])}"
    warnings = "".join(f"<li>{html.escape(plain(one))}</li>" for one in job["warnings"])
    return (
        f'<div class="said" role="status" aria-live="polite"><div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-label="progress"><div style="width:{percent}%">'
        "</div></div>"
        f"The job {html.escape(line)}{f' ({percent} %)' if job['state'] == 'running' else ''}."
        f"{f'<ul>{warnings}</ul>' if warnings else ''}</div>"
    )


def plain(line: str) -> str:
    """A reason or a warning without names that the page shows none of: of the API's fields, of a file that was sent."""
    line = re.sub(r" \(exact_prompt: [^)]*\)", " (see More: Draw what the words say and no more)", line)
    return re.sub(r"LoRA lora-\w+\.safetensors", "LoRA that was sent along", line)


def told(job: Job) -> None:
    """A toast where a job failed, with its reason, which says how to mend it."""
    if job["state"] == "failed":
        gr.Warning(html.escape(plain(str(job["reason"])), quote=False), title="No picture was made", duration=30)


def ended(job: Job) -> bool:
    return job["state"] in FINISHED


def remember(mine: list[dict[str, str]] | None, job: Job) -> list[dict[str, str]]:
    """The browser's own jobs, the newest first."""
    one = {"kind": str(job["kind"]), "id": str(job["id"])}
    return [one, *(other for other in mine or [] if other["id"] != one["id"])][:MOST_REMEMBERED]


def refuse_nobody(files: Any) -> list[str]:
    """The paths of what was uploaded. gr.Error: nothing was."""
    found = [str(getattr(one, "name", one)) for one in files or []]
    if not found:
        raise gr.Error("Whose portrait? Add a photo of the person, or pick a saved one.", print_exception=False)
    return found

"""Queue: the browser's own jobs, which survive a reload and a restart of the program."""

from __future__ import annotations

import html
import time
from typing import Any

import gradio as gr

from facefact.apps.page.calls import FINISHED, Calls, Job
from facefact.apps.page.working import PRIVATE, STATES, OnLoad, folder, plain

MOST = 25  # jobs that are looked at
EVERY = 3.0  # seconds


def tab(url: str, mine: gr.BrowserState) -> OnLoad:
    """Lays the tab out and connects it; (what renews it, its inputs, its outputs)."""
    listed = gr.HTML(elem_id="jobs")
    with gr.Row():
        chosen = gr.Dropdown([], label="A job", interactive=True, elem_id="job")
        show = gr.Button("Show", elem_id="job-show")
        cancel = gr.Button("Cancel", variant="stop", elem_id="job-cancel")
        forget = gr.Button("Delete it with its photos", variant="stop", elem_id="job-forget")
    made = gr.Gallery(label="Its pictures", columns=4, object_fit="contain", interactive=False, elem_id="job-made")
    files = gr.File(label="Download, with the recipe inside", interactive=False)

    def renewed(jobs: Any, request: gr.Request) -> tuple[str, Any]:
        found = look(Calls.of(url, request), jobs)
        return table(found), gr.update(choices=[(_line(job), job["id"]) for job in found])

    def pictures(id: str | None, jobs: Any, request: gr.Request) -> tuple[Any, Any]:
        calls = Calls.of(url, request)
        job = calls.job(_kind(id, jobs), id) if id else None
        if job is None or not job["links"]["images"]:
            state = f"The job {STATES[job['state']]}" if job else "Choose a job"
            raise gr.Error(f"{state}: there are no pictures to show.", print_exception=False)
        found = calls.pictures(job, folder())
        return found, found

    def delete(id: str | None, jobs: Any, request: gr.Request, *, forgotten: bool) -> tuple[Any, str, Any]:
        if not id:
            raise gr.Error("Choose a job.", print_exception=False)
        calls = Calls.of(url, request)
        job = calls.job(_kind(id, jobs), id)
        if job is not None and (job["state"] not in FINISHED or forgotten):
            calls.delete(job["kind"], id)
        if forgotten and job is not None and job["state"] in FINISHED:
            jobs = [one for one in jobs if one["id"] != id]
        return jobs, *renewed(jobs, request)

    def cancelled(id: Any, jobs: Any, request: gr.Request) -> Any:
        return delete(id, jobs, request, forgotten=False)

    def forgot(id: Any, jobs: Any, request: gr.Request) -> Any:
        return delete(id, jobs, request, forgotten=True)

    show.click(pictures, [chosen, mine], [made, files], **PRIVATE)
    cancel.click(cancelled, [chosen, mine], [mine, listed, chosen], **PRIVATE)
    forget.click(forgot, [chosen, mine], [mine, listed, chosen], **PRIVATE)
    gr.Timer(EVERY).tick(renewed, [mine], [listed, chosen], show_progress="hidden", **PRIVATE)
    return renewed, [mine], [listed, chosen]


def look(calls: Calls, jobs: Any) -> list[Job]:
    """Those that are still there, the newest first."""
    found = [calls.job(one["kind"], one["id"]) for one in (jobs or [])[:MOST]]
    return [one for one in found if one is not None]


def _kind(id: str | None, jobs: Any) -> str:
    return next((one["kind"] for one in jobs or [] if one["id"] == id), "portrait")


def _line(job: Job) -> str:
    return f"{job['kind']}: {str(job['settings'].get('prompt', ''))[:50]} ({STATES[job['state']]})"


def table(jobs: list[Job]) -> str:
    if not jobs:
        return '<p class="small">Nothing was asked for from this browser yet.</p>'
    rows = "".join(
        f"<tr><td>{html.escape(job['kind'])}</td><td>{html.escape(str(job['settings'].get('prompt', ''))[:70])}</td>"
        f"<td>{_state(job)}</td><td>{_age(job)}</td></tr>"
        for job in jobs
    )
    heads = "<tr><th>kind</th><th>words</th><th>state</th><th>asked for</th></tr>"
    return f'<div class="jobs"><table>{heads}{rows}</table></div>'


def _state(job: Job) -> str:
    if job["state"] == "running":
        return f"is being made, {100 * job['progress']:.0f} %{_left(job)}"
    if job["state"] == "queued":
        return f"waits behind {job['position'] or 0}"
    reason = f": {html.escape(plain(job['reason']))}" if job["state"] == "failed" and job["reason"] else ""
    return f"{STATES[job['state']]}{reason}"


def _left(job: Job) -> str:
    """The time that is left, by what the first part took."""
    if not job["started"] or job["progress"] < 0.05:
        return ""
    taken = time.time() - job["started"]
    return f", about {max(1, round(taken * (1 / job['progress'] - 1)))} s left"


def _age(job: Job) -> str:
    seconds = max(0, round(time.time() - job["created"]))
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"

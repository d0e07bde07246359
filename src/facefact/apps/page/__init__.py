"""The studio: a page for creators, mounted in the service and a client of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from facefact.apps.page import cards, compare, group, portrait, queue, template
from facefact.apps.page.form import OF_DEMO, First
from facefact.apps.page.look import CONSENT, CSS, HEAD, TITLE, theme
from facefact.apps.page.working import PRIVATE, folder
from facefact.demo import DEMO

PERSON = 20_260  # the seed of the example person, who does not exist


def mount(app: FastAPI, *, url: str, secret: str, model: str = DEMO) -> FastAPI:
    """The same app with the page at `/`.

    url: where the service answers, for the page's own calls. secret: what the browser's memory is encrypted with; the
    same from start to start, or the browser forgets. model: the one that draws, by the name that it was opened by: the
    form begins with its settings.
    """
    page = build(url, secret=secret, first=OF_DEMO if model == DEMO else First())
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme(),
        css=CSS,
        head=HEAD,
        footer_links=[],
        show_error=True,
        max_file_size="64mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    return mounted


def build(url: str, *, secret: str, first: First) -> gr.Blocks:
    """The page. It draws nothing itself: it asks the service. first: what the form begins with."""
    example = example_person()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86_400)) as page:
        memory: Mapping[str, Any] = {"secret": secret}
        mine = gr.BrowserState([], storage_key="facefact-jobs", **memory)
        known = gr.BrowserState([], storage_key="facefact-people", **memory)
        agreed = gr.BrowserState(False, storage_key="facefact-consent", **memory)
        gr.Markdown("# facefact\n\nPortraits of a person, from a photo and words, on this machine.", elem_id="brand")
        with gr.Group(visible=False, elem_id="consent") as notice:
            gr.Markdown(CONSENT)
            understood = gr.Button("Understood", size="sm", elem_id="understood")
        with gr.Tab("Portrait"):
            loaded = portrait.tab(url, mine, known, example, first)
        with gr.Tab("Template"):
            template.tab(url, mine, known)
        with gr.Tab("Group"):
            group.tab(url, mine, known)
        with gr.Tab("Compare"):
            loaded += compare.tab(url, mine, known, example)
        with gr.Tab("People"):
            cards.tab(url, known)
        with gr.Tab("Queue"):
            loaded.append(queue.tab(url, mine))
        private: Any = {**PRIVATE, "show_progress": "hidden"}
        understood.click(lambda: (True, gr.update(visible=False)), None, [agreed, notice], **private)
        page.load(lambda said: gr.update(visible=not said), [agreed], [notice], **private)
        for function, inputs, outputs in loaded:
            page.load(function, inputs, outputs, **private)
    page.queue(default_concurrency_limit=8, api_open=False)
    return page


def example_person() -> str:
    """A picture of somebody who does not exist, so that the first portrait is one click away."""
    from PIL import Image

    from facefact.world import look, person, render

    shown = look(PERSON, glasses="none", hat="none", pose="front", expression="neutral", hair="short")
    path: Path = folder() / "example.png"
    Image.fromarray(render(person(PERSON), shown).image).resize((512, 512), Image.Resampling.LANCZOS).save(path)
    return str(path)

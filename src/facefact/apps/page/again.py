"""A portrait once more: with other words, or just as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from facefact.apps.page.calls import Calls
from facefact.apps.page.form import Form, refilled
from facefact.apps.page.seen import PLAIN
from facefact.apps.page.working import AT_ONCE, PRIVATE

# The words are selected, so that typing replaces them and an arrow key goes on with them.
INTO_THE_WORDS = """() => {
  const words = document.querySelector("#prompt textarea");
  words.scrollIntoView({block: "center"}); words.focus(); words.select();
}"""


def buttons() -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        words = gr.Button("Again with other words", size="md", interactive=False, elem_id="other-words")
        same = gr.Button("This recipe again", size="md", interactive=False, elem_id="same-recipe")
    return words, same


def connect(
    url: str,
    form: Form,
    *,
    words: gr.Button,
    same: gr.Button,
    dropped: gr.File,
    made: gr.Gallery,
    of: gr.State,
    person: Sequence[Any],
    style: gr.Dropdown,
) -> gr.State:
    """Both buttons and the place for dropped pictures fill the form. of: of whom the portraits are: what the components
    `person` held. Returns which portrait is chosen: its number, to be set to 0 with new ones."""
    chosen = gr.State(0)

    def filled(path: str | None, request: gr.Request) -> list[Any]:
        return [*refilled(path, Calls.of(url, request).loras()), PLAIN]

    def again(shown: Any, number: int, whose: Any, request: gr.Request) -> list[Any]:
        if not shown:
            raise gr.Error("Make a portrait first.", print_exception=False)
        return [*filled(path_of(shown, number), request), *(whose or [gr.skip() for _ in person])]

    def noted(event: gr.SelectData) -> int:
        return int(event.index)

    parts = [*form.parts, style]
    made.select(noted, None, [chosen], **AT_ONCE)
    whole: Any = {"inputs": [made, chosen, of], "outputs": [*parts, *person], "show_progress": "hidden", **PRIVATE}
    words.click(again, **whole).then(None, None, None, js=INTO_THE_WORDS, **PRIVATE)
    same.click(again, **whole)
    dropped.upload(filled, [dropped], parts, **PRIVATE)
    return chosen


def path_of(shown: Sequence[Any], number: int) -> str:
    """The file of the chosen portrait. (A gallery's value is a list of (file, caption).)"""
    one = shown[min(number, len(shown) - 1)]
    return str(one[0] if isinstance(one, (tuple, list)) else one)

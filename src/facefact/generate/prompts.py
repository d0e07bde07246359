"""Prompts as people write them: longer than the text encoder's window, and with weights such as (red coat:1.3).

A long prompt is read in windows, each as a prompt of its own; the U-Net attends to all of them. A weight says how far
the tokens' embeddings go from those of an empty prompt (as ComfyUI and compel have it).
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("facefact")

WEIGHTED = re.compile(r"(?<!\\)\(([^()]+):\s*(\d*\.?\d+)\s*\)")
UNREAD = "warning: of this prompt the model does not read: %s"
LONGEST = 1 << 20  # a limit of our own, far off: without one transformers warns of what is done here
Token = tuple[int, float]  # its number and weight


def arguments(pipe: Any, prompts: Sequence[str], negative: Sequence[str] | None) -> dict[str, Any]:
    """What the pipeline is called with: the texts as they are where it can read them whole, else their embeddings.

    negative: None for pipelines that take none. Of what the model cannot read the log warns.
    """
    texts = [*prompts, *(negative or ())]
    if all(windows(pipe, text) == 1 and not WEIGHTED.search(text) for text in texts):
        return _named("prompt", texts, len(prompts), guided=negative is not None)
    if not reads_embeddings(pipe):
        for text in texts:
            _warn(pipe, text)
        plain = [WEIGHTED.sub(r"\1", text) for text in texts]
        return _named("prompt", plain, len(prompts), guided=negative is not None)
    embeddings, pooled = encode(pipe, texts)
    given = _named("prompt_embeds", embeddings, len(prompts), guided=negative is not None)
    if pooled is not None:
        given |= _named("pooled_prompt_embeds", pooled, len(prompts), guided=negative is not None)
    return given


def _named(name: str, both: Any, count: int, *, guided: bool) -> dict[str, Any]:
    """The first `count` as the prompts', the others, where there is guidance, as the negative ones'."""
    return {name: both[:count]} | ({f"negative_{name}": both[count:]} if guided else {})


def windows(pipe: Any, *texts: str) -> int:
    """How many windows of the text encoder the longest of the texts fills, at least 1."""
    if getattr(pipe, "tokenizer", None) is None:
        return 1
    room = window(pipe) - 2  # start and end
    return max(1, *(-(-len(tokens(pipe, pipe.tokenizer, text)) // room) for text in texts))


def window(pipe: Any) -> int:
    """Tokens that the text encoder reads at once, start and end included."""
    positions = getattr(pipe.text_encoder.config, "max_position_embeddings", pipe.tokenizer.model_max_length)
    return int(min(pipe.tokenizer.model_max_length, positions))


def tokens(pipe: Any, tokenizer: Any, text: str) -> list[Token]:
    """Of a text with weights, without start and end."""
    learned = set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)  # by textual inversion
    found: list[Token] = []
    for piece, weight in pieces(text):
        if learned and hasattr(pipe, "maybe_convert_prompt"):  # one word may stand for several tokens
            piece = pipe.maybe_convert_prompt(piece, tokenizer)
        numbers = tokenizer(piece, add_special_tokens=False, truncation=True, max_length=LONGEST)["input_ids"]
        found += [(number, weight) for number in numbers]
    return found


def pieces(text: str) -> list[tuple[str, float]]:
    """The text in pieces, each with its weight; (words:1.3) are a piece, any other brackets are text."""
    found, end = [], 0
    for match in WEIGHTED.finditer(text):
        found += [(text[end : match.start()], 1.0), (match[1], float(match[2]))]
        end = match.end()
    return [(piece, weight) for piece, weight in [*found, (text[end:], 1.0)] if piece.strip()]


def reads_embeddings(pipe: Any) -> bool:
    """Whether windows and weights work: the pipeline takes embeddings, and its text encoders are CLIP's."""
    encoders = [part for name, part in pipe.components.items() if name.startswith("text_encoder") and part is not None]
    clip = all(type(encoder).__name__ in ("CLIPTextModel", "CLIPTextModelWithProjection") for encoder in encoders)
    return bool(encoders) and clip and "prompt_embeds" in inspect.signature(type(pipe).__call__).parameters


@torch.no_grad()
def encode(pipe: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Texts of equally many windows -> (n, windows * window, width), and SDXL's pooled embeddings (n, width), which are
    those of the first window. Shorter texts are filled up with empty windows."""
    several = getattr(pipe, "tokenizer_2", None) is not None
    count = windows(pipe, *texts)
    widths, pooled = [], None
    for end in ("", "_2") if several else ("",):
        encoder, tokenizer = getattr(pipe, f"text_encoder{end}"), getattr(pipe, f"tokenizer{end}")
        if encoder is None:  # SDXL's refiner has the second alone
            continue
        numbers, weights = _padded(pipe, tokenizer, [*texts, ""], count)
        result = encoder(numbers.flatten(0, 1).to(pipe._execution_device), output_hidden_states=several)
        hidden = (result.hidden_states[-2] if several else result[0]).unflatten(0, (-1, count))
        said, empty = hidden[:-1], hidden[-1:]
        weights = weights[:-1, ..., None].to(hidden)
        weighed = torch.where(weights == 1, said, empty + (said - empty) * weights)
        widths.append(weighed.flatten(1, 2))
        pooled = result[0].unflatten(0, (-1, count))[:-1, 0] if several else None
    return torch.cat(widths, dim=-1), pooled


def _padded(pipe: Any, tokenizer: Any, texts: Sequence[str], count: int) -> tuple[Tensor, Tensor]:
    """Numbers and weights of the tokens, each (n, windows, window), with start, end and padding."""
    size = window(pipe)
    room = size - 2
    start, end, fill = (tokenizer.bos_token_id, 1.0), (tokenizer.eos_token_id, 1.0), (tokenizer.pad_token_id, 1.0)
    rows = []
    for text in texts:
        found = tokens(pipe, tokenizer, text)
        parts = [found[i * room : (i + 1) * room] for i in range(count)]
        rows.append([[start, *part, end, *[fill] * (room - len(part))] for part in parts])
    both = torch.tensor(rows, dtype=torch.float64)  # exact for numbers of tokens
    return both[..., 0].long(), both[..., 1]


def _warn(pipe: Any, text: str) -> None:
    tail = [number for number, _ in tokens(pipe, pipe.tokenizer, text)][window(pipe) - 2 :]
    unread = [f"the end, {pipe.tokenizer.decode(tail)!r}"] if tail else []
    unread += ["weights such as (word:1.3)"] if WEIGHTED.search(text) else []
    if unread:
        log.warning(UNREAD, " and ".join(unread))

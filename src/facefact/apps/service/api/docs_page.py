"""The description of the API as one page that loads nothing: no script, no style, no letter from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from facefact.page import escape, page, section, table

EXAMPLE = """curl -F face=@me.jpg -F prompt="a portrait in a red coat, snow" {at}/v1/portraits
curl {at}/v1/portraits/ID
curl -N {at}/v1/portraits/ID/events
curl -o 0.png {at}/v1/portraits/ID/images/0.png"""
AT = "http://127.0.0.1:8188"


def front_page() -> str:
    """What stands at / where there is no page to click on."""
    links = '<p><a href="docs">What it answers to</a>, also as <a href="openapi.json">OpenAPI</a>.</p>'
    more = "<p class=pale>The page to click on comes with <code>pip install 'facefact[app]'</code>.</p>"
    return page("facefact", [section("The service is here", f"{links}{example()}{more}")])


def docs_page(said: Mapping[str, Any]) -> str:
    """said: the app's OpenAPI description."""
    about = "".join(f"<p>{escape(part)}</p>" for part in said["info"].get("description", "").split("\n\n"))
    note = '<p class="pale">For programs: <a href="openapi.json">openapi.json</a>.</p>'
    sections = [section("In short", about + example() + note)]
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            sections.append(section(f"{method.upper()} {path}", operation_content(operation, said)))
    return page(f"{said['info']['title']} {said['info']['version']}: the API", sections)


def example() -> str:
    return f"<pre>{escape(EXAMPLE.format(at=AT))}</pre>"


def operation_content(operation: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    shown = [f"<p>{escape(operation.get('summary', ''))}</p>"]
    if words := operation.get("description"):
        shown.append(f'<p class="pale">{escape(words)}</p>')
    rows = [parameter_row(one) for one in operation.get("parameters", [])]
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        shown.append(f'<p class="pale">Body: {escape(media)}</p>')
        rows += list(body_rows(body["schema"]))
    if rows:
        shown.append(f'<div class="wide">{table(rows, head=("name", "where", "kind", "what"))}</div>')
    answers = [(code, one.get("description", ""), kinds(one, said)) for code, one in operation["responses"].items()]
    shown.append(f'<details><summary>Answers</summary><div class="wide">{table(answers)}</div></details>')
    return "".join(shown)


def parameter_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return one["name"], one["in"], kind_of(one.get("schema", {})), one.get("description", "")


def body_rows(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, one in schema.get("properties", {}).items():
        needed = "needed" if name in schema.get("required", []) else ""
        yield name, needed, kind_of(one), one.get("description", "")


def kind_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(kind_of(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema.get("format") == "binary":
        return "file"
    if schema.get("type") == "array":
        return f"{kind_of(schema.get('items', {}))}s"
    bounds = [f"{words} {schema[name]}" for name, words in BOUNDS.items() if name in schema]
    return ", ".join([str(schema.get("type", schema.get("$ref", "any").rpartition("/")[2])), *bounds])


BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "multipleOf": "in steps of",
    "maxLength": "letters up to",
}


def kinds(answer: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Media types of an answer and the fields of its JSON."""
    shown = []
    for media, one in answer.get("content", {}).items():
        name = one.get("schema", {}).get("$ref", "").rpartition("/")[2]
        known = said.get("components", {}).get("schemas", {}).get(name, {}).get("properties", {})
        shown.append(f"{media}: {json.dumps(list(known))}" if known else media)
    return "; ".join(shown)

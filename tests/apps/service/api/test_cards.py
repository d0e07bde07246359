"""Identity cards over HTTP: made, looked at, merged."""

from __future__ import annotations

import io
import json
from datetime import date, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from facefact.world import look, person, render


def photo_of(number: int, view: int) -> bytes:
    out = io.BytesIO()
    shown = look(view, glasses="none", hat="none", pose="front")
    Image.fromarray(render(person(number), shown, size=192).image).save(out, format="PNG")
    return out.getvalue()


def card_of(client: TestClient, number: int, view: int, **said: Any) -> bytes:
    answer = client.post("/v1/cards", data=said, files={"face": photo_of(number, view)})
    assert answer.status_code == 200, answer.text
    return answer.content


def merged(client: TestClient, *cards: bytes, **said: str) -> Any:
    return client.post("/v1/cards/merge", data=said, files=[("card", one) for one in cards])


def looked_at(client: TestClient, card: bytes) -> Any:
    return client.post("/v1/cards/look", files={"card": card}).json()


def test_cards_of_one_person_become_one_that_expires_with_the_first(client: TestClient) -> None:
    soon, later = (str(date.today() + timedelta(days=days)) for days in (10, 100))
    first = card_of(client, 1, 1, name="Ada", consent="a poster", expires=later, thumbnail="true")
    both = merged(client, first, card_of(client, 1, 2, expires=soon))
    assert both.status_code == 200
    said = looked_at(client, both.content)
    assert (said["name"], said["expires"], said["expired"], said["fits"]) == ("Ada", soon, False, True)
    assert "a poster" in said["consent"]
    assert [one["kind"] for one in said["sources"]] == ["avatar", "avatar"]
    assert said["thumbnail"] == looked_at(client, first)["thumbnail"] is not None
    assert looked_at(client, merged(client, first, first, name="Bo").content)["name"] == "Bo"


def test_two_people_on_one_card_are_noticed(client: TestClient) -> None:
    answer = merged(client, card_of(client, 1, 1, name="Ada"), card_of(client, 2, 1, name="Ben"))
    (warning,) = json.loads(answer.headers["X-Warnings"])
    assert "Ada" in warning
    assert "Ben" in warning


@pytest.mark.parametrize("path", ["/v1/cards/look", "/v1/cards/merge"])
def test_what_is_no_card_is_refused(client: TestClient, photo: bytes, path: str) -> None:
    damaged = card_of(client, 1, 1)[:-7]
    for files in ([], [("card", photo)] * 2, [("card", damaged)] * (2 if "merge" in path else 1)):
        answer = client.post(path, files=files or {"other": b"x"})
        assert answer.status_code == 400
        assert "/tmp" not in answer.text
    assert merged(client, card_of(client, 1, 1)).json()["error"]["code"] == "missing"

"""The API as it describes itself, called with whatever fits the description and with what does not (schemathesis)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="needs schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation.modes import GenerationMode

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.service import Limits, Service
from facefact.apps.service.jobs import NewJob
from hostile import uploads

LIMITS = Limits(picture_bytes=3_000_000, picture_pixels=4_000_000, body_bytes=8_000_000, queue=30, wait_seconds=0.05)
QUIET = {"healthz", "readyz", "metrics", "models"}  # a few calls say as much as many


def seeded(service: Service, photo: bytes) -> list[str]:
    """Finished jobs of every kind, so that calls meet something."""
    ids = []
    for kind, role in (("portrait", "face"), ("template", "put.0"), ("group", "put.0")):
        for _ in range(4):
            new = NewJob(kind=kind, settings={"prompt": "a", "format": "png"}, inputs={role: ["x/input/0.png"]})
            job, _ = service.jobs.submit(new, limit=1000)
            service.jobs.claim("a worker")
            service.store.put(f"{job.id}/0.png", photo)
            service.jobs.finish(job.id, "a worker", results=[f"{job.id}/0.png"])
            ids.append(job.id)
    return ids


def call_everything(service: Service, photo: bytes, examples: int) -> Counter[int]:
    """Every operation of the description, with so many right and so many wrong calls; the statuses that came. Each
    answer's status, media type and content are what the description says."""
    load_all_checks()
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
    checks = [*CHECKS.get_by_names(list(names))]
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(service))
    ids, statuses = seeded(service, photo), Counter[int]()
    pictures = st.sampled_from([photo, photo, *(content for _, content in uploads(40))])
    for found in schema.get_all_operations():
        operation = found.ok()
        few = max(2, examples // 5) if QUIET & set(operation.path.strip("/").split("/")) else examples
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=few,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(
                case=operation.as_strategy(generation_mode=mode),
                id=st.sampled_from(ids),
                picture=pictures,
                own=st.booleans(),
            )
            def call(case: Any, id: str, picture: bytes, own: bool) -> None:
                if own and "id" in case.path_parameters:
                    case.path_parameters["id"] = id
                if own and isinstance(case.body, dict):
                    with_pictures(case.body, picture)
                statuses[case.call_and_validate(checks=checks).status_code] += 1

            try:
                call()
            except Exception as error:
                if (
                    "Unsatisfiable" not in type(error).__name__
                ):  # nothing can be wrong with an operation that takes nothing
                    raise
    return statuses


def with_pictures(body: dict[str, Any], picture: bytes) -> None:
    """Random bytes are no picture: real ones get further."""
    for name, value in body.items():
        if name in ("face", "image", "put.0"):
            body[name] = [picture] if isinstance(value, list) else picture
        elif name in ("template", "layout", "mask"):
            body[name] = picture


def checked(statuses: Counter[int], *, calls: int) -> None:
    print("\ncalls:", statuses.total(), dict(sorted(statuses.items())))
    assert statuses.total() >= calls, statuses
    assert not [status for status in statuses if status >= 500], statuses
    assert {200, 202, 400, 404} <= set(statuses), statuses


def test_answers_are_what_the_description_says(make_service: Callable[..., Service], photo: bytes) -> None:
    checked(call_everything(make_service(limits=LIMITS), photo, 4), calls=100)


@pytest.mark.long
def test_five_thousand_calls(make_service: Callable[..., Service], photo: bytes) -> None:
    checked(call_everything(make_service(limits=LIMITS), photo, 130), calls=5000)

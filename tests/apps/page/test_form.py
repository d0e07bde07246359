"""The form of a portrait begins with what the model is drawn best with."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="needs gradio (extra `app`)")

from facefact.apps.page.form import OF_DEMO, First
from facefact.demo import DEMO
from facefact.generate import Settings
from facefact.generate.demo_model import settings_for


@pytest.mark.parametrize(("first", "model"), [(First(), "another"), (OF_DEMO, DEMO)])
def test_it_begins_with_the_models_own_settings(first: First, model: str) -> None:
    own = settings_for(model, Settings, prompt="")
    assert (first.scale, first.guidance_scale, first.face_guidance) == (
        own.scale,
        own.guidance_scale,
        own.face_guidance,
    )
    assert first.steps == own.steps or model == DEMO

"""The row of stages on a chunk: who the faces are is asked of all together, and does not depend on the chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from facefact.data.inputs import list_entries
from facefact.data.prepare_config import PeopleSettings
from facefact.data.records import Entry
from facefact.data.stages import Tools, merged, open_tools, run_stages
from facefact.types import Face
from portraits import SETTINGS, oddities, people

KNOWN = replace(SETTINGS, people=PeopleSettings(recogniser="auto"))  # of avatars: the bundle's encoder


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    folder = people(tmp_path_factory.mktemp("stages") / "album", count=2, looks=3)
    oddities(folder / "Person_1" / "odd")
    return list_entries(folder, "people")


@pytest.fixture(scope="module")
def tools() -> Tools:
    return open_tools(KNOWN)


def test_a_chunk_in_parts_is_the_same_chunk(entries: list[Entry], tools: Tools) -> None:
    whole = run_stages(entries, tools, KNOWN)
    parts = merged(run_stages(entries[i : i + 4], tools, KNOWN) for i in range(0, len(entries), 4))
    assert len(whole.samples) == 6
    assert whole.rejected == parts.rejected
    for one, other in zip(whole.samples, parts.samples, strict=True):
        assert one.row == other.row
        assert one.files == other.files
        assert one.embedding is not None
        np.testing.assert_array_equal(one.embedding, other.embedding)
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-6)


class Forgetful:
    """A recogniser that makes nothing of the second face."""

    name, licence, outlier, cluster = "forgetful", "", 1.0, 0.7

    def view(self, pixels: np.ndarray, face: Face, *, crop: np.ndarray | None = None) -> np.ndarray:
        assert crop is not None
        return crop

    def embed(self, views: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[0.0, 0.0] if i == 1 else [3.0, 4.0] for i in range(len(views))])


def test_a_face_that_is_not_recognised_is_rejected(entries: list[Entry], tools: Tools) -> None:
    before = run_stages(entries, replace(tools, recogniser=None), KNOWN)
    after = run_stages(entries, replace(tools, recogniser=Forgetful()), KNOWN)
    lost = after.rejected[-1]
    assert [one.row for one in after.samples] == [one.row for i, one in enumerate(before.samples) if i != 1]
    assert after.rejected[:-1] == before.rejected
    assert (lost.stage, lost.reason, lost.name) == ("person", "not recognised", before.samples[1].row.name)
    assert lost.box == before.samples[1].row.box
    assert all(one.embedding is None for one in before.samples)
    np.testing.assert_allclose([one.embedding for one in after.samples], [[0.6, 0.8]] * 5)

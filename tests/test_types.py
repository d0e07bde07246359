"""Face tokens on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from facefact import FaceTokens, UserError
from facefact.files import write_tensors


@pytest.fixture
def tokens(adapter: Any) -> FaceTokens:
    """Of three pictures."""
    return adapter.tokens(torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def test_saved_tokens_are_the_same_bit_for_bit(tokens: FaceTokens, tmp_path: Path, adapter: Any) -> None:
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        tokens.to(kind).save(tmp_path / "a.safetensors")
        loaded = FaceTokens.load(tmp_path / "a.safetensors")
        assert torch.equal(loaded.face, tokens.face.to(kind))
        assert torch.equal(loaded.null, tokens.null.to(kind))
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o600
    adapter.condition(FaceTokens.load(tmp_path / "a.safetensors"))


def test_the_null_face_is_stored_once(tokens: FaceTokens) -> None:
    stored = tokens.as_tensors()
    assert stored["null"].shape[1] * 3 == tokens.null.shape[1]
    assert torch.equal(FaceTokens.from_tensors(stored).null, tokens.null)


def test_several_people_are_saved_as_well(tokens: FaceTokens, tmp_path: Path) -> None:
    rows = FaceTokens(tokens.face.repeat(2, 1, 1), tokens.null)
    rows.save(tmp_path / "a.safetensors")
    assert torch.equal(FaceTokens.load(tmp_path / "a.safetensors").face, rows.face)


def test_joined_tokens_are_those_of_all_pictures(adapter: Any) -> None:
    pixels = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, parts = adapter.tokens(pixels), [adapter.tokens(pixels[:1]), adapter.tokens(pixels[1:])]
    joined = FaceTokens.joined(parts)
    torch.testing.assert_close(joined.face, whole.face)
    torch.testing.assert_close(joined.null, whole.null)


BAD = {
    "holds no face tokens": {"face": torch.zeros(1, 4, 8)},
    "tokens are none": {"face": torch.zeros(1, 4, 8, dtype=torch.uint8), "null": torch.zeros(1, 4, 8)},
    "are none": {"face": torch.zeros(4, 8), "null": torch.zeros(4, 8)},
    "do not fit each other": {"face": torch.zeros(1, 4, 8), "null": torch.zeros(1, 3, 8)},
    r"do not fit each other: \(1, 4, 8\)": {"face": torch.zeros(1, 4, 8), "null": torch.zeros(1, 4, 9)},
    r"do not fit each other: \(1, 0, 8\)": {"face": torch.zeros(1, 0, 8), "null": torch.zeros(1, 0, 8)},
    "are no numbers": {"face": torch.full((1, 4, 8), torch.nan), "null": torch.zeros(1, 4, 8)},
}


@pytest.mark.parametrize("said", BAD)
def test_what_are_no_tokens_is_said(said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, BAD[said], {})
    with pytest.raises(UserError, match=rf"a\.safetensors: .*{said}"):
        FaceTokens.load(path)


def test_a_folder_that_is_not_there_is_said(tokens: FaceTokens, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        tokens.save(tmp_path / "none" / "a.safetensors")
    with pytest.raises(UserError, match="there is no such file"):
        FaceTokens.load(tmp_path / "none")

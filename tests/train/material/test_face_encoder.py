"""The face encoder is the same from all its homes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from facefact import FaceAdapter, checkpoint
from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.material.face_encoder import frozen_encoder
from facefact.types import UserError
from tiny import tiny_adapter, tiny_pipeline

NOWHERE = Path("/nowhere")


def test_an_encoder_is_the_same_from_all_its_homes(tmp_path: Path) -> None:
    adapter = tiny_adapter(tiny_pipeline())
    adapter.save_pretrained(tmp_path / "adapter")
    adapter.save_pretrained(tmp_path / "bundle" / "adapter")
    checkpoint.save(tmp_path / "transface", adapter.encoder.state_dict(), asdict(adapter.encoder.config))
    published = TransFace(TransFaceConfig(patch_size=28, width=64, depth=2, heads=1, embedding_size=8))
    torch.save(published.state_dict(), tmp_path / "published.pt")
    expected = checkpoint.content_hash(adapter.encoder.state_dict())
    for source in (str(tmp_path / "adapter"), str(tmp_path / "transface"), "bundle"):
        found = frozen_encoder(source, bundle=tmp_path / "bundle")
        assert checkpoint.content_hash(found.state_dict()) == expected
    found = frozen_encoder(str(tmp_path / "published.pt"), bundle=NOWHERE)
    assert checkpoint.content_hash(found.state_dict()) == checkpoint.content_hash(published.state_dict())
    assert isinstance(FaceAdapter.new(tiny_pipeline(), encoder=found), FaceAdapter)


def test_what_cannot_be_an_encoder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.pt").write_bytes(b"no torch file")
    for source, message in (
        (str(tmp_path / "empty"), "no config.json"),
        (str(tmp_path / "file.pt"), "torch file"),
        (str(tmp_path / "gone"), "no file or directory"),
        ("random:huge", "transface-s"),
    ):
        with pytest.raises(UserError, match=message):
            frozen_encoder(source, bundle=NOWHERE)

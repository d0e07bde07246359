"""Real signatures by an own authority: they hold, they break when a byte changes, and the recipe lives beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.generate import read_recipe, save_portrait
from facefact.generate.certificates import make_credentials
from facefact.generate.recipe import versions
from facefact.generate.signing import Signer, has_manifest, keep_manifest, read_signature
from facefact.types import Portrait, UserError

c2pa = pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")

FORMATS = ["a.png", "a.jpg", "a.webp"]
RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "Zoë in a <red> coat\u2028",
    "negative_prompt": "",
    "face_guidance": True,
    "width": 64,
    "height": 48,
    "model": {"name": "demo", "sha256": "0123456789abcdef"},
    "adapter": {"name": "demo", "sha256": "fedcba9876543210"},
    "versions": versions(),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "keys"
    make_credentials(folder, name="Ada")
    return folder


@pytest.fixture
def signer(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Signer:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # nobody's own authority
    return Signer.open(own / "key.pem", own / "chain.pem")


def portrait(**recipe: Any) -> Portrait:
    return Portrait(Image.effect_noise((64, 48), 60).convert("RGB"), RECIPE | recipe)


@pytest.mark.parametrize("name", FORMATS)
def test_a_signed_picture_keeps_recipe_and_pixels(tmp_path: Path, own: Path, signer: Signer, name: str) -> None:
    made, path = portrait(), tmp_path / "new" / name
    save_portrait(made, path, signer)
    save_portrait(made, tmp_path / f"plain-{name}")
    assert read_recipe(path) == RECIPE
    with Image.open(path) as signed, Image.open(tmp_path / f"plain-{name}") as plain:
        assert np.array_equal(np.asarray(signed), np.asarray(plain))
        assert signed.info.get("xmp") == plain.info.get("xmp")
    assert [one.name for one in path.parent.iterdir()] == [name]
    assert has_manifest(path)
    assert not has_manifest(tmp_path / f"plain-{name}")
    assert path.stat().st_size - (tmp_path / f"plain-{name}").stat().st_size < 6000  # no thumbnail
    found = read_signature(path)
    assert found is not None
    assert (found.state, found.signer, found.generator) == ("valid", "Ada", "facefact")
    assert found.source == "trainedAlgorithmicMedia"
    assert found.models == {"model": RECIPE["model"], "adapter": RECIPE["adapter"]}
    trusting = read_signature(path, trusted=[(own / "ca.pem").read_bytes()])
    assert trusting is not None
    assert trusting.state == "trusted"
    assert read_signature(tmp_path / f"plain-{name}") is None


def test_the_own_authority_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    keys = tmp_path / "facefact/signing"
    make_credentials(keys, name="me")
    save_portrait(portrait(), tmp_path / "a.png", Signer.open(keys / "key.pem", keys / "chain.pem"))
    found = read_signature(tmp_path / "a.png")
    assert found is not None
    assert found.state == "trusted"


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_byte_is_seen(tmp_path: Path, own: Path, signer: Signer, name: str) -> None:
    path = tmp_path / name
    save_portrait(portrait(), path, signer)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-40] ^= 1  # in the pixels or the metadata behind them
    path.write_bytes(changed)
    found = read_signature(path, trusted=[(own / "ca.pem").read_bytes()])
    assert found is not None
    assert found.state == "tampered"
    assert found.why


def test_another_ones_authority_does_not_vouch(tmp_path: Path, own: Path, signer: Signer) -> None:
    make_credentials(tmp_path / "eve", name="Ada")
    save_portrait(portrait(), tmp_path / "a.png", signer)
    found = read_signature(tmp_path / "a.png", trusted=[(tmp_path / "eve/ca.pem").read_bytes()])
    assert found is not None
    assert found.state == "valid"


@pytest.mark.parametrize("name", FORMATS)
def test_the_templates_credentials_are_kept(tmp_path: Path, own: Path, signer: Signer, name: str) -> None:
    template, photo, result = tmp_path / "secret-name.png", tmp_path / "me.jpg", tmp_path / name
    save_portrait(portrait(prompt="the template"), template, signer)
    Image.new("RGB", (32, 32)).save(photo)
    recipe = {"kind": "inpainting", "strength": 0.8}
    save_portrait(portrait(**recipe), result, signer, template=template, photos=[photo])
    found = read_signature(result, trusted=[(own / "ca.pem").read_bytes()])
    assert found is not None
    assert (found.state, found.inputs) == ("trusted", ("template",))
    assert found.source == "compositeWithTrainedAlgorithmicMedia"
    assert b"secret-name" not in result.read_bytes()
    with open(result, "rb") as file, c2pa.Reader(f"image/{name[2:].replace('jpg', 'jpeg')}", file) as reader:
        active = reader.get_active_manifest()
        (ingredient,) = active["ingredients"]
        first = reader.get_manifest(ingredient["active_manifest"])
    assert ingredient["relationship"] == "parentOf"
    assert first["signature_info"]["common_name"] == "Ada"
    actions = [one for one in active["assertions"] if one["label"].startswith("c2pa.actions")][0]["data"]["actions"]
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.edited"]


def test_a_photo_with_credentials_is_named_and_one_without_is_not(tmp_path: Path, signer: Signer) -> None:
    signed, plain = tmp_path / "signed.jpg", tmp_path / "plain.jpg"
    save_portrait(portrait(), signed, signer)
    save_portrait(portrait(), plain)
    save_portrait(portrait(), tmp_path / "a.png", signer, photos=[plain, signed])
    found = read_signature(tmp_path / "a.png")
    assert found is not None
    assert (found.state, found.inputs) == ("valid", ("photo 2",))


def test_credentials_outlive_their_file(
    tmp_path: Path, own: Path, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept without the pixels; of the template that is worked on they are the parent's, whatever its new file says."""
    template, photo, result = tmp_path / "template.png", tmp_path / "photo.jpg", tmp_path / "a.webp"
    save_portrait(portrait(prompt="the template"), template, signer)
    save_portrait(portrait(), photo, signer)
    wanted = [keep_manifest(template.read_bytes(), "template"), keep_manifest(photo.read_bytes(), "photo 2")]
    kept = [one for one in wanted if one is not None]
    assert len(kept) == 2
    assert all(len(one) < 10_000 for one in kept)
    Image.effect_noise((64, 48), 60).save(template)
    photo.unlink()
    save_portrait(portrait(kind="inpainting"), result, signer, template=template, kept=[*kept, b"no archive"])
    assert "cannot be kept" in caplog.text
    found = read_signature(result, trusted=[(own / "ca.pem").read_bytes()])
    assert found is not None
    assert (found.state, found.inputs) == ("trusted", ("template", "photo 2"))
    with open(result, "rb") as file, c2pa.Reader("image/webp", file) as reader:
        ingredients = reader.get_active_manifest()["ingredients"]
    assert [one["relationship"] for one in ingredients] == ["parentOf", "inputTo"]
    for one in ingredients:
        codes = [good["code"] for good in one["validation_results"]["activeManifest"]["success"]]
        assert "assertion.dataHash.match" in codes  # of the file that is gone
    for content in (template.read_bytes(), b"jumdc2pa", template.read_bytes() + b"jumdc2pa"):
        assert keep_manifest(content, "template") is None


def test_a_template_that_can_hold_no_credentials_is_worked_on_all_the_same(tmp_path: Path, signer: Signer) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "template.bmp")
    save_portrait(portrait(kind="inpainting"), tmp_path / "a.png", signer, template=tmp_path / "template.bmp")
    found = read_signature(tmp_path / "a.png")
    assert found is not None
    assert (found.state, found.inputs, found.source) == ("valid", (), "compositeWithTrainedAlgorithmicMedia")


def test_a_template_with_broken_credentials_stays_broken(tmp_path: Path, own: Path, signer: Signer) -> None:
    """Its manifest is kept with what was wrong; the new signature does not make it whole."""
    template = tmp_path / "template.png"
    save_portrait(portrait(), template, signer)
    content = bytearray(template.read_bytes())
    content[-40] ^= 1
    with Image.open(template) as image:
        assert image.size == (64, 48)
    template.write_bytes(content)
    save_portrait(portrait(kind="inpainting"), tmp_path / "a.png", signer, template=template)
    found = read_signature(tmp_path / "a.png", trusted=[(own / "ca.pem").read_bytes()])
    assert found is not None
    with open(tmp_path / "a.png", "rb") as file, c2pa.Reader("image/png", file) as reader:
        (ingredient,) = reader.get_active_manifest()["ingredients"]
    codes = [one["code"] for one in ingredient["validation_results"]["activeManifest"]["failure"]]
    assert "assertion.dataHash.mismatch" in codes


def test_a_certificate_that_may_not_sign_is_refused_before_any_work(tmp_path: Path, own: Path) -> None:
    """An authority's own: C2PA wants a leaf."""
    with pytest.raises(UserError, match=r"ca\.pem cannot sign pictures"):
        Signer.open(own / "ca-key.pem", own / "ca.pem")

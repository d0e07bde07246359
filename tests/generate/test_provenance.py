"""What is asked for besides the recipe is in the file, and a finished picture without it is not taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.generate import Settings, read_recipe, save_portrait
from facefact.generate.jobs import finished, make_portraits
from facefact.generate.provenance import Provenance, marked
from facefact.generate.recipe import versions
from facefact.generate.text_to_image import written
from facefact.generate.watermark import agreement
from facefact.types import Portrait, UserError
from facefact.world import look, person, render

SETTINGS = Settings(prompt="a red coat", width=128, height=128)


def portrait(mode: str = "RGB") -> Portrait:
    image = Image.fromarray(render(person(0), look(0), size=128).image).convert(mode)
    image.info["icc_profile"] = b"a profile"
    said: dict[str, Any] = {"kind": "text-to-image", "versions": versions()}
    return Portrait(image, said | written(SETTINGS))


def test_the_mark_is_in_the_pixels_and_in_the_recipe(tmp_path: Path) -> None:
    clear = portrait("RGBA")
    clear.image.putalpha(Image.linear_gradient("L").resize((128, 128)))
    for made in (portrait(), clear):
        done = marked(made)
        assert agreement(np.asarray(done.image.convert("RGB"))) == 1.0
        assert done.image.mode == made.image.mode
        assert done.image.getbands() != ("R", "G", "B", "A") or np.array_equal(
            np.asarray(done.image)[..., 3], np.asarray(made.image)[..., 3]
        )
        assert done.image.info["icc_profile"] == b"a profile"
        assert done.recipe == made.recipe | {"watermark": "facefact-svd-1"}


def test_a_grey_picture_is_refused() -> None:
    with pytest.raises(UserError, match="a grey picture has no colour that could carry the invisible mark"):
        marked(portrait("L"))


def test_a_finished_picture_without_the_mark_is_not_taken_for_one_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pictures, asked = {path: SETTINGS}, Provenance(watermark=True)
    save_portrait(portrait(), path)
    assert list(finished(pictures, {})) == [path]
    with pytest.raises(UserError, match=r"a\.png is not marked: choose another --out, or --overwrite"):
        finished(pictures, {}, provenance=asked)
    ((_, recipe),) = make_portraits(pictures, lambda wanted: iter([portrait()]), provenance=asked)
    assert recipe == read_recipe(path)
    assert finished(pictures, {}, provenance=asked) == {path: recipe}


def test_a_finished_picture_without_a_signature_is_not_taken_for_a_signed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    from facefact.generate.certificates import make_credentials
    from facefact.generate.signing import Signer

    make_credentials(tmp_path / "keys", name="Ada")
    asked = Provenance(signer=Signer.open(tmp_path / "keys/key.pem", tmp_path / "keys/chain.pem"))
    pictures = {tmp_path / "a.webp": SETTINGS}
    save_portrait(portrait(), tmp_path / "a.webp")
    with pytest.raises(UserError, match=r"a\.webp is not signed"):
        finished(pictures, {}, provenance=asked)
    for _ in make_portraits(pictures, lambda wanted: iter([portrait()]), provenance=asked):
        pass
    assert list(finished(pictures, {}, provenance=asked)) == list(pictures)


def test_licences_that_a_recipe_states_do_not_make_it_another(tmp_path: Path) -> None:
    """They are about the models, of which the hashes are compared; older recipes lack them."""
    save_portrait(portrait(), tmp_path / "a.png")
    assert finished({tmp_path / "a.png": SETTINGS}, {"licences": {"model": "mit"}})

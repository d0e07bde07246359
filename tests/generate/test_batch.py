"""Portraits from a table of jobs: true batches, nothing done twice, and a row's error is its own."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.encoder import save_card
from facefact.faces import Detector, get_detector
from facefact.generate import Settings, Studio, read_recipe, save_portrait
from facefact.generate.batch import INDEX, LocalEngine, Made, Result, make_batch, summary
from facefact.generate.batch_table import BadRow, Row
from facefact.generate.cards import make_card
from facefact.generate.certificates import make_credentials
from facefact.generate.provenance import Provenance
from facefact.generate.signing import Signer, read_signature
from facefact.generate.watermark import METHOD, find_mark
from facefact.types import Face, Portrait, UserError
from facefact.world import look, person, render

ORIGIN = {"model": {"name": "tiny", "sha256": "0" * 64}}
TOO_HEAVY = f"a (coat:{'9' * 60}) of lead"  # its embedding is infinite: this picture fails, and only when it is painted


class Counted:
    """A detector that counts the pictures that it has seen."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.seen = detector, 0

    def detect(self, picture: np.ndarray) -> list[Face]:
        self.seen += 1
        return self.detector.detect(picture)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.png, 1.png, 2.png: three people; nobody.png: none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.fromarray(render(person(number), look(number), size=128).image).save(folder / f"{number}.png")
    Image.new("RGB", (64, 64), "gray").save(folder / "nobody.png")
    return folder


@pytest.fixture
def detector() -> Counted:
    return Counted(get_detector())


@pytest.fixture
def studio(pipe: Any, adapter: Any, detector: Counted) -> Studio:
    return Studio(pipe, adapter, origin=ORIGIN, detector=detector)


@pytest.fixture
def painted(pipe: Any) -> list[int]:
    """The sizes of the batches that went through the U-Net, a number for every step."""
    sizes: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda net, args: sizes.append(args[0].shape[0]))
    return sizes


@pytest.fixture
def job(photos: Path) -> Callable[..., Row]:
    def make(number: int, name: str = "0.png", *, count: int = 1, which: int = 0, **settings: Any) -> Row:
        given = {"prompt": "a coat", "steps": 2} | settings
        return Row(number, f"row-{number}", (photos / name,), Settings(**given), count, which)

    return make


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def index(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / INDEX).read_text(encoding="utf-8").splitlines()]


def test_rows_of_several_people_share_batches_and_each_is_as_made_alone(
    studio: Studio, job: Any, painted: list[int], detector: Counted, tmp_path: Path
) -> None:
    rows = [job(n, f"{n % 3}.png", prompt=f"a coat {n}", seed=n, steps=3 if n == 2 else 2) for n in range(1, 8)]
    result = make_batch(rows, tmp_path, LocalEngine(lambda: studio, batch=3), batch=3)
    assert (result.made, result.kept, result.failed) == (7, 0, [])
    assert painted == [6] * 3 + [6] * 3 + [2] * 4  # (the scheduler makes a step more; each picture twice, for guidance)
    assert detector.seen == 3
    assert [one["file"] for one in index(tmp_path)] == [f"row-{n}-{n}.png" for n in range(1, 8)]
    for row in rows:
        made = studio.find_person(row.faces)
        alone = studio.text_to_image(studio.adapter.encode(made.crops), row.settings, origin=made.origin)
        path = tmp_path / f"{row.id}-{row.settings.seed}.png"
        np.testing.assert_allclose(pixels(path), np.asarray(alone.image).astype(int), atol=1)
        recipe = read_recipe(path)
        assert len(recipe.pop("job")) == 64
        assert recipe == alone.recipe


def test_a_rows_errors_are_its_own(studio: Studio, job: Any, tmp_path: Path) -> None:
    rows = [
        job(1),
        job(2, "nobody.png", count=2),
        job(3, "missing.png"),
        job(4, prompt=TOO_HEAVY),
        job(5, "1.png"),
        job(6, width=30),
        job(7, which=4),
        BadRow(8, "row-8", "steps must be int"),
    ]
    result = make_batch(rows, tmp_path, LocalEngine(lambda: studio, batch=4), batch=4)
    lines = {(one["row"], one["seed"]): one for one in index(tmp_path)}
    assert [key for key, one in lines.items() if one["state"] == "done"] == [(1, 0), (5, 0)]
    errors = {row: one["error"] for (row, _), one in lines.items() if one["state"] == "failed"}
    said = {2: "no face", 3: "cannot read", 4: "no numbers", 6: "30 pixels", 7: "face", 8: "steps must be int"}
    assert errors.keys() == said.keys()
    assert {row: text in errors[row] for row, text in said.items()} == dict.fromkeys(said, True), errors
    assert lines[2, 1]["error"] == lines[2, 0]["error"]
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, "row-1-0.png", "row-5-0.png"}
    assert list(summary(result))[0] == "2 made, 0 there already, 7 failed"
    mended = [*rows[:5], job(6, width=32), *rows[6:7], job(8)]
    again = make_batch(mended, tmp_path, LocalEngine(lambda: studio, batch=4), batch=4)
    assert (again.made, again.kept, len(again.failed)) == (2, 2, 5)  # what failed is tried again


def test_interrupted_work_goes_on_and_ends_as_one_that_was_not(
    studio: Studio, job: Any, painted: list[int], tmp_path: Path
) -> None:
    rows = [job(n, f"{n % 3}.png", count=2, seed=5) for n in range(1, 4)]
    engine = LocalEngine(lambda: studio)

    def interrupt(made: Made, done: int, of: int) -> None:
        assert of == 6
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_batch(rows, tmp_path / "cut", engine, on_picture=interrupt)
    assert sorted(one["state"] for one in index(tmp_path / "cut")) == ["done"] * 2 + ["queued"] * 4
    painted.clear()
    rest = make_batch(rows, tmp_path / "cut", engine)
    assert (rest.made, rest.kept, len(painted)) == (4, 2, 4 * 3)
    make_batch(rows, tmp_path / "whole", engine)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "cut" / path.name).read_bytes()


def test_what_was_changed_is_made_again_and_nothing_else(
    studio: Studio, job: Any, photos: Path, tmp_path: Path
) -> None:
    def made(rows: list[Row], **more: Any) -> tuple[int, int]:
        result: Result = make_batch(rows, tmp_path, LocalEngine(lambda: studio), **more)
        return result.made, result.kept

    rows = [job(1), job(2, "1.png"), job(3, "2.png")]
    assert made(rows) == (3, 0)
    assert made(rows) == (0, 3)
    assert made([job(1, scale=0.5), *rows[1:]]) == (1, 2)
    assert read_recipe(tmp_path / "row-1-0.png")["scale"] == 0.5
    assert made([job(1, "1.png", scale=0.5), *rows[1:]]) == (1, 2)  # another person
    assert made(rows, overwrite=True) == (3, 0)
    studio.origin["model"] = {"name": "tiny", "sha256": "1" * 64}
    assert made(rows[:2]) == (2, 0)  # another model


def test_what_many_rows_cause_is_said_once(studio: Studio, job: Any, tmp_path: Path, caplog: Any) -> None:
    rows = [job(1, "2.png"), job(2, "2.png", which=0, prompt="a hat"), job(3, "2.png", scale=0.2)]
    copy = Path(shutil.copy(rows[0].faces[0], tmp_path / "copy.png"))
    rows.append(replace(job(4), faces=(copy,)))
    make_batch(rows, tmp_path / "out", LocalEngine(lambda: studio))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 1
    assert "seen from the side" in said[0]
    assert logging.getLogger("facefact").propagate


def test_a_file_that_no_table_made_is_not_replaced(studio: Studio, job: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "row-1-0.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(UserError, match="was not made from a table of jobs"):
        make_batch([job(1)], tmp_path, LocalEngine(lambda: studio))
    assert (tmp_path / "row-1-0.png").read_bytes() == (photos / "0.png").read_bytes()
    assert make_batch([job(1)], tmp_path, LocalEngine(lambda: studio), overwrite=True).made == 1
    with pytest.raises(UserError, match="is a file, no folder"):
        make_batch([job(1)], tmp_path / "row-1-0.png", LocalEngine(lambda: studio))


def test_marks_are_put_on_and_what_lacks_one_is_made_again(studio: Studio, job: Any, tmp_path: Path) -> None:
    rows = [job(1, width=256, height=256), job(2)]

    def made(**more: Any) -> tuple[int, int, list[str | None]]:
        result: Result = make_batch(rows, tmp_path, LocalEngine(lambda: studio), **more)
        return result.made, result.kept, [entry.id for entry in result.failed]

    assert made() == (2, 0, [])
    marked = Provenance(watermark=True)
    assert made(provenance=marked) == (1, 0, ["row-2"])  # too small for a mark, which is its own error
    assert "watermark" in read_recipe(tmp_path / "row-1-0.png")
    assert "too small for the invisible mark" in str(index(tmp_path)[1]["error"])
    assert made(provenance=marked)[:2] == (0, 1)


def test_a_card_stands_wherever_a_photo_does(studio: Studio, job: Any, tmp_path: Path) -> None:
    card = tmp_path / "ada.safetensors"
    save_card(make_card(job(1).faces, adapter=studio.adapter, adapter_name="tiny", detector=studio.detector), card)
    rows = [job(1), replace(job(2), faces=(card,))]
    assert make_batch(rows, tmp_path / "out", LocalEngine(lambda: studio, batch=2), batch=2).made == 2
    first, second = (pixels(tmp_path / f"out/row-{n}-0.png") for n in (1, 2))
    np.testing.assert_allclose(first, second, atol=1)


def test_no_model_is_opened_where_every_row_is_bad(tmp_path: Path) -> None:
    def opened() -> Studio:
        raise AssertionError("nothing is to be made")

    result = make_batch([BadRow(1, "a", "no prompt")], tmp_path, LocalEngine(opened))
    assert [entry.error for entry in result.failed] == ["no prompt"]


def test_every_picture_is_marked_and_none_is_kept_that_is_not(
    studio: Studio, job: Any, painted: list[int], tmp_path: Path
) -> None:
    def made(*rows: Row, **more: Any) -> Result:
        return make_batch(rows, tmp_path, LocalEngine(lambda: studio), provenance=Provenance(watermark=True), **more)

    large, small = job(1, width=128, height=128), job(2)
    result = made(large, small)
    assert (result.made, len(painted)) == (1, 3)  # no step was made for what is too small
    assert "64x64 is too small for the invisible mark" in str(result.failed[0].error)
    assert find_mark(pixels(tmp_path / "row-1-0.png").astype(np.uint8)).found
    assert read_recipe(tmp_path / "row-1-0.png")["watermark"] == METHOD
    again = made(large)
    assert (again.made, again.kept) == (0, 1)
    make_batch([large], tmp_path, LocalEngine(lambda: studio), overwrite=True)
    assert made(large).made == 1


def test_every_picture_is_signed_with_the_credentials_of_its_photos(
    studio: Studio, job: Any, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    keys = tmp_path / "keys"
    make_credentials(keys, name="Ada")
    signer = Signer.open(keys / "key.pem", keys / "chain.pem")
    first = make_batch([job(1)], tmp_path / "first", LocalEngine(lambda: studio))
    assert first.made == 1
    signed = tmp_path / "signed.png"
    with Image.open(photos / "1.png") as image:
        save_portrait(Portrait(image.copy(), read_recipe(tmp_path / "first/row-1-0.png")), signed, signer)
    rows = [job(1), replace(job(2), faces=(signed,))]
    result = make_batch(rows, tmp_path / "out", LocalEngine(lambda: studio), provenance=Provenance(signer))
    assert result.made == 2
    trusted = [(keys / "ca.pem").read_bytes()]
    found = [read_signature(tmp_path / "out" / f"row-{n}-0.png", trusted=trusted) for n in (1, 2)]
    assert [(one.state, one.signer, one.inputs) for one in found if one] == [
        ("trusted", "Ada", ()),
        ("trusted", "Ada", ("photo 1",)),
    ]
    again = make_batch(rows, tmp_path / "out", LocalEngine(lambda: studio), provenance=Provenance(signer))
    assert (again.made, again.kept) == (0, 2)

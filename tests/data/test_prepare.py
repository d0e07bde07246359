"""The whole preparation: nothing is lost, and neither the engine, nor workers, nor a kill changes a byte."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml
from PIL import Image

from facefact.data.dataset import IndexRow, PreparedDataset
from facefact.data.local import LocalEngine
from facefact.data.prepare import prepare
from facefact.data.records import Rejection
from facefact.data.tables import columns_of, read_records, read_rows
from facefact.types import UserError
from portraits import KILLER, SETTINGS, contents, deadly_tools, oddities, people

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = people(tmp_path_factory.mktemp("in") / "people")
    oddities(folder / "Odd One")
    (folder / "Person_0" / "copy.png").write_bytes((folder / "Person_0" / "Person_0_0000.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def straight(source, tmp_path_factory):
    """Prepared in this process alone, without an interruption."""
    out = tmp_path_factory.mktemp("straight") / "dataset"
    told = []
    made = prepare(source, out, SETTINGS, engine=LocalEngine(0), progress=lambda *what: told.append(what))
    assert ("look", made.inputs, made.inputs) in told
    return made


def test_every_input_is_a_sample_or_a_rejection(source, straight) -> None:
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    kept = [row["name"] for row in read_rows(straight.folder / "index.parquet")]
    rejected = [one.name for one in read_records(straight.folder / "rejected.parquet", Rejection)]
    assert len(kept) + len(rejected) == straight.inputs == len(files)
    assert len(set(kept) | set(rejected)) == len(files), "each once"
    assert set(kept) | set(rejected) >= {name for name in files if "\n" not in name}
    assert straight.kept == len(kept) == 9
    assert sum(straight.rejected.values()) == len(rejected)


def test_each_oddity_has_its_reason(straight) -> None:
    rejected = read_records(straight.folder / "rejected.parquet", Rejection)
    reasons = {one.name.rpartition("/")[2]: (one.stage, one.reason) for one in rejected}
    assert reasons["noise.png"] == reasons["cmyk.jpg"] == reasons["sixteen.png"] == ("detect", "no face")
    assert reasons["moving.gif"] == ("detect", "no face"), "its first frame was looked at"
    assert reasons["truncated.jpg"] == ("decode", "damaged")
    assert reasons["empty.jpg"] == ("decode", "empty")
    assert reasons["words.png"] == reasons["program.exe"] == ("decode", "not a picture")
    assert reasons["huge.jpg"] == ("decode", "too many pixels")
    same = {name for name, why in reasons.items() if why == ("duplicates", "same file")}
    assert len(same & {"copy.png", "Person_0_0000.png"}) == 1, "one of the two stays"


def test_a_sample_is_what_its_row_says(source, straight) -> None:
    dataset = PreparedDataset.open(straight.folder)
    assert {field.name for field in columns_of(IndexRow)} == set(next(read_rows(straight.folder / "index.parquet")))
    for row in dataset.rows:
        one = dataset.read(row)
        assert one.image.shape == (row.height, row.width, 3)
        assert one.face.shape == one.head.shape == (row.height, row.width)
        assert one.crop.shape == (112, 112, 3)
        assert one.face.mean() == pytest.approx(row.face_share)
        original = np.asarray(Image.open(source / row.name))
        assert np.abs(original.astype(int) - one.image).mean() < 6
        files = dataset.files(row)
        assert files["txt"].decode() == row.caption
        assert json.loads(files["json"])["person"] == row.person == row.name.split("/")[0]
    assert {row.split for row in dataset.rows} == {"train", "validation"}
    of_person = {}
    for row in dataset.rows:
        of_person.setdefault(row.person, set()).add(row.split)
    assert all(len(splits) == 1 for splits in of_person.values()), "a person is in one split"


def test_pictures_leave_their_metadata_behind(straight) -> None:
    dataset = PreparedDataset.open(straight.folder)
    for row in dataset.rows[:2]:
        assert not Image.open(io.BytesIO(dataset.files(row)["jpg"])).getexif()
    said = (straight.folder / "prepare.json").read_text()
    assert str(straight.folder.parent) not in said, "nor does the dataset say where it was made"


def test_workers_change_nothing(source, straight, tmp_path) -> None:
    """(One worker process is what is killed below.)"""
    prepare(source, tmp_path / "dataset", SETTINGS, engine=LocalEngine(2))
    assert contents(tmp_path / "dataset") == contents(straight.folder)


def test_ray_changes_nothing(source, straight, tmp_path) -> None:
    pytest.importorskip("ray", reason="facefact[ray] is not installed")
    from facefact.data.ray_engine import RayEngine

    prepare(source, tmp_path / "dataset", SETTINGS, engine=RayEngine(2))
    assert contents(tmp_path / "dataset") == contents(straight.folder)


def command(source, out, settings) -> list[str]:
    return [
        sys.executable,
        "-m",
        "facefact",
        "prepare",
        str(source),
        "--out",
        str(out),
        "--workers",
        "1",
        "--config",
        str(settings),
    ]


def test_killed_at_any_moment_the_same_command_goes_on(source, straight, tmp_path) -> None:
    settings, out = tmp_path / "settings.yaml", tmp_path / "dataset"
    settings.write_text(yaml.safe_dump(asdict(SETTINGS)))
    finished = lambda: len([*out.glob(".work/chunks/[!.]*")])  # noqa: E731
    running = subprocess.Popen(
        command(source, out, settings), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while finished() < 2 and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (out / "index.parquet").exists()
    assert finished() >= 2
    subprocess.run(command(source, out, settings), check=True, capture_output=True)
    assert contents(out) == contents(straight.folder)


def test_what_is_finished_is_not_done_again(source, straight) -> None:
    def never(settings):
        raise AssertionError("no worker is needed")

    before = {path: path.stat().st_mtime_ns for path in straight.folder.rglob("*")}
    again = prepare(source, straight.folder, SETTINGS, engine=LocalEngine(0, open_with=never))
    assert again == replace(straight, again=True)
    assert {path: path.stat().st_mtime_ns for path in straight.folder.rglob("*") if path in before} == before
    with pytest.raises(UserError, match="other pictures or with other settings"):
        prepare(source, straight.folder, replace(SETTINGS, licence="CC0"), engine=LocalEngine(0))


def test_killed_before_the_report_it_is_written_the_next_time(source, straight, tmp_path) -> None:
    out = tmp_path / "dataset"
    shutil.copytree(straight.folder, out)
    (out / "report.html").unlink()
    (out / "dataset_card.md").unlink()
    (out / ".work" / "chunks").mkdir(parents=True)
    prepare(source, out, SETTINGS, engine=LocalEngine(0))
    assert contents(out) == contents(straight.folder)


def test_a_picture_that_kills_a_worker_is_rejected_alone(tmp_path) -> None:
    source = people(tmp_path / "in", count=2, looks=2)
    picture = Image.open(source / "Person_1" / "Person_1_0000.png")
    picture.putpixel((0, 0), KILLER)
    picture.save(source / "Person_1" / "Person_1_0000.png")
    made = prepare(
        source, tmp_path / "out", SETTINGS, engine=LocalEngine(2, open_with=deadly_tools), open_with=deadly_tools
    )
    assert made.rejected == {("decode", "crash"): 1}
    assert made.kept == 3


def test_where_nothing_is_fit_the_report_says_why(tmp_path) -> None:
    oddities(tmp_path / "in" / "odd")
    with pytest.raises(UserError, match="report.html says why"):
        prepare(tmp_path / "in", tmp_path / "out", SETTINGS, engine=LocalEngine(0))
    assert "not a picture" in (tmp_path / "out" / "report.html").read_text()


def test_folders_that_would_be_lost_are_refused(source, tmp_path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds other things \(thesis.tex\)"):
        prepare(source, tmp_path, SETTINGS)
    with pytest.raises(UserError, match="its own input"):
        prepare(source, source / "out", SETTINGS)
    with pytest.raises(UserError, match="is a file"):
        prepare(source, tmp_path / "thesis.tex", SETTINGS)


def as_tar(source, path) -> None:
    with tarfile.open(path, "w") as tar:
        for file in sorted(source.rglob("*.png")):
            words = json.dumps({"person": file.parent.name, "caption": "a portrait", "license": "CC0-1.0"}).encode()
            for suffix, data in {"png": file.read_bytes(), "json": words}.items():
                member = tarfile.TarInfo(f"{file.stem}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def as_parquet(source, path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    files = sorted(source.rglob("*.png"))
    pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    people_of = [file.parent.name for file in files]
    pa.parquet.write_table(pa.table({"image": pictures, "person": people_of}), path, row_group_size=2)


@pytest.mark.parametrize("write", [as_tar, as_parquet])
def test_however_pictures_lie_they_become_the_same_samples(tmp_path, write) -> None:
    source = people(tmp_path / "people", count=2, looks=2)
    write(source, tmp_path / f"pictures.{'tar' if write is as_tar else 'parquet'}")
    packed = next(path for path in tmp_path.iterdir() if path.is_file())
    of = {}
    for name, given in {"folder": source, "packed": packed}.items():
        prepare(given, tmp_path / name, SETTINGS, engine=LocalEngine(0))
        of[name] = PreparedDataset.open(tmp_path / name)
    known = lambda dataset: sorted((row.sha256, row.person, row.box) for row in dataset.rows)  # noqa: E731
    assert known(of["folder"]) == known(of["packed"])
    if write is as_tar:
        assert {(row.caption, row.caption_by, row.licence) for row in of["packed"].rows} == {
            ("a portrait", "input", "CC0-1.0")
        }


def test_a_dataset_can_be_prepared_again_from_its_own_shards(straight, tmp_path) -> None:
    """The shards are WebDataset tars with people and captions: another preparation (other limits) reads them."""
    made = prepare(straight.folder / "shards", tmp_path / "again", SETTINGS, engine=LocalEngine(0))
    before = {(row.person, row.caption) for row in PreparedDataset.open(straight.folder).rows}
    assert {(row.person, row.caption) for row in PreparedDataset.open(made.folder).rows} == before


def test_unlabelled_pictures_become_people(tmp_path) -> None:
    """In a flat folder people are found by their faces: with the bundle's encoder, which knows avatars."""
    source = people(tmp_path / "people", count=4, looks=3)
    flat = tmp_path / "flat"
    flat.mkdir()
    truth = {}
    for number, file in enumerate(sorted(source.rglob("*.png"), key=lambda file: file.name[::-1])):
        (flat / f"{number:03d}.png").write_bytes(file.read_bytes())
        truth[f"{number:03d}.png"] = file.parent.name
    settings = replace(SETTINGS, people=replace(SETTINGS.people, recogniser="auto"))
    prepare(flat, tmp_path / "out", settings, engine=LocalEngine(0))
    found = {row.name: row.person for row in PreparedDataset.open(tmp_path / "out").rows}
    assert len(found) == 12
    for one in found:
        for other in found:
            assert (found[one] == found[other]) == (truth[one] == truth[other])

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facefact import FaceAdapter
from facefact.apps import cli
from facefact.generate import Settings, Studio, describe
from facefact.generate.published import FACT, PUBLICATIONS, fetch, fetch_file, plan
from facefact.types import UserError
from golden.published import as_published
from modelscope import Site, serving
from tiny import tiny_adapter, tiny_pipeline

NAME = "facechain-fact"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The published repositories: the published names of files and tensors, at tiny sizes."""
    published, pipe = PUBLICATIONS[NAME], tiny_pipeline()
    adapter = tiny_adapter(pipe)
    fact, base = tmp_path / "site" / "fact", tmp_path / "site" / "base"
    fact.mkdir(parents=True)
    torch.save(as_published(adapter), fact / published.adapter)
    torch.save(adapter.encoder.state_dict(), fact / published.encoder)
    (fact / "adapter_film.ckpt").write_bytes(b"another")
    pipe.save_pretrained(base / published.base.folder)
    (base / "other.safetensors").write_bytes(b"another")
    configs = {"encoder_config": adapter.encoder.config, "resampler_config": adapter.resampler.config}
    monkeypatch.setattr(FaceAdapter, "from_facechain", functools.partial(FaceAdapter.from_facechain, **configs))
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    with serving(Site({FACT.name: fact, published.base.name: base})) as site:
        monkeypatch.setenv("FACEFACT_MODELSCOPE", site.url)
        yield site


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_one_command_and_the_model_opens(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "pull", NAME, "--yes"]) == 0
    said = capsys.readouterr().out
    assert "FaceChain-FACT v1.0.0  adapter_maj_mask_large_new_reg001" in said
    assert "MAILAND/majicmixRealistic_v6: odd terms" in said
    home = tmp_path / "home"
    assert [path.name for path in home.iterdir()] == [NAME]
    assert describe(home / NAME).kind == "pipeline"
    assert describe(home / NAME).licence == "odd terms"
    studio = Studio.open(model=NAME, device="cpu", offline=True)
    wanted = tiny_adapter(tiny_pipeline())
    assert studio.adapter.content_hash() == wanted.content_hash()
    tokens = studio.adapter.tokens(torch.zeros(1, 3, 112, 112))
    assert np.asarray(studio.text_to_image(tokens, Settings(prompt="x", steps=1)).image).std() > 0
    assert cli.main(["models", "pull", NAME]) == 2
    assert "is already in" in capsys.readouterr().err


def test_nothing_else_is_fetched_and_all_of_it_is_recorded(site: Site) -> None:
    folder = fetch(plan(NAME, site=site.url), site=site.url)
    record = json.loads((folder / "sources.json").read_text())
    assert record["licences"] == {FACT.name: "odd terms", PUBLICATIONS[NAME].base.name: "odd terms"}
    assert {path for path, _ in site.asked} == {one["path"] for one in record["files"]}
    assert not [one for one in record["files"] if "another" in one["path"] or "film" in one["path"]]
    unet = next(one for one in record["files"] if one["path"].endswith("unet/diffusion_pytorch_model.safetensors"))
    assert unet["sha256"] == sha(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert unet["revision"] == "v1.0.0"


def test_nothing_is_fetched_unasked(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli.main(["models", "pull", NAME]) == 2
    streams = capsys.readouterr()
    assert "MB  from http://127.0.0.1" in streams.out
    assert "say --yes" in streams.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert cli.main(["models", "pull", NAME]) == 0
    assert not site.asked
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_fetch_goes_on_where_it_was(site: Site, ranges: bool, tmp_path: Path) -> None:
    planned = plan(NAME, site=site.url)
    source = next(one for one in planned.sources if one.path.endswith("unet/diffusion_pytorch_model.safetensors"))
    site.cut, site.ranges = 10_000, ranges
    with pytest.raises(UserError, match=r"came only in part .*: the same command goes on"):
        fetch_file(source, tmp_path / "unet", site=site.url)
    assert (tmp_path / "unet.part").stat().st_size == 10_000
    site.cut, steps = None, []
    digest = fetch_file(source, tmp_path / "unet", site=site.url, progress=lambda *step: steps.append(step))
    assert digest == sha(tmp_path / "unet") == source.sha256
    assert site.asked[1] == (source.path, 10_000 if ranges else 0)
    assert steps[-1] == (source.path, source.size, source.size)
    assert not (tmp_path / "unet.part").exists()
    fetch_file(source, tmp_path / "unet", site=site.url)
    assert len(site.asked) == 2, "what is whole is not fetched again"


def test_an_interrupted_pull_keeps_what_is_whole(site: Site, tmp_path: Path) -> None:
    planned = plan(NAME, site=site.url)
    site.spoilt = {planned.sources[-1].path}
    with pytest.raises(UserError, match="is not what the site's list says"):
        fetch(planned, site=site.url)
    assert not (tmp_path / "home" / NAME).exists()
    site.asked, site.spoilt = [], set()
    assert fetch(planned, site=site.url).is_dir()
    assert [path for path, _ in site.asked] == [planned.sources[-1].path]


def test_a_site_that_does_not_answer_or_has_changed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="gave no answer: .*refused"):
        plan(NAME, site="http://127.0.0.1:9")
    with pytest.raises(UserError, match="gave no answer: HTTP 404"):
        plan(NAME, site=f"{site.url}/elsewhere")
    (site.repositories[FACT.name] / PUBLICATIONS[NAME].encoder).unlink()
    with pytest.raises(UserError, match="has no ms1mv2_model_TransFace_S.pt .* any more"):
        plan(NAME, site=site.url)
    assert cli.main(["models", "pull", NAME, "--yes"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_paths_that_lead_out_of_the_folder_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: list[dict[str, Any]] = [{"Type": "blob", "Path": "../x", "Size": 1}]
    monkeypatch.setattr(site, "files", lambda name: odd)
    with pytest.raises(UserError, match="something else than the list of files"):
        plan(NAME, site=site.url)

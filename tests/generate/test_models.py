from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facefact.generate import describe, list_models, load_base, locate, models_dir, native_size
from facefact.generate.models import wanted
from facefact.types import UserError
from tiny import as_published


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_saved_pipeline_gives_the_same_picture(pipe: Any, tmp_path: Path) -> None:
    def picture(which: Any) -> np.ndarray:
        return which("x", num_inference_steps=1, output_type="np", generator=torch.Generator().manual_seed(0)).images

    pipe.save_pretrained(tmp_path / "base")
    np.testing.assert_array_equal(picture(load_base(tmp_path / "base")), picture(pipe))
    half = load_base(tmp_path / "base", dtype=torch.bfloat16)
    assert half.unet.dtype == half.vae.dtype == torch.bfloat16
    assert native_size(half) == 64


def test_a_directory_laid_out_as_the_published_ones(pipe: Any, tmp_path: Path) -> None:
    """Slow-tokenizer files, a safety checker, and a feature extractor under the name of the torchvision class."""
    base = tmp_path / "base"
    pipe.save_pretrained(base)
    as_published(base, tokenizer=pipe.tokenizer)
    opened = load_base(base)
    assert opened.tokenizer("a Coat")["input_ids"] == pipe.tokenizer("a Coat")["input_ids"]
    result = opened("x", num_inference_steps=1)
    assert result.nsfw_content_detected is not None


def test_what_is_no_pipeline_is_refused(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model_index\.json"):
        load_base(tmp_path)
    pipe.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "unet" / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot open the pipeline"):
        load_base(tmp_path / "base")


def test_where_models_are_looked_for(home: Path, tmp_path: Path) -> None:
    assert models_dir() == home
    assert locate(str(tmp_path)) == tmp_path
    (home / "someone--model").mkdir(parents=True)
    assert locate("someone/model", offline=True) == home / "someone--model"
    with pytest.raises(UserError, match="--offline forbids"):
        locate("someone/other", offline=True)
    for name in ("", "/no/such/directory", "plain"):
        with pytest.raises(UserError, match="no model"):
            locate(name)


def test_a_pull_without_network_is_the_users_error(home: Path) -> None:
    with pytest.raises(UserError, match="cannot pull someone/model from the hub"):
        locate("someone/model")
    assert not home.exists() or not any(home.iterdir())


def test_the_list(pipe: Any, home: Path) -> None:
    assert list(list_models()) == []
    pipe.save_pretrained(home / "someone--model")
    (home / "someone--model" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (home / "mine").mkdir()
    (home / "mine" / "config.json").write_text("{}")
    (home / "half.partial").mkdir()
    mine, model = list_models()
    assert (mine.name, mine.kind, mine.size, mine.licence) == ("mine", "adapter", 2, "")
    assert (model.name, model.kind, model.licence) == ("someone/model", "pipeline", "apache-2.0")
    assert model.size > 100_000
    assert describe(home / "someone--model", name="demo").name == "demo"


def test_what_is_fetched_of_a_pipeline() -> None:
    folder = [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/config.json",
        "text_encoder/pytorch_model.bin",
        "text_encoder/model-00001-of-00002.bin",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
    ]
    beside = ["README.md", "LICENSE", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt", "run.py"]
    left_out = {
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "v1-5-pruned.safetensors",
        "v1-5-pruned.ckpt",
        "run.py",
    }
    assert wanted(folder + beside) == sorted({*folder, *beside} - left_out)


def test_where_there_are_variants_alone_one_of_them_is_fetched() -> None:
    of_unet = "unet/diffusion_pytorch_model"
    parts = [f"{of_unet}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = [f"{of_unet}.safetensors.index.fp16.json", "model_index.json"]
    others = [
        f"{of_unet}.fp16.bin",
        f"{of_unet}.bf16.safetensors",
        f"{of_unet}.non_ema.safetensors",
        "a.fp16.safetensors",
    ]
    assert wanted([*parts, *index, *others]) == sorted([*parts, *index])
    assert wanted([*index, *others[1:]]) == sorted([*index, others[1]])
    plain = ["vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.safetensors"]
    assert wanted(plain) == plain[:1]


def test_a_pipeline_of_fp16_files_opens(pipe: Any, tmp_path: Path) -> None:
    """All of it, and where one component has plain files."""
    pipe.save_pretrained(tmp_path / "base", variant="fp16")
    for component in ("unet", "text_encoder"):
        opened = load_base(tmp_path / "base")
        for name, value in pipe.unet.state_dict().items():
            torch.testing.assert_close(opened.unet.state_dict()[name], value)
        getattr(pipe, component).save_pretrained(tmp_path / "base" / component)
        for file in (tmp_path / "base" / component).glob("*.fp16.*"):
            file.unlink()
    assert load_base(tmp_path / "base").text_encoder is not None


def test_weights_that_are_cut_off_wrong_or_pickles_are_one_line(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "base")
    for component in ("unet", "text_encoder"):
        (file,) = (tmp_path / "base" / component).glob("*.safetensors")
        whole = file.read_bytes()
        for broken in (whole[:-100], whole[:4], b"not found" * 20, b""):
            file.write_bytes(broken)
            with pytest.raises(UserError, match="cannot open the pipeline") as raised:
                load_base(tmp_path / "base")
            assert "\n" not in str(raised.value)
        file.unlink()
        pickled = file.with_name("diffusion_pytorch_model.bin" if component == "unet" else "pytorch_model.bin")
        torch.save({"a": Path("/")}, pickled)
        with pytest.raises(UserError, match="cannot open the pipeline"):
            load_base(tmp_path / "base")
        with zipfile.ZipFile(pickled, "w", zipfile.ZIP_DEFLATED) as bomb:
            bomb.writestr("archive/data/0", bytes(10_000_000))
        with pytest.raises(UserError, match="would inflate"):
            load_base(tmp_path / "base")
        pickled.unlink()
        file.write_bytes(whole)


def test_what_is_fetched_of_an_adapter() -> None:
    assert wanted(["config.json", "model.safetensors", "x.png"]) == ["config.json", "model.safetensors"]

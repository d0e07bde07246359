from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facefact.generate.borrowed import borrowed_parts, named_lora, named_loras
from facefact.generate.parts import Lora, add_loras
from facefact.types import UserError

pytest.importorskip("peft", reason="needs peft (extra `lora`)")


def picture(pipe: Any) -> np.ndarray:
    return pipe("a red x", num_inference_steps=3, output_type="np", generator=torch.manual_seed(0)).images


def write_lora(pipe: Any, file: Path, *, out: int = 0) -> Path:
    """Of the tiny U-Net's cross-attention. out: another width than the model's."""
    generator, state = torch.Generator().manual_seed(5), {}
    for name, layer in pipe.unet.named_modules():
        if name.endswith("attn2.to_v"):
            rows, wide = layer.weight.shape
            state[f"unet.{name}.lora_A.weight"] = torch.randn(2, wide, generator=generator)
            state[f"unet.{name}.lora_B.weight"] = torch.randn(out or rows, 2, generator=generator)
    save_file(state, file)
    return file


def test_what_is_borrowed_counts_inside_and_is_gone_after(pipe: Any, tmp_path: Path) -> None:
    lora, stock = Lora(write_lora(pipe, tmp_path / "a.safetensors"), 0.5), picture(pipe)
    origin = {"model": {"name": "tiny"}, "licences": {"model": "MIT"}}
    with borrowed_parts(pipe, origin, scheduler="EulerDiscrete", loras=[lora]) as said:
        assert np.abs(picture(pipe) - stock).max() > 0.01
    assert said["scheduler"] == "EulerDiscreteScheduler"
    assert [(one["name"], one["weight"]) for one in said["model"]["loras"]] == [("a.safetensors", 0.5)]
    assert said["licences"] == {"model": "MIT", "lora a.safetensors": "unknown"}
    assert origin == {"model": {"name": "tiny"}, "licences": {"model": "MIT"}}
    np.testing.assert_array_equal(picture(pipe), stock)


def test_a_lora_of_other_sizes_is_refused_and_leaves_nothing(pipe: Any, tmp_path: Path) -> None:
    stock = picture(pipe)
    wrong = Lora(write_lora(pipe, tmp_path / "wrong.safetensors", out=7))
    message = r"does not fit .* \[7, 2\] in it.*; take one that was made for this model"
    with pytest.raises(UserError, match=message), borrowed_parts(pipe, {}, scheduler="DDIM", loras=[wrong]):
        pass
    np.testing.assert_array_equal(picture(pipe), stock)


def test_the_models_own_loras_stay(pipe: Any, tmp_path: Path) -> None:
    own = Lora(write_lora(pipe, tmp_path / "own.safetensors"), 0.3)
    said = add_loras(pipe, [own])
    before = picture(pipe)
    with borrowed_parts(pipe, {"model": {"loras": said}}, loras=[own], own=[own]) as origin:
        assert np.abs(picture(pipe) - before).max() > 0.01
        assert len(origin["model"]["loras"]) == 2
    np.testing.assert_allclose(picture(pipe), before, atol=1e-5)


def test_a_licence_that_is_not_known_is_refused_where_that_matters(pipe: Any, tmp_path: Path) -> None:
    lora = Lora(write_lora(pipe, tmp_path / "a.safetensors"))
    message = r"a\.safetensors.*not known to allow commercial use"
    with pytest.raises(UserError, match=message), borrowed_parts(pipe, {}, loras=[lora], strict_licences=True):
        pass


def test_loras_by_name(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path))
    (tmp_path / "styles").mkdir()
    write_lora(pipe, tmp_path / "one.safetensors")
    write_lora(pipe, tmp_path / "styles" / "two.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    assert list(named_loras()) == ["one.safetensors", "two.safetensors"]
    assert named_lora("two.safetensors") == tmp_path / "styles" / "two.safetensors"
    with pytest.raises(UserError, match=r"no LoRA x\.safetensors here \(one\.safetensors, two\.safetensors\): put"):
        named_lora("x.safetensors")

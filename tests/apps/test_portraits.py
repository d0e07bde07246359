"""`facefact generate`, `inpaint` and `models` from the command line, on a tiny model in a directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from facefact import FaceAdapter
from facefact.apps import cli
from facefact.faces import face_from_landmarks
from facefact.generate import read_recipe
from inpainting import POINTS, FixedDetector
from tiny import save_tiny_model, tiny_adapter, tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with an adapter inside, laid out as the bundle is."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> FixedDetector:
    large, small = (face_from_landmarks(POINTS * scale + where) for scale, where in [(1.0, 20), (0.5, 150)])
    detector = FixedDetector(large, small)
    monkeypatch.setattr("facefact.faces.get_detector", lambda *args, **kwargs: detector)
    return detector


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 260, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def call(model: Path, photo: Path, tmp_path: Path) -> list[str]:
    return [
        "--face",
        str(photo),
        "--prompt",
        "a red coat",
        "--model",
        str(model),
        "--steps",
        "2",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_generate_says_what_it_made(
    call: list[str], photo: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["-n", "2", "--seed", "7", "--scale", "0.5", "--negative-prompt", "snow", "--json", "--offline"]
    assert cli.main(["generate", *call, *more]) == 0
    streams = capsys.readouterr()
    made = json.loads(streams.out)["portraits"]
    files = [tmp_path / "out" / f"portrait-{seed}.png" for seed in (7, 8)]
    assert [one["file"] for one in made] == [str(file) for file in files]
    assert [one["recipe"] for one in made] == [read_recipe(file) for file in files]
    assert "portrait-8.png" in streams.err  # the progress
    recipe = made[0]["recipe"]
    settings = {"prompt": "a red coat", "negative_prompt": "snow", "seed": 7, "scale": 0.5, "steps": 2}
    assert settings.items() <= recipe.items()
    assert recipe["model"]["name"] == "tiny"
    assert len(recipe["adapter"]["sha256"]) == len(recipe["faces"][0]) == 64
    assert str(photo.parent) not in json.dumps(recipe)  # no paths of this machine


def test_a_picture_does_not_depend_on_its_neighbours(call: list[str], tmp_path: Path) -> None:
    assert cli.main(["generate", *call, "-n", "3", "--seed", "5"]) == 0
    three = [pixels(tmp_path / "out" / f"portrait-{seed}.png") for seed in (5, 6, 7)]
    assert cli.main(["generate", *call, "--seed", "6", "--overwrite"]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "portrait-6.png"), three[1])
    assert (three[0] != three[1]).any()


def test_in_batches_with_several_prompts_the_pictures_are_those_made_alone(
    call: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = [*call[:2], *call[4:], "--prompt"]
    for folder, prompt in (("coat", "a red coat"), ("hat", "a hat")):
        assert cli.main(["generate", *alone, prompt, "-n", "2", "--out", str(tmp_path / folder)]) == 0
    capsys.readouterr()
    assert cli.main(["generate", *call, "--prompt", "a hat", "-n", "2", "--batch", "3", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["portraits"]
    names = ["portrait-1-0.png", "portrait-1-1.png", "portrait-2-0.png", "portrait-2-1.png"]
    assert [Path(one["file"]).name for one in made] == names
    assert [(one["recipe"]["prompt"], one["recipe"]["seed"]) for one in made] == [
        ("a red coat", 0),
        ("a red coat", 1),
        ("a hat", 0),
        ("a hat", 1),
    ]
    for name, folder, seed in zip(names, ("coat", "coat", "hat", "hat"), (0, 1, 0, 1), strict=True):
        single, batched = (pixels(tmp_path / where) for where in (f"{folder}/portrait-{seed}.png", f"out/{name}"))
        np.testing.assert_allclose(batched.astype(int), single, atol=1)  # rounding
    again = [*call[:2], "--model", str(model), "--device", "cpu", "--out", str(tmp_path / "again")]
    assert cli.main(["generate", *again, "--recipe", str(tmp_path / "out" / names[3])]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again/portrait-1.png"), pixels(tmp_path / "hat/portrait-1.png"))


def test_interrupted_work_keeps_what_is_finished_and_goes_on(
    call: list[str], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from facefact.generate import save_portrait

    def save_two(portrait: Any, path: Path, *more: Any, **options: Any) -> None:
        if path.name == "portrait-2.png":
            raise KeyboardInterrupt
        save_portrait(portrait, path, *more, **options)

    many, out = ["generate", *call, "-n", "4"], tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("facefact.generate.provenance.save_portrait", save_two)
        assert cli.main(many) == 130
    assert sorted(path.name for path in out.iterdir()) == ["portrait-0.png", "portrait-1.png"]
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    assert cli.main([*many, "--resume", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["portraits"]
    assert [one["recipe"] for one in made] == [read_recipe(out / f"portrait-{seed}.png") for seed in range(4)]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert cli.main([*many, "--resume", "--scale", "0.1"]) == 2
    assert "portrait-0.png has another `scale`" in capsys.readouterr().err
    Image.fromarray(pixels(photo)[::-1]).save(photo)
    assert cli.main([*many, "--resume"]) == 2
    assert "portrait-0.png has another `faces`" in capsys.readouterr().err


def test_stock_kernels_make_the_same_picture_but_for_rounding(call: list[str], tmp_path: Path) -> None:
    made = tmp_path / "out" / "portrait-0.png"
    assert cli.main(["generate", *call]) == 0
    fast = pixels(made).astype(int)
    assert cli.main(["generate", *call, "--stock-kernels", "--overwrite"]) == 0
    assert np.abs(pixels(made) - fast).max() <= 1


def test_turbo_settings_reach_the_recipe(call: list[str], tmp_path: Path) -> None:
    more = ["--steps", "1", "--guidance-scale", "0", "--start", "0.1", "--end", "0.9", "--local", "--no-face-guidance"]
    assert cli.main(["generate", *call, *more]) == 0
    recipe = read_recipe(tmp_path / "out" / "portrait-0.png")
    asked = {"steps": 1, "guidance_scale": 0.0, "start": 0.1, "end": 0.9, "local": True, "face_guidance": False}
    assert asked.items() <= recipe.items()


def test_nothing_is_overwritten_silently(call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "portrait-1.png").write_text("precious")
    assert cli.main(["generate", *call, "-n", "2"]) == 2
    assert "portrait-1.png is already there" in capsys.readouterr().err
    assert not (tmp_path / "out" / "portrait-0.png").exists()
    assert (tmp_path / "out" / "portrait-1.png").read_text() == "precious"


def test_a_recipe_makes_the_picture_again(
    call: list[str], photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = tmp_path / "out" / "portrait-4.png"
    assert cli.main(["generate", *call, "--seed", "4", "--size", "72", "--guidance-scale", "3"]) == 0
    again = [*call[:2], "--model", call[5], "--out", str(tmp_path / "again"), "--recipe", str(made)]
    assert cli.main(["generate", *again]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again" / "portrait-4.png"), pixels(made))
    assert "not what the recipe says" not in caplog.text
    Image.fromarray(pixels(photo)[::-1]).save(photo)
    assert cli.main(["generate", *again, "--overwrite"]) == 0
    assert "faces is not what the recipe says" in caplog.text


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_other_formats_are_resumed_and_made_again(
    form: str, call: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = tmp_path / "out" / ("portrait-4.jpg" if form == "jpeg" else "portrait-4.webp")
    more = ["--seed", "4", "--format", form]
    assert cli.main(["generate", *call, *more]) == 0
    written = made.stat().st_mtime_ns
    assert cli.main(["generate", *call, *more, "--resume"]) == 0
    assert made.stat().st_mtime_ns == written
    again = [*call[:2], "--model", call[5], "--out", str(tmp_path / "again"), "--recipe", str(made), "--format", form]
    assert cli.main(["generate", *again]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again" / made.name), pixels(made))
    assert "warning" not in caplog.text
    with Image.open(made) as image:  # as programs that do not know XMP write it
        image.save(made, exif=image.info["exif"], xmp=b"")
    assert cli.main(["generate", *again, "--overwrite"]) == 0
    assert "of which face the picture was, it does not say" in caplog.text


def test_several_photos_of_one_person_and_another_face(call: list[str], photo: Path, tmp_path: Path) -> None:
    assert cli.main(["generate", *call, "--face", str(photo), "--which", "1"]) == 0
    recipe = read_recipe(tmp_path / "out" / "portrait-0.png")
    assert len(recipe["faces"]) == 2
    assert recipe["which"] == 1


def test_inpaint_replaces_one_face(call: list[str], photo: Path, tmp_path: Path, detector: FixedDetector) -> None:
    assert cli.main(["inpaint", *call, "--template", str(photo), "--which", "1", "--strength", "1"]) == 0
    made, template = tmp_path / "out" / "portrait-0.png", pixels(photo)
    changed = (pixels(made) != template).any(axis=2)
    x0, y0, x1, y1 = detector.faces[1].box
    rows, columns = np.nonzero(changed)
    assert changed[round((y0 + y1) / 2), round((x0 + x1) / 2)]
    assert x0 - 20 < columns.min() < columns.max() < x1 + 20
    assert y0 - 25 < rows.min() < rows.max() < y1 + 20
    assert list(read_recipe(made)["put"]) == ["1"]


def test_inpaint_puts_several_people_into_a_folder_of_templates(
    call: list[str],
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "templates"
    (folder / "more").mkdir(parents=True)
    for name in ("one.png", "more/two.png"):
        Image.fromarray(255 - pixels(photo)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    put = ["--put", f"0={photo}", "--put", f"1={photo}", "--put", f"1={photo}"]
    wanted = ["inpaint", *call[2:], *put, "--template", str(folder), "--json"]
    assert cli.main(wanted) == 0
    assert "left out" in caplog.text
    assert "broken.png" in caplog.text
    made = json.loads(capsys.readouterr().out)["portraits"]
    assert sorted(Path(one["file"]).name for one in made) == ["more-two-0.png", "one-0.png"]
    assert [len(person["faces"]) for person in made[0]["recipe"]["put"].values()] == [1, 2]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "one-0.png").unlink()
    assert cli.main([*wanted, "--resume"]) == 0
    assert before[tmp_path / "out" / "more-two-0.png"] == (tmp_path / "out" / "more-two-0.png").stat().st_mtime_ns
    assert (tmp_path / "out" / "one-0.png").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "say who is to be seen"),
        (["--put", "me.png"], "write N=PICTURE"),
        (["--put", "7=PHOTO"], "there is no face 7"),
        (["--put", "0=PHOTO", "--control", "pose"], "needs a ControlNet"),
        (["--put", "0=PHOTO", "--control-model", "x"], "say what the ControlNet reads"),
        (["--put", "0=PHOTO", "--control-image", "PHOTO"], "nothing reads the control image"),
        (["--put", "0=PHOTO", "--control", "depth", "--control-model", "x"], "--control-image"),
        (["--put", "0=PHOTO", "--control", "pose", "--control-model", "/nowhere"], "no ControlNet in /nowhere"),
        (["--put", "0=PHOTO", "--mask", "/no/such.png"], "there is no such file"),
    ],
)
def test_a_mistake_of_inpaint_is_one_line(
    call: list[str], photo: Path, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("PHOTO", str(photo)) for word in change]
    assert cli.main(["inpaint", *call[2:], "--template", str(photo), *given]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_inpaint_with_a_mask_and_the_persons_shape(
    call: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros(pixels(photo).shape, np.uint8)
    mask[40:120, 40:120] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    more = ["--mask", str(tmp_path / "mask.png"), "--keep-skin"]
    assert cli.main(["inpaint", *call, "--template", str(photo), *more]) == 0
    changed = (pixels(tmp_path / "out" / "portrait-0.png") != pixels(photo)).any(axis=2)
    assert changed[60:100, 60:100].mean() > 0.5
    assert not changed[160:].any()
    assert cli.main(["inpaint", *call, "--template", str(photo), *more, "--resume"]) == 0
    Image.fromarray(255 - mask).save(tmp_path / "mask.png")
    assert cli.main(["inpaint", *call, "--template", str(photo), *more, "--resume"]) == 2, "another mask"
    Image.fromarray(mask[:-1]).save(tmp_path / "mask.png")
    assert cli.main(["inpaint", *call, "--template", str(photo), *more, "--overwrite"]) == 2
    assert "they must have the same size" in capsys.readouterr().err
    assert cli.main(["inpaint", *call, "--template", str(photo), "--shape", "person", "--overwrite"]) == 0
    assert read_recipe(tmp_path / "out" / "portrait-0.png")["shape"] == "person"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--which", "5"], "there is no face 5"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--size", "65"], "take a multiple of 8"),
        (["--steps", "0"], "0 steps make no picture"),
        (["--start", "0.9", "--end", "0.5"], "0 <= start <= end <= 1"),
        (["--guidance-scale", "-1"], "the guidance scale -1.0 is negative"),
        (["--device", "gpu"], "unknown device"),
        (["--face", "/no/such.png"], "/no/such.png: there is no such file"),
        (["--recipe", "/no/such.png"], "cannot read a recipe"),
    ],
)
def test_a_mistake_is_one_line(
    call: list[str], change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", *call, *change]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("facefact: error: ")
    assert message in last


def test_a_model_without_an_adapter_asks_for_one(
    call: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "bare")
    assert cli.main(["generate", *call, "--model", str(tmp_path / "bare")]) == 2
    assert "name one with --adapter" in capsys.readouterr().err
    more = ["--model", str(tmp_path / "bare"), "--adapter", str(model / "adapter")]
    assert cli.main(["generate", *call, *more]) == 0


def test_the_demo_model_has_its_settings_and_draws_an_avatar_from_a_photo(
    call: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("facefact.demo.bundle_path", lambda: model)
    assert cli.main(["generate", *call, "--model", "demo"]) == 0
    assert "one was drawn from the photo" in caplog.text
    assert "have no word for: coat" in caplog.text
    recipe = read_recipe(tmp_path / "out" / "portrait-0.png")
    assert (recipe["model"]["name"], recipe["scale"], recipe["guidance_scale"]) == ("demo", 1.1, 2.5)
    assert recipe["face_guidance"] is False


def test_models_list(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("facefact.demo.bundle_path", lambda: model)
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path))
    tiny_adapter(tiny_pipeline()).save_pretrained(tmp_path / "mine")
    assert cli.main(["models", "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["demo", "pipeline"]
    assert second.split()[:2] == ["mine", "adapter"]
    assert cli.main(["models", "list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["demo", "mine"]


def test_models_import_makes_a_directory_that_generate_takes(
    call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reading of the published files has tests of its own; here it is replaced."""
    given = {name: tmp_path / name for name in ("x.ckpt", "y.pt")}
    for path in given.values():
        path.touch()

    def read(*, adapter: Path, encoder: Path) -> FaceAdapter:
        assert [adapter, encoder] == list(given.values())
        return tiny_adapter(tiny_pipeline())

    monkeypatch.setattr(FaceAdapter, "from_facechain", read)
    convert = ["models", "import", "--adapter", str(given["x.ckpt"]), "--encoder", str(given["y.pt"])]
    assert cli.main([*convert, "--out", str(tmp_path / "new")]) == 0
    assert cli.main(["generate", *call, "--adapter", str(tmp_path / "new")]) == 0
    assert cli.main([*convert, "--out", str(tmp_path / "new")]) == 2
    assert "is already there" in capsys.readouterr().err


def test_models_import_and_pull_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--adapter", str(tmp_path / "x.ckpt"), "--encoder", str(tmp_path / "y.pt"), "--out", str(tmp_path / "new")]
    assert cli.main(["models", "import", *files]) == 2
    assert "x.ckpt: there is no such file" in capsys.readouterr().err
    assert cli.main(["models", "pull", "someone/model"]) == 2
    assert "cannot pull someone/model" in capsys.readouterr().err


@pytest.fixture
def furnished(call: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command, without --model, whose parts lie in the models directory; and the picture that they made is there."""
    home, pipe = tmp_path / "home", tiny_pipeline()
    pipe.save_pretrained(home / "owner--tiny")
    tiny_adapter(pipe).save_pretrained(home / "face")
    vae = tiny_pipeline().vae
    with torch.no_grad():
        vae.decoder.conv_out.bias += 0.3
    vae.save_pretrained(home / "soft")
    save_file(tiny_lora(pipe), home / "style.safetensors")
    monkeypatch.setenv("FACEFACT_HOME", str(home))
    more = ["--model", "owner/tiny", "--adapter", "face", "--vae", str(home / "soft"), "--scheduler", "DDIM"]
    lora = ["--lora", f"{home / 'style.safetensors'}:0.7"]
    assert cli.main(["generate", *call[:4], *more, *lora, *call[6:], "--seed", "3"]) == 0
    return [*call[:2], "--device", "cpu", "--out", str(tmp_path / "again"), "--overwrite"]


def tiny_lora(pipe: Any) -> dict[str, Any]:
    state = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith("attn2.to_v"):
            state[f"unet.{name}.lora_A.weight"] = torch.ones(2, module.weight.shape[1]) / 8
            state[f"unet.{name}.lora_B.weight"] = torch.ones(module.weight.shape[0], 2) / 8
    return state


@pytest.mark.parametrize("chunk", ["facefact", "parameters"])
def test_a_recipe_reopens_what_it_was_made_with(
    furnished: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, chunk: str
) -> None:
    made, kept = tmp_path / "out" / "portrait-3.png", PngInfo()
    with Image.open(made) as image:
        kept.add_text(chunk, image.info[chunk])  # as a program that keeps one of them
        image.save(tmp_path / "kept.png", pnginfo=kept)
    assert cli.main(["generate", *furnished, "--recipe", str(tmp_path / "kept.png")]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again" / "portrait-3.png"), pixels(made))
    again, recipe = read_recipe(tmp_path / "again" / "portrait-3.png"), read_recipe(made)
    for part in ("model", "adapter"):
        assert again[part]["sha256"] == recipe[part]["sha256"]
    assert (again["model"]["vae"], again["scheduler"]) == (recipe["model"]["vae"], "DDIMScheduler")
    assert again["model"]["loras"] == recipe["model"]["loras"]
    assert ("does not say" in caplog.text) is (chunk == "parameters")


@pytest.mark.parametrize("part", ["style.safetensors", "soft", "face", "owner--tiny"])
def test_a_part_that_is_gone_or_another_is_named(
    furnished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    recipe, home = ["--recipe", str(tmp_path / "out" / "portrait-3.png")], tmp_path / "home"
    option = {"style.safetensors": "--lora", "soft": "--vae", "face": "--adapter", "owner--tiny": "--model"}[part]
    (home / part).rename(tmp_path / "elsewhere")
    assert cli.main(["generate", *furnished, *recipe]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(words in line for words in (part.replace("--", "/"), "is not in", option, "SHA-256"))
    changed = tmp_path / "elsewhere"
    if changed.is_dir():
        weights = next(path for path in sorted(changed.rglob("*.safetensors")) if "text" not in str(path))
        state = load_file(weights)
        first = next(name for name, value in state.items() if value.is_floating_point())
        save_file(state | {first: state[first] + 0.5}, weights, metadata={"format": "pt"})
    else:
        save_file({name: value * 2 for name, value in load_file(changed).items()}, changed)
    changed.rename(home / part)
    assert cli.main(["generate", *furnished, *recipe]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(words in line for words in ("recipe", option, "SHA-256"))
    if option == "--lora":  # what the user names replaces the recipe's
        assert cli.main(["generate", *furnished, *recipe, option, str(home / part)]) == 0
        assert read_recipe(tmp_path / "again" / "portrait-3.png")["model"]["loras"][0]["weight"] == 1.0


def test_a_recipe_by_another_hand_is_no_way_in(
    furnished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "out" / "portrait-3.png"
    recipe = read_recipe(made)
    for changed, message in (
        ({"model": {"name": "../..", "sha256": "a" * 64}}, "is not in"),
        ({"model": recipe["model"] | {"sha256": ""}}, "damaged"),
        ({"model": 3}, "damaged"),
        ({"model": recipe["model"] | {"loras": [{"name": "x", "sha256": "b" * 64}]}}, "damaged"),
    ):
        info = PngInfo()
        info.add_text("facefact", json.dumps(recipe | changed))
        Image.open(made).save(tmp_path / "evil.png", pnginfo=info)
        assert cli.main(["generate", *furnished, "--recipe", str(tmp_path / "evil.png")]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]

"""Every command and every Python snippet of README and docs is one that works.

All are read by the real parser. A page's blocks run in their order, at tiny size, in a folder in which the files lie
that the pages name; what is too large for that names the test that runs it.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from facefact.apps import cli
from facefact.world import look, person, render
from portraits import people
from tiny import tiny_adapter, tiny_pipeline

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUNDLES_CARD = "src/facefact/demo/bundle/README.md"
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

# What makes a command tiny. The longest entry that a command begins with counts.
TINY = {
    "card make": "",
    "card": "",
    "demo": "--people 2 --steps 1 --device cpu",
    "generate": "-n 1 --steps 1 --device cpu",
    "group": "-n 1 --steps 2 --device cpu",
    "inpaint": "--steps 2 --device cpu",
    "faces": "",
    "styles list": "",
    "styles add": "",
    "styles preview": "--steps 1 --device cpu",
    "models list": "",
    "models import": "",
    "models licences": "",
    "prepare": "--set face.detector=avatar --set face.min_size=24 --set people.recogniser=none --workers 0 "
    "--set \"cover={hands: 'off', max_covered: 1.0}\"",
    "sign init": "",
    "verify": "",
    "train configs/smoke.yaml": "--set base.source=random:tiny adapter.encoder=random:tiny adapter.warm_up=null "
    "adapter.resampler.input_width=32 adapter.resampler.output_width=32 data.people=5 data.looks=2 data.size=64 "
    "data.validation_people=1 schedule.steps=1 schedule.batch=2 validation.every=0 trackers=[]",
}
ELSEWHERE = {
    "generate --engine ray": "tests/generate/test_batch_ray.py::test_ray_makes_what_one_machine_makes",
    "card calibrate": "tests/apps/test_card.py::test_a_folder_of_people_calibrates",
    "models pull facechain-fact": "tests/generate/test_published.py::test_one_command_and_the_model_opens",
    "models pull": "tests/generate/test_models.py::test_a_pull_without_network_is_the_users_error",
    "train configs/sd15.yaml": "tests/train/test_recipe.py::test_a_published_scale_recipe_runs_but_for_its_size",
    "train configs/sdxl.yaml": "tests/train/test_recipe.py::test_a_published_scale_recipe_runs_but_for_its_size",
    "train configs/sdxl-24gb.yaml": "tests/train/test_recipe.py::test_a_published_scale_recipe_runs_but_for_its_size",
    "train configs/encoder.yaml": "tests/train/encoder/test_run.py::"
    "test_a_run_that_was_interrupted_ends_as_one_that_was_not",
    "train configs/world.yaml": "tests/train/bundle/test_build.py::"
    "test_the_bundle_is_a_stable_diffusion_that_the_adapter_fits",
    "compare": "tests/evaluate/report/test_folder.py::test_compare_says_what_changed_beyond_the_intervals",
    "eval causal": "tests/evaluate/causal/test_run.py::test_the_command_compares_the_methods_and_writes_everything",
    "eval causal --photos": "tests/evaluate/causal/test_photos.py::test_the_command_on_ones_own_model",
    "eval photos": "tests/evaluate/photos/test_run.py::test_the_command_on_ones_own_model_and_again",
    "eval recogniser": "tests/evaluate/test_recognisers.py::test_the_command_knows_the_bundles_encoder_again",
    "eval suite": "tests/evaluate/test_suite.py::test_the_command_gives_the_same_numbers_again",
    "eval encoder": "tests/evaluate/test_encoder.py::test_the_command_writes_the_figures_and_the_curve",
    "eval avatar": "tests/evaluate/test_avatar.py::test_the_command_measures_and_fits",
    "eval steps": "tests/evaluate/test_sampling.py::test_an_interrupted_table_goes_on",
    "eval inpaint": "tests/evaluate/test_inpaint.py::test_the_command_measures_every_way",
    "eval inpaint --photos": "tests/evaluate/test_inpaint_photos.py::test_the_command_measures_without_a_model",
    "eval layers": "tests/evaluate/test_importance.py::test_the_command_measures_what_its_table_lacks",
    "eval local": "tests/evaluate/test_sampling.py::test_local_mode_finds_the_faces_and_saves_work",
    "eval groups": "tests/evaluate/test_groups.py::test_the_command",
    "eval watermark": "tests/evaluate/test_watermark.py::test_the_command",
    "eval world": "tests/test_docs.py::test_the_bundle_is_measured",
    "ui": "tests/apps/page/test_page.py::test_a_first_visit_makes_a_portrait_in_one_click",
    "eval claims": "tests/evaluate/claims/test_run.py::test_a_small_run_from_training_to_the_table",
    "serve": "tests/apps/test_serve_command.py::test_the_whole_service_says_when_it_is_ready",
    "serve --new-key": "tests/apps/test_serve_command.py::test_a_key_is_printed_once",
    "bench page": "tests/bench/test_browser.py::test_a_tiny_run_finds_every_figure",
    "bench serve": "tests/bench/test_serve.py::test_a_tiny_run_finds_every_job_again",
    "bench unet": "tests/bench/test_unet.py::test_the_command",
}
TIMES = {
    "exact": "{} in bf16, {} in fp32",
    "local": "{} in bf16, {} in fp32",
    "ip_adapter": "{} and {}, ",
    "controlnet_ip_adapter": "{} and {}, ",
}
SERVED = "http://127.0.0.1:8188"  # where the pages say that the service is
WITHOUT_RUNNING = ("git", "cd", ".", "make", "pip", "cp", "rm")  # make's targets and pip's extras are looked up below


class Block(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def shell(text: str) -> Iterator[list[str]]:
    """The commands of a block as words: continued lines joined, comments left out, `NAME=words` put in for `$NAME`."""
    names: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        for name, value in names.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line, comments=True)
        if len(words) == 1 and (made := re.fullmatch(r"([A-Z]+)=(.*)", words[0])):
            names[made[1]] = made[2]
            continue
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def commands(page: Path) -> list[list[str]]:
    """Of all blocks that are neither Python nor output."""
    return [words for block in blocks(page) if not block.language for words in shell(block.text)]


def entry(table: dict[str, str], words: list[str]) -> str | None:
    fitting = [name for name in table if f"{' '.join(words)} ".startswith(f"{name} ")]
    return table[max(fitting, key=len)] if fitting else None


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_parser_knows_every_command(page: Path) -> None:
    for words in commands(page):
        assert words[0] == "facefact" or words[0] in WITHOUT_RUNNING, f"{name_of(page)}: what is {words[0]}?"
        if words[0] == "facefact":
            cli.build_parser(words[1]).parse_args(words[1:])


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_options_in_the_text_exist(page: Path) -> None:
    """Commands inside sentences may leave out what is required; what they say has to be right."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`facefact ([^`|]+)`", text):
        words = shlex.split(span)
        parser, rest = cli.build_parser(words[0]), words
        while rest and (chosen := subparsers(parser).get(rest[0])) is not None:
            parser, rest = chosen, rest[1:]
        known = parser._option_string_actions
        unknown = [word for word in rest if word.startswith("-") and word not in known]
        assert parser.prog != "facefact", f"{name_of(page)}: there is no `facefact {words[0]}`"
        assert not unknown, f"{name_of(page)}: `facefact {span}` has no {unknown}"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(kinds[0].choices) if kinds else {}


def test_targets_and_extras_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for page in TEXTS:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets, f"{name_of(page)}: make {target}"
        for named in re.findall(r"pip install '(?:\.|facefact)\[([\w,]+)\]'", text):
            assert set(named.split(",")) <= set(extras), f"{name_of(page)}: {named}"


def test_the_makefile_calls_commands_that_exist() -> None:
    called = re.findall(r"^\t\$\(BIN\)/facefact (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert called
    for line in called:
        cli.build_parser(line.split()[0]).parse_args(shlex.split(line))


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        target = page if not path else page.parent / path
        assert target.exists(), f"{name_of(page)}: {link}"
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_figures_are_those_that_were_measured() -> None:
    measured = json.loads((ROOT / "docs/figures.json").read_text())
    unet = [json.loads((ROOT / f"benchmarks/{name}.json").read_text()) for name in ("unet", "unet_float32")]
    rows = re.findall(
        r"^\| [^|]+ \|([^|]+)\|([^|]+)\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = [column for row in rows for column in row]

    def figure(digits: int, *, of: dict[str, float]) -> str:
        value, low, high = (f"{of[name]:.{digits}f}" for name in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    expected = [figure(2, of=measured["adapter"]["rank1"]), figure(3, of=measured["adapter"]["attributes"])]
    expected += [figure(2, of=measured[name]["outside_change"]) for name in ("adapter", "adapter_without_fair")]
    expected += [f"{measured['base']['rank1']['value']:.2f}, ", f"{measured['base']['attributes']['value']:.3f}, "]
    for name, words in TIMES.items():
        expected.append(words.format(*(f"{one['variants'][name]['ratio']:.2f}" for one in unet)))
    for one in expected:
        assert any(one in column for column in shown), f"README: {one} was measured"
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/evidence/figures.md", BUNDLES_CARD)]
    ours, cards = (re.findall(r"<!-- FIGURES .*?-->(.*?)<!-- /FIGURES -->", page, re.DOTALL) for page in pages)
    assert ours == cards != []


@pytest.mark.parametrize("proof", sorted(set(ELSEWHERE.values())))
def test_what_runs_elsewhere_is_run(proof: str) -> None:
    file, _, name = proof.partition("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"there is no {proof}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages name: photos (renders), tiny models (as diffusers and as the published code save them)."""
    folder = tmp_path_factory.mktemp("files")
    for number, name in enumerate(("me.jpg", "me1.jpg", "me2.jpg")):
        Image.fromarray(render(person(1), look(number), size=192).image).save(folder / name)
    Image.fromarray(render(person(2), look(0), size=192).image).save(folder / "ada.jpg")
    layout = Image.new("RGB", (128, 64))
    layout.paste("red", (4, 4, 60, 64))
    layout.paste("blue", (68, 4, 124, 64))
    layout.save(folder / "layout.png")
    people(folder / "photos", count=3, looks=3)
    group = Image.new("RGB", (528, 192), "gray")
    for number, (left, size) in enumerate(((0, 192), (192, 176), (368, 160))):
        portrait = Image.fromarray(render(person(number), look(100 * number), size=size).image)
        group.paste(portrait, (left, 192 - size))
    group.save(folder / "group.png")
    table = [("me1.jpg;me2.jpg", "in a red coat, snow", "ada"), ("ada.jpg", "at the beach", "ben")]
    lines = ["face,prompt,id", *(f'{face},"{prompt}",{name}' for face, prompt, name in table)]
    (folder / "jobs.csv").write_text("\n".join(lines), encoding="utf-8")
    style = "name: my-style\nfamily: photo\nprompt: on a bicycle\n"
    (folder / "my-style.yaml").write_text(style, encoding="utf-8")
    (folder / "templates").mkdir()
    group.crop((0, 0, 192, 192)).save(folder / "templates/one.png")
    pipe = tiny_pipeline()
    pipe.save_pretrained(folder / "path/to/sd15")
    as_published(tiny_adapter(pipe), folder)
    pipe.save_pretrained(folder / "home/facechain-fact")  # as `models pull` leaves it
    tiny_adapter(pipe).save_pretrained(folder / "home/facechain-fact/adapter")
    return folder


def as_published(adapter: Any, folder: Path) -> None:
    """The two files of FaceChain-FACT, from which the first is put together under the published names."""
    blocks_of = sorted(adapter.layers.configs, key=len, reverse=True)
    state = {f"local_fac_prj.{name}": value for name, value in adapter.resampler.state_dict().items()}
    for name, value in adapter.layers.state_dict().items():
        block = next(one for one in blocks_of if name.startswith(f"{one}."))
        state[f"{block}.attn2.processor.{name[len(block) + 1 :]}"] = value
    torch.save(state, folder / "adapter.ckpt")
    torch.save(adapter.encoder.state_dict(), folder / "TransFace_S.pt")


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run a page's blocks in, with those files, and the person that `make demo` leaves."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "out").mkdir()
    Image.fromarray(render(person(7), look(7), size=128).image).save(tmp_path / "out/person-1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    return tmp_path


def names_of(page: Path) -> dict[str, Any]:
    """What a page's snippets stand on: README and generate.md make it themselves, the others speak of it."""
    if "FaceAdapter.from_pretrained" in page.read_text(encoding="utf-8"):
        return {}
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    return {"pipe": pipe, "adapter": adapter, "face": adapter.encode("me.jpg"), "mask": torch.ones(64, 64)}


WITH_BLOCKS = [page for page in PAGES if blocks(page)]
ASKING = [page for page in WITH_BLOCKS if SERVED in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", [page for page in WITH_BLOCKS if page not in ASKING], ids=name_of)
def test_a_page_runs_from_top_to_bottom(page: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if page.name == "provenance.md":
        pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    run_page(page, capsys)


@pytest.mark.parametrize("page", ASKING, ids=name_of)
def test_a_page_that_asks_the_service_runs_too(
    page: Path, here: Path, capsys: pytest.CaptureFixture[str], served_at: str
) -> None:
    run_page(page, capsys, served_at)


def run_page(page: Path, capsys: pytest.CaptureFixture[str], service: str = "") -> None:
    """All its blocks, in their order. service: the address of the one that its snippets ask."""
    names = names_of(page) if any(block.language == "python" for block in blocks(page)) else {}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text.replace(SERVED, service), name_of(page), "exec"), names)
            continue
        for words in shell(block.text) if not block.language else ():
            if words[0] != "facefact" or entry(ELSEWHERE, words[1:]) is not None:
                continue
            more = entry(TINY, words[1:])
            assert more is not None, f"{' '.join(words)}: make it tiny, or name the test that runs it"
            done = cli.main([*words[1:], *shlex.split(more)])
            assert done == 0, f"{' '.join(words)}: {capsys.readouterr().err}"


def test_the_bundle_is_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = "eval world --seed 1 --json figures.json --people 6 --per-person 1 --steps 1 --device cpu"
    assert cli.main(call.split()) == 0
    assert "adapter.rank1" in capsys.readouterr().out
    assert (here / "figures.json").is_file()

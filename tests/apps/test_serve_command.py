"""`facefact serve` as a command: what its options mean, and what it refuses before anything is opened."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")

from facefact.apps import cli
from facefact.apps.commands import serve
from served import ready, served

ROOT = Path(__file__).parents[2]


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.main(["serve", *options]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_strangers_are_kept_out_unless_it_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert "--open" in refused(capsys, "--host", "0.0.0.0", *data)
    assert "--new-key" in refused(capsys, "--host", "0.0.0.0", "--api-keys", str(tmp_path / "none.json"), *data)
    assert "choose one" in refused(capsys, "--open", "--api-keys", "k.json", *data)
    assert "https://" in refused(capsys, "--allow-origin", "example.org", *data)


def test_what_cannot_be_is_said_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert "--engine ray" in refused(capsys, "--workers", "1:4", *data)
    assert "--engine ray" in refused(capsys, "--ray-address", "h:1", *data)
    (tmp_path / "file").write_text("")
    assert "--data" in refused(capsys, "--data", str(tmp_path / "file" / "below"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in refused(capsys, "--port", str(taken.getsockname()[1]), *data)


def test_what_workers_could_not_keep_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"), "--port", "0")
    assert "belong together" in refused(capsys, "--c2pa-key", "key.pem", *data)
    for more in (["--watermark"], ["--strict-licences"], ["--c2pa-key", "k.pem", "--c2pa-cert", "c.pem"]):
        assert "--workers 0" in refused(capsys, "--workers", "0", *more, *data)


def test_a_key_is_printed_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert cli.main(["serve", "--new-key", "ada", "--api-keys", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    assert re.fullmatch(r"ff_[\w-]{43}", key)
    assert key not in path.read_text()
    assert "there is a key ada already" in refused(capsys, "--new-key", "ada", "--api-keys", str(path))
    assert "--api-keys" in refused(capsys, "--new-key", "bob")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (serve.seconds, "7d", 604_800),
        (serve.seconds, "90m", 5_400),
        (serve.seconds, "0", 0),
        (serve.size, "2GB", 2_000_000_000),
        (serve.size, "1.5m", 1_500_000),
        (serve.worker_range, "3", (3, 3)),
        (serve.worker_range, "1:8", (1, 8)),
        (serve.worker_range, "0", (0, 0)),
    ],
)
def test_times_sizes_and_numbers_of_workers(read: object, text: str, value: object) -> None:
    assert read(text) == value  # type: ignore[operator]


@pytest.mark.parametrize(
    "options", ["--keep 7", "--keep x", "--store-limit 0", "--workers 4:1", "--workers x", "--batch 0"]
)
def test_what_is_none_of_them_is_refused(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", *options.split()])
    assert end.value.code == 2
    assert options.split()[0] in capsys.readouterr().err


def test_the_whole_service_says_when_it_is_ready(served_at: str) -> None:
    assert ready(served_at) == {"ready": True, "database": True, "workers": 1}


def test_without_workers_it_answers_and_stops(tmp_path: Path) -> None:
    """What is sent waits for the workers of another service; the folder is its owner's alone."""
    with served(tmp_path, "--workers", "0", "--offline", ready=False) as url:
        assert ready(url) == {"ready": True, "database": True, "workers": None}
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_what_is_signed_keeps_the_credentials_of_what_was_sent(tmp_path: Path) -> None:
    """The uploads are written anew, as pixels; their manifests are ingredients of the picture's own all the same."""
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    from facefact.client import Client
    from facefact.generate.certificates import make_credentials
    from facefact.generate.recipe import read_recipe, save_portrait, versions
    from facefact.generate.signing import Signer, read_signature
    from facefact.types import Portrait, UserError
    from facefact.world import look, person, render

    for name in ("Ada", "Eve"):
        make_credentials(tmp_path / name, name=name)
    eve = Signer.open(tmp_path / "Eve/key.pem", tmp_path / "Eve/chain.pem")
    said = {"kind": "text-to-image", "prompt": "x", "negative_prompt": "", "versions": versions()}
    for number, side in enumerate((128, 128, 96)):
        image = Image.fromarray(render(person(10**6 + number), look(number), size=side).image)
        save_portrait(Portrait(image, said | {"width": side, "height": side}), tmp_path / f"{number}.png", eve)
    face, template, small = (tmp_path / f"{number}.png" for number in range(3))
    keys = ["--c2pa-key", str(tmp_path / "Ada/key.pem"), "--c2pa-cert", str(tmp_path / "Ada/chain.pem")]
    with served(tmp_path, "--offline", "--watermark", *keys) as url:
        client = Client(url)
        style = client.styles()[0]["name"]
        portrait = client.portraits(face=face, prompt="smiling", steps=2, style=style)
        replaced = client.templates(template=template, face=face, prompt="smiling", steps=2)
        assert (portrait.state, replaced.state) == ("done", "done"), (portrait.reason, replaced.reason)
        with pytest.raises(UserError, match="96 pixels is less than the 128"):
            client.templates(template=small, face=face, prompt="smiling", steps=2)
        (tmp_path / "portrait.png").write_bytes(portrait.images()[0])
        (tmp_path / "replaced.png").write_bytes(replaced.images()[0])
        kept = [path for path in (tmp_path / "data/files").rglob("*.png") if "input" in path.parts]
        assert len(kept) == 3
        assert not any(b"Eve" in path.read_bytes() for path in kept)  # pixels alone
    inputs = {"portrait": ("photo 1",), "replaced": ("template", "photo 1")}
    for name, wanted in inputs.items():
        found = read_signature(tmp_path / f"{name}.png", trusted=[(tmp_path / "Ada/ca.pem").read_bytes()])
        assert found is not None
        assert (found.state, found.signer, found.inputs) == ("trusted", "Ada", wanted)
    assert read_recipe(tmp_path / "portrait.png")["style"]["name"] == style


def test_a_model_that_is_none_ends_it_with_a_line(tmp_path: Path) -> None:
    options = ["--port", "0", "--data", str(tmp_path), "--model", str(tmp_path / "none"), "--offline"]
    done = subprocess.run(
        [sys.executable, "-m", "facefact", "serve", *options], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2
    assert str(tmp_path / "none") in done.stderr.splitlines()[-1], "all of it in one line"
    assert "Traceback" not in done.stderr


# The container, by the rules of Docker's linters where Docker itself is not


KNOWN = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "ARG", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
KNOWN |= {"ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_container_is_slim_pinned_and_not_root() -> None:
    found = instructions()
    assert {word for word, _ in found} <= KNOWN
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", found[0][1])
    words = [word for word, _ in found]
    user = words.index("USER")
    assert found[user][1] not in ("root", "0")
    assert not {"RUN", "COPY"} & set(words[user:])
    for word, rest in found:
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        assert "sudo" not in rest
        assert "curl" not in rest
    assert [word for word in words if word in ("ENTRYPOINT", "CMD")] == ["ENTRYPOINT", "CMD"]


def test_the_container_starts_what_the_parser_knows() -> None:
    found = dict(instructions())
    words = [*eval(found["ENTRYPOINT"]), *eval(found["CMD"])]
    args = cli.build_parser("serve").parse_args(words[1:])
    assert (args.command, args.host, args.data) == ("serve", "0.0.0.0", Path("/data"))
    serve.check(args)
    extras = re.findall(r"\[([\w,]+)\]", found["RUN"])
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(extras[0].split(",")) <= set(declared)
    for line in (rest for word, rest in instructions() if word == "COPY"):
        assert all((ROOT / name).exists() for name in line.split()[:-1])

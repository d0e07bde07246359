"""What the world draws and says, against what it did when it was given its number.

When a picture was meant to change, raise `world.version.VERSION` and write the golden files anew:
`python tests/world/test_version.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from facefact.train.material.world import WorldSource
from facefact.world import CHOICES, IDENTITY, Person, Rendering, caption, look, person, render
from facefact.world.version import VERSION, world_name

GOLDEN = Path(__file__).parent / "golden"
SIZE, COUNT, COLUMNS = 96, 24, 6


def shown(i: int):
    """Look i: seed i, and the i-th value of every factor, so that every value is drawn."""
    return look(i, **{name: values[(i + i // 6) % len(values)] for name, values in CHOICES.items()})


def drawn() -> list[Rendering]:
    return [render(person(i), shown(i), size=SIZE) for i in range(COUNT)]


def sheet(tiles: list[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate(tiles[i : i + COLUMNS], 1) for i in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows)


def pictures(renders: list[Rendering]) -> dict[str, np.ndarray]:
    masks = [np.stack([one.face, one.head, one.head & one.face], -1).astype(np.uint8) * 255 for one in renders]
    return {"pictures": sheet([one.image for one in renders]), "masks": sheet(masks)}


def words_and_places(renders: list[Rendering]) -> dict[str, object]:
    return {
        "version": VERSION,
        "captions": [caption(shown(i)) for i in range(COUNT)],
        "landmarks": [np.round(one.landmarks.astype(float), 3).tolist() for one in renders],
    }


def read() -> tuple[dict[str, object], dict[str, np.ndarray]]:
    words = json.loads((GOLDEN / "world.json").read_text(encoding="utf-8"))
    return words, {name: np.asarray(Image.open(GOLDEN / f"{name}.png")) for name in ("pictures", "masks")}


def same(new: np.ndarray, golden: np.ndarray) -> bool:
    """Tile by tile, but for what another OpenCV may round otherwise at an edge: a changed stroke moves far more."""
    apart = (np.abs(new.astype(int) - golden.astype(int)) > 2).any(-1)
    return bool(apart.reshape(-1, SIZE, COLUMNS, SIZE).mean((1, 3)).max() < 2e-3)


def test_pictures_have_not_changed_without_their_number() -> None:
    words, golden = read()
    assert words["version"] == VERSION, "the golden files are of another version: write them anew (see above)"
    renders = drawn()
    for name, new in pictures(renders).items():
        assert same(new, golden[name]), f"the world's {name} have changed: raise VERSION, write the golden files anew"
    told = words_and_places(renders)
    assert told["captions"] == words["captions"]
    np.testing.assert_allclose(told["landmarks"], words["landmarks"], atol=2e-3)


def test_the_golden_renders_would_tell() -> None:
    """Every value of every factor is there, and one moved feature of one person is seen."""
    for name, values in CHOICES.items():
        assert {shown(i)[name] for i in range(COUNT)} == set(values), name
    _, golden = read()
    renders = drawn()
    who = person(7)
    other = Person(who.seed, np.array([0.3 if name == "mouth_width" else who[name] for name in IDENTITY]))
    renders[7] = render(other, shown(7), size=SIZE)
    assert not same(pictures(renders)["pictures"], golden["pictures"])


def test_caches_of_the_first_version_are_taken_over() -> None:
    """They were named by a hash of the renderer's source text."""
    assert world_name(1) == "90afa78fcebe5540d0ae421b35643c02"
    assert len({world_name(version) for version in (1, 2, 3)}) == 3
    source = WorldSource(2, 2, 61)
    assert source.about()["world"] == world_name()
    assert source.keys() == [
        "fa795a2943d3fb5e7a99ae38d2f5f06b",
        "0c76a252e4f7669cf8b1da56e39b2759",
        "74445f251f3bc50b167eb623c82b39cf",
        "5efb026de9d1894511f37af0681239a2",
    ]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    made = drawn()
    for name, image in pictures(made).items():
        Image.fromarray(image).save(GOLDEN / f"{name}.png", optimize=True)
    (GOLDEN / "world.json").write_text(json.dumps(words_and_places(made), indent=1) + "\n", encoding="utf-8")

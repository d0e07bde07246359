"""Every input becomes an entry, whatever it is called and wherever it lies, and its bytes come back or a reason."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from facefact.data.inputs import list_entries, read_bytes
from facefact.data.records import Entry, Unfit
from facefact.types import UserError

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def put(path: Path, content: bytes | str = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def named(entries: list[Entry]) -> dict[str, Entry]:
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names)
    assert all(name.isprintable() and name.encode("utf-8") for name in names)
    return {entry.name: entry for entry in entries}


def people(entries: list[Entry]) -> dict[str, str | None]:
    return {name: entry.person for name, entry in named(entries).items()}


def content(entry: Entry, limit: int = 1000) -> bytes:
    return read_bytes(entry, max_bytes=limit)


def reason(entry: Entry, limit: int = 1000) -> tuple[str, str]:
    with pytest.raises(Unfit) as caught:
        content(entry, limit)
    assert caught.value.stage == "decode"
    assert "\n" not in caught.value.detail
    return caught.value.reason, caught.value.detail


def unescaped(name: str) -> bytes:
    """What `Entry.name` stands for."""

    def letter(match: re.Match[str]) -> str:
        code = match[0][2:]
        return "\\" if not code else chr(int(code, 16) + (0xDC00 if match[0][1] == "x" else 0))

    return os.fsencode(re.sub(r"\\(\\|x..|u....|U........)", letter, name))


# Folders


def test_a_folder_per_person(tmp_path: Path) -> None:
    """What lies deeper belongs to the top folder's person; what lies loose to nobody."""
    for name in ("b/2.jpg", "b/1.PNG", "a/more/still/1.jpeg", "a/1.webp", "loose.jpg", ".hidden/1.jpg", "a/.x.jpg"):
        put(tmp_path / name, name)
    (tmp_path / "c").mkdir()
    entries = list_entries(tmp_path)
    assert [entry.name for entry in entries] == ["a/1.webp", "a/more/still/1.jpeg", "b/1.PNG", "b/2.jpg", "loose.jpg"]
    assert [entry.person for entry in entries] == ["a", "a", "b", "b", None]
    assert [content(entry).decode() for entry in entries] == [entry.name for entry in entries]
    assert entries == list_entries(tmp_path, "people")
    assert people(list_entries(tmp_path, "flat")) == dict.fromkeys(entry.name for entry in entries)
    assert pickle.loads(pickle.dumps(entries)) == entries


def test_a_flat_folder(tmp_path: Path) -> None:
    put(tmp_path / "b.jpg")
    put(tmp_path / "a.jpg")
    put(tmp_path / "words" / "notes.md")
    assert people(list_entries(tmp_path)) == {"a.jpg": None, "b.jpg": None, "words/notes.md": None}


def test_what_is_no_picture_is_an_input_and_what_is_metadata_is_none(tmp_path: Path) -> None:
    metadata = ["p/1.txt", "p/1.json", "p/other.json", "info.json", "metadata.jsonl", "p/metadata.jsonl"]
    inputs = ["p/1.jpg", "p/setup.exe", "p/notes.txt", "p/noname", "README.md", "p/1.jpg.txt", "p/jpg", "x.tar.gz"]
    for name in (*metadata, *inputs):
        put(tmp_path / name, b"" if name.endswith("metadata.jsonl") else b"x")
    assert sorted(named(list_entries(tmp_path, "people"))) == sorted(inputs)


def test_captions_beside_the_picture(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "p" / f"{number}.jpg")
    put(tmp_path / "p" / "0.txt", "a woman,\n  smiling \n")
    put(tmp_path / "p" / "1.json", '{"caption": "in the rain", "url": "https://a.b/c", "license": "CC0", "person": 7}')
    put(tmp_path / "p" / "2.TXT", b"\xff\xd8\xff\xe0\0\0binary")
    put(tmp_path / "p" / "3.txt", "long " * 100_000)
    put(tmp_path / "p" / "4.json", "[" * 100_000)
    (tmp_path / "p" / "5.txt").symlink_to("5.txt")
    found = named(list_entries(tmp_path))
    assert len(found) == 6
    assert found["p/0.jpg"].caption == "a woman, smiling"
    one = found["p/1.jpg"]
    assert (one.caption, one.person, one.source, one.licence) == ("in the rain", "7", "https://a.b/c", "CC0")
    assert [found[f"p/{i}.jpg"].caption for i in (2, 3, 4, 5)] == [None] * 4


def test_captions_of_every_suffix_and_what_systems_leave_behind(tmp_path: Path) -> None:
    for name, words in (("1", "txt"), ("2", "caption"), ("3", "tags")):
        put(tmp_path / "p" / f"{name}.jfif")
        put(tmp_path / "p" / f"{name}.{words}", f"from {words}")
    put(tmp_path / "p" / "1.caption", "believed later")
    put(tmp_path / "p" / "2.json", '{"person": "Ann"}')
    for nothing in ("p/._1.jfif", "p/Thumbs.db", "p/.DS_Store", "__MACOSX/p/1.jfif"):
        put(tmp_path / nothing)
    entries = named(list_entries(tmp_path, "people"))
    assert {name: entry.caption for name, entry in entries.items()} == {
        "p/1.jfif": "from txt",
        "p/2.jfif": "from caption",
        "p/3.jfif": "from tags",
    }
    assert entries["p/2.jfif"].person == "Ann"


def test_metadata_are_believed_first(tmp_path: Path) -> None:
    for name in ("images/1.jpg", "images/2.jpg", "images/deep/3.jpg"):
        put(tmp_path / name)
    put(tmp_path / "images" / "2.txt", "beside")
    put(
        tmp_path / "metadata.jsonl",
        "\ufeff"
        + lines(
            {"file_name": "images/1.jpg", "text": "a\u2028man", "person": "Zoë", "source": "s", "licence": "CC BY"},
            {"file_name": "./images/deep/../2.jpg", "caption": "first", "license": "MIT"},
            {"file_name": "images/2.jpg", "caption": "second\x07", "person": None, "source": float("nan")},
        ),
    )
    put(tmp_path / "images" / "deep" / "metadata.jsonl", lines({"file_name": "3.jpg", "person": 3, "text": ["x", "y"]}))
    found = named(list_entries(tmp_path))
    assert found == named(list_entries(tmp_path, "metadata"))
    one, two, three = (found[name] for name in ("images/1.jpg", "images/2.jpg", "images/deep/3.jpg"))
    assert (one.person, one.caption, one.source, one.licence) == ("Zoë", "a man", "s", "CC BY")
    assert (two.person, two.caption, two.source, two.licence) == (None, "second", None, None)  # not of "images"
    assert (three.person, three.caption) == ("3", "x")


def test_metadata_without_people_leave_them_to_the_folders(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.jpg")
    put(tmp_path / "metadata.jsonl", lines({"file_name": "a/1.jpg", "text": "hello"}))
    assert people(list_entries(tmp_path)) == {"a/1.jpg": None}  # one folder: pictures, not a person
    put(tmp_path / "b" / "1.jpg")
    assert people(list_entries(tmp_path)) == {"a/1.jpg": "a", "b/1.jpg": "b"}
    assert named(list_entries(tmp_path))["a/1.jpg"].caption == "hello"
    put(tmp_path / "metadata.jsonl", lines({"file_name": "a/1.jpg", "person": "me"}))
    assert people(list_entries(tmp_path)) == {"a/1.jpg": "me", "b/1.jpg": None}
    assert people(list_entries(tmp_path, "people")) == {"a/1.jpg": "me", "b/1.jpg": "b"}


def test_metadata_that_name_no_file_give_an_entry_that_says_so(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg")
    put(tmp_path / "metadata.jsonl", lines({"file_name": "gone.jpg", "person": "me"}, {"file_name": "nul\0\ud800.jpg"}))
    found = named(list_entries(tmp_path))
    assert len(found) == 3
    assert reason(found["gone.jpg"]) == ("unreadable", "No such file or directory")
    assert found["gone.jpg"].person == "me"
    assert reason(found["nul\\u0000\\ud800.jpg"])[0] == "unreadable"


@pytest.mark.parametrize(
    ("row", "words"),
    [("nonsense", "line 2 is no JSON"), ("[]", "line 2"), ("7", "line 2"), ('{"name": "x"}', '"file_name"')]
    + [("[" * 100_000, "line 2"), ('{"file_name": "../x.jpg"}', "outside"), ('{"file_name": "/etc/x"}', "outside")]
    + [('{"file_name": "a/../../x"}', "outside")],
)
def test_metadata_that_are_none_are_the_users_error(row: str, words: str, tmp_path: Path) -> None:
    put(tmp_path / "1.jpg")
    put(tmp_path / "metadata.jsonl", '{"file_name": "1.jpg"}\n' + row + "\n")
    error(tmp_path, words)


# Names and links


STRANGE = [
    b"two\nlines.jpg",
    b"tab\t.jpg",
    b" blank .jpg",
    b"-rf.jpg",
    b"--help.jpg",
    b'it\'s "quoted".jpg',
    b"a\\n.jpg",
    b"$(x).jpg",
    b"*.jpg",
    b"\xff\xfe\x80.jpg",
    b"caf\xc3\xa9.jpg",
    b"cafe\xcc\x81.jpg",
    b"\xc2\x85.jpg",
    b"\\x85.jpg",
    b"\\\\x85.jpg",
    b"\xed\xa0\x80.jpg",
    b"a" * 251 + b".jpg",
    b"x.jpg.",
    b"jpg",
    b"%s{0}.jpg",
    b"\x7f.jpg",
    b"\x1b[31m.jpg",
    "\U0001f469\u200d\U0001f467.jpg".encode(),
    "\u202egpj.exe".encode(),
    b"\xee\x80\x80.jpg",
]


def test_strange_names(tmp_path: Path) -> None:
    """Each is there, unique, printable, can be turned back, and leads to its file."""
    root = os.path.join(os.fsencode(tmp_path), b"people\nand \xff more")
    for folder in STRANGE:
        os.makedirs(os.path.join(root, b"in " + folder[-200:]))
        with open(os.path.join(root, b"in " + folder[-200:], folder), "wb") as file:
            file.write(folder)
    entries = list_entries(Path(os.fsdecode(root)))
    assert len(named(entries)) == len(STRANGE)
    for entry in entries:
        folder, name = unescaped(entry.name).split(b"/")
        assert content(entry) == name
        assert entry.person is not None
        assert unescaped(entry.person) == folder
    assert [entry.name.encode() for entry in entries] == sorted(entry.name.encode() for entry in entries)
    assert pickle.loads(pickle.dumps(entries)) == entries


def test_a_deep_tree(tmp_path: Path) -> None:
    """Nearly as deep as a path may be long (4096 bytes); what lies deeper cannot be read by anybody."""
    deep = tmp_path / "person"
    while len(str(deep)) < 3800:
        deep = deep / "folder"
    put(deep / "x.jpg")
    (entry,) = list_entries(tmp_path)
    assert content(entry) == b"x"
    assert entry.person == "person"


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "input"
    put(root / "b" / "1.jpg", b"b1")
    put(tmp_path / "elsewhere" / "2.jpg", b"e2")
    put(tmp_path / "beside.jpg")
    for link, target in {
        "a": "b",
        "b/self": ".",
        "b/up": "..",
        "b/out": "../..",
        "far": "../elsewhere",
        "further": "../elsewhere",
        "b/circle1": "circle2",
        "b/circle2": "circle1",
    }.items():
        (root / link).symlink_to(target)
    (root / "b" / "file.jpg").symlink_to("1.jpg")
    (root / "b" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../input")
    found = named(list_entries(root))
    assert people(list(found.values())) == {
        "b/1.jpg": "b",
        "b/file.jpg": "b",
        "b/gone.jpg": "b",
        "b/circle1": "b",
        "b/circle2": "b",
        "far/2.jpg": "far",
    }
    assert content(found["far/2.jpg"]) == b"e2"
    assert content(found["b/file.jpg"]) == b"b1"
    assert {reason(found[name])[0] for name in ("b/gone.jpg", "b/circle1", "b/circle2")} == {"unreadable"}


def test_a_linked_root(tmp_path: Path) -> None:
    put(tmp_path / "real" / "a" / "1.jpg")
    (tmp_path / "link").symlink_to("real")
    assert people(list_entries(tmp_path / "link")) == {"a/1.jpg": "a"}


def test_a_folder_that_is_called_a_picture_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "x.jpg" / "1.jpg")
    assert people(list_entries(tmp_path)) == {"x.jpg/1.jpg": "x.jpg"}


def test_pipes_and_sizes(tmp_path: Path) -> None:
    put(tmp_path / "empty.jpg", b"")
    put(tmp_path / "large.jpg", b"x" * 101)
    os.mkfifo(tmp_path / "pipe.jpg")
    found = named(list_entries(tmp_path))
    assert reason(found["empty.jpg"]) == ("empty", "there are no bytes")
    assert reason(found["large.jpg"], 100) == ("too many bytes", "101 bytes: more than 100")
    assert content(found["large.jpg"], 101) == b"x" * 101
    assert reason(found["pipe.jpg"]) == ("unreadable", "not a regular file")


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of somebody who may not read everything: of another user, where the tests run as root."""
    if ROOT:
        os.seteuid(65534)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        if ROOT:
            os.seteuid(0)


def test_what_may_not_be_read_says_so(nobody: Path) -> None:
    closed = put(nobody / "b" / "1.jpg"), put(nobody / "a" / "1.jpg").parent, put(nobody / "b" / "1.txt")
    put(nobody / "b" / "2.jpg", b"y")
    for path in closed:
        path.chmod(0)
    try:
        found = named(list_entries(nobody))
        assert people(list(found.values())) == {"a/": None, "b/1.jpg": "b", "b/2.jpg": "b"}
        assert reason(found["a/"]) == reason(found["b/1.jpg"]) == ("unreadable", "Permission denied")
        assert content(found["b/2.jpg"]) == b"y"
        error(closed[1], "cannot be read", "Permission denied")
    finally:
        for path in closed:
            path.chmod(0o700)
    assert reason(found["a/"])[0] == "unreadable"  # a folder is no picture, whoever reads it


# Tars


def tar(path: Path, members: list[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def test_webdataset(tmp_path: Path) -> None:
    words = {"person": "me", "caption": "from json", "source": "s", "license": "CC0"}
    tar(tmp_path / "in" / "b.tar", [("x.jpg", b"bx")])
    tar(
        tmp_path / "in" / "a.tar",
        [("000.json", json.dumps(words).encode()), ("000.jpg", b"a0"), ("000.face.png", b"mask"), ("000.npy", b"n")]
        + [("./d/001.PNG", b"a1"), ("./d/001.txt", b"from\ntext"), ("._junk.jpg", b"j"), ("002.cls", b"7")]
        + [("003.photo.1.jpg", b"a3"), ("003.photo.2.jpg", b"a4"), ("noname", b"a5"), ("000.txt", b"text first")],
    )
    put(tmp_path / "in" / "README.md")
    entries = list_entries(tmp_path / "in")
    assert [entry.name for entry in entries] == [
        "a.tar/000.jpg",
        "a.tar/d/001.PNG",
        "a.tar/002.cls",
        "a.tar/003.photo.1.jpg",
        "a.tar/003.photo.2.jpg",
        "a.tar/noname",
        "b.tar/x.jpg",
    ]
    assert [content(entry) for entry in entries] == [b"a0", b"a1", b"7", b"a3", b"a4", b"a5", b"bx"]
    first, second = entries[:2]
    assert (first.person, first.caption, first.source, first.licence) == ("me", "from json", "s", "CC0")
    assert (second.person, second.caption) == (None, "from text")
    assert pickle.loads(pickle.dumps(entries)) == entries
    assert entries == list_entries(tmp_path / "in", "webdataset")
    assert [entry.name for entry in list_entries(tmp_path / "in" / "b.tar")] == ["b.tar/x.jpg"]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_strange_members(kind: int, tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in STRANGE] + ["deep/" * 60 + "x.jpg", "/absolute.jpg", "../up.jpg"]
    archive = tar(tmp_path / "a.tar", [(name, os.fsencode(name)) for name in names], kind)
    with tarfile.open(archive, "a") as file:
        for kind_of in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"member{kind_of.decode()}.jpg")
            info.type, info.linkname = kind_of, "two"
            file.addfile(info)
    found = named(list_entries(archive))
    kept = [name for name in names if not name.startswith("..")]
    assert len(found) == len(kept) + 2  # the link and the pipe; what has a hidden folder in its name is left out
    assert {content(entry) for entry in found.values() if entry.place.size} == {os.fsencode(name) for name in kept}
    assert reason(found["a.tar/member2.jpg"])[0] == "empty"


def test_names_with_dots_in_a_tar(tmp_path: Path) -> None:
    """`22.05` is a name; `face` of `0001.face.png` is a part."""
    path = tar(
        tmp_path / "in.tar",
        [("22.05.jpg", b"a"), ("22.05.txt", b"five"), ("22.06.jpg", b"b"), ("22.06.caption", b"six")]
        + [("22.jpg", b"c"), ("22.json", b'{"source": "a page", "text": "of 22 alone"}')]
        + [("0001.jpg", b"d"), ("0001.face.png", b"e"), ("0001.tags", b"one")]
        + [("v1.cat.jpg", b"f"), ("v1.cat.txt", b"cat"), ("v1.dog.jpg", b"g"), ("v1.jpg", b"h")],
    )
    entries = named(list_entries(path))
    assert {name.removeprefix("in.tar/"): (entry.caption, entry.source) for name, entry in entries.items()} == {
        "22.05.jpg": ("five", None),
        "22.06.jpg": ("six", None),
        "22.jpg": ("of 22 alone", "a page"),
        "0001.jpg": ("one", None),
        "v1.cat.jpg": ("cat", None),
        "v1.jpg": (None, None),
    }


def test_members_of_one_name_are_numbered(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", [("x", b"1"), ("x", b"2"), ("x (2)", b"3"), ("y.jpg", b"4"), ("y.jpg", b"5")])
    found = named(list_entries(archive))
    assert {name: content(entry) for name, entry in found.items()} == {
        "a.tar/x": b"1",
        "a.tar/x (2)": b"2",
        "a.tar/x (2) (2)": b"3",
        "a.tar/y.jpg": b"4",
        "a.tar/y.jpg (2)": b"5",
    }


def ten(tmp_path: Path) -> Path:
    return tar(tmp_path / "t" / "a.tar", [(f"{i}.jpg", bytes([48 + i]) * 600) for i in range(10)])


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1536, 1600, 5000, 5 * 1536, 10 * 1536 - 500])
def test_a_truncated_tar(length: int, tmp_path: Path) -> None:
    """What is whole is there, and one entry more says that something is missing."""
    archive = ten(tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:length])
    *entries, damage = list_entries(tmp_path / "t")
    assert [entry.name for entry in entries] == [f"a.tar/{i}.jpg" for i in range(length // 1536)]
    assert all(content(entry) == bytes([48 + i]) * 600 for i, entry in enumerate(entries))
    why, detail = reason(damage)
    assert why == "damaged"
    assert "cut" in detail or "empty" in detail or "no member" in detail


@pytest.mark.parametrize("place", [0, 5, 148, 1536 * 3 + 10, 1536 * 3 + 124])
def test_a_damaged_header(place: int, tmp_path: Path) -> None:
    archive = ten(tmp_path)
    damaged = bytearray(archive.read_bytes())
    damaged[place : place + 4] = b"\xff\xff\xff\xff"
    archive.write_bytes(damaged)
    *entries, damage = list_entries(archive)
    assert len(entries) == place // 1536
    assert reason(damage)[0] == "damaged"


def test_headers_that_lie(tmp_path: Path) -> None:
    """Sizes that lead backwards or beyond the end, and a name of terabytes: no endless loop, no memory taken."""

    def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.type = size, kind
        return info.tobuf(tarfile.GNU_FORMAT)

    good = header("good.jpg", 3) + b"abc".ljust(512, b"\0")
    for bad in (header("back.jpg", -1024), header("far.jpg", 1 << 50), header("x", 1 << 50, tarfile.GNUTYPE_LONGNAME)):
        archive = put(tmp_path / "a.tar", good + bad + good + bytes(1024))
        first, damage = list_entries(archive)
        assert content(first) == b"abc"
        assert reason(damage)[0] in ("damaged", "too many bytes")


def test_tars_one_after_the_other_and_empty_ones(tmp_path: Path) -> None:
    one, two = (tar(tmp_path / f"{name}.tar", [(f"{name}.jpg", name.encode())]) for name in "ab")
    both = put(tmp_path / "both" / "ab.tar", one.read_bytes() + two.read_bytes())
    assert [content(entry) for entry in list_entries(both)] == [b"a", b"b"]
    error(tar(tmp_path / "none.tar", []), "nothing to prepare")


def test_a_compressed_tar_says_what_to_do(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as file:
        file.add(put(tmp_path / "x.jpg"), "x.jpg")
    (entry,) = list_entries(tmp_path / "a.tar")
    why, detail = reason(entry)
    assert why == "damaged"
    assert "compressed" in detail
    (tmp_path / "a.tar").rename(tmp_path / "a.tar.gz")
    error(tmp_path / "a.tar.gz", "uncompressed tar")


def test_a_tar_that_changes_is_noticed(tmp_path: Path) -> None:
    archive = ten(tmp_path)
    entries = list_entries(archive)
    archive.write_bytes(archive.read_bytes()[:2000])
    assert reason(entries[1]) == ("damaged", "the tar is cut: it holds 0 of its 600 bytes")
    archive.unlink()
    assert reason(entries[0])[0] == "unreadable"


# Parquet


@pytest.fixture
def pa():
    return pytest.importorskip("pyarrow")


def parquet(path: Path, columns: dict[str, object], rows_per_group: int = 4, **metadata: str) -> Path:
    import pyarrow
    from pyarrow.parquet import write_table

    table = pyarrow.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table.replace_schema_metadata(metadata) if metadata else table, path, row_group_size=rows_per_group)
    return path


def test_parquet_of_datasets(pa, tmp_path: Path) -> None:
    """The struct with bytes and path, and classes that are numbers with names."""
    cells = [{"bytes": b"cell %d" % i if i != 3 else None, "path": f"{i}.jpg"} for i in range(10)]
    features = {"info": {"features": {"label": {"names": ["Ann", "Bob"], "_type": "ClassLabel"}}}}
    parquet(
        tmp_path / "data" / "train-0.parquet",
        {"label": [0, 1] * 4 + [-1, None], "image": cells, "caption": [f"c\n{i}" for i in range(10)]},
        huggingface=json.dumps(features),
    )
    entries = list_entries(tmp_path)
    assert [entry.name for entry in entries] == [f"data/train-0.parquet/{i}" for i in range(10)]
    assert [entry.person for entry in entries] == ["Ann", "Bob"] * 4 + [None, None]
    assert [entry.caption for entry in entries] == [f"c {i}" for i in range(10)]
    for order in (range(10), reversed(range(10)), (5, 5, 0, 9, 4, 8)):
        assert all(content(entries[i]) == b"cell %d" % i for i in order if i != 3)
    assert reason(entries[3])[0] == "empty"
    assert reason(entries[4], 5) == ("too many bytes", "6 bytes: more than 5")
    assert pickle.loads(pickle.dumps(entries)) == entries


def test_parquet_with_plain_bytes_and_all_words(pa, tmp_path: Path) -> None:
    parquet(
        tmp_path / "b.parquet",
        {
            "mask": [b"m", b"m"],
            "image": [b"0", None],
            "person": ["Zoë", None],
            "label": [4, 5],
            "text": ["t", None],
            "source": ["s", None],
            "license": pa.array(["l", None]).dictionary_encode(),
            "url": ["u", "u"],
        },
    )
    parquet(tmp_path / "a.parquet", {"only": pa.array([b"1"], pa.large_binary()), "caption": [["c1", "c2"]]})
    one, zero, none = list_entries(tmp_path)
    assert (one.name, one.caption, content(one)) == ("a.parquet/0", "c1", b"1")
    assert (zero.person, zero.caption, zero.source, zero.licence) == ("Zoë", "t", "s", "l")
    assert content(zero) == b"0"
    assert (none.person, none.caption, none.source, none.licence) == ("5", None, "u", None)
    assert reason(none)[0] == "empty"


def test_parquet_files_that_are_damaged_or_hold_no_pictures(pa, tmp_path: Path) -> None:
    whole = parquet(tmp_path / "b.parquet", {"image": [b"picture"]}).read_bytes()
    put(tmp_path / "cut.parquet", whole[:-20])
    put(tmp_path / "empty.parquet", b"")
    parquet(tmp_path / "text.parquet", {"a\nb": ["x"]})
    found = named(list_entries(tmp_path))
    assert list(found) == ["b.parquet/0", "cut.parquet", "empty.parquet", "text.parquet"]
    assert content(found["b.parquet/0"]) == b"picture"
    assert reason(found["cut.parquet"])[0] == reason(found["empty.parquet"])[0] == "unreadable"
    assert reason(found["text.parquet"]) == (
        "unreadable",
        "no column holds pictures (bytes, or a struct with bytes): a b",
    )
    (tmp_path / "b.parquet").unlink()
    assert reason(found["b.parquet/0"])[0] == "unreadable"
    error(parquet(tmp_path / "two.parquet", {"x": [b""], "y": [b""]}), "two.parquet", "x, y")


def test_damage_inside_a_parquet_file_is_the_damage_of_its_rows(pa, tmp_path: Path) -> None:
    rows = [bytes([i]) * 3000 for i in range(8)]
    path = parquet(tmp_path / "a.parquet", {"image": rows, "person": ["p"] * 8})
    entries = list_entries(path)
    damaged = bytearray(path.read_bytes())
    damaged[4:200] = bytes(range(196))
    path.write_bytes(damaged)
    got = {}
    for i in (7, 0, 6, 1):
        try:
            got[i] = content(entries[i], 5000)
        except Unfit as unfit:
            got[i] = unfit.reason
    assert got == {7: rows[7], 6: rows[6], 0: "damaged", 1: "damaged"}


def test_parquet_is_never_in_memory_as_a_whole(pa, tmp_path: Path) -> None:
    """120 MB in one row group; what Arrow takes stays below a third of it."""
    path = tmp_path / "a.parquet"
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([("image", pa.binary())])
    with ParquetWriter(path, schema, compression="none", use_dictionary=False, write_batch_size=8) as writer:
        writer.write_table(pa.table({"image": [bytes([i]) * (1 << 20) for i in range(120)]}, schema=schema))
    entries = list_entries(path)
    before = pa.total_allocated_bytes()
    taken = [pa.total_allocated_bytes() - before for entry in entries[::7] if content(entry, 1 << 20)]
    assert max(taken) < 40 << 20


# The choice of a layout, and what is said where there is none


def error(path: Path, *words: str, layout: str = "auto") -> None:
    with pytest.raises(UserError) as caught:
        list_entries(path, layout)
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_what_cannot_be_understood_is_said_in_one_line(tmp_path: Path) -> None:
    error(tmp_path / "gone\nfor good", "nothing at", "gone\\u000afor good")
    error(put(tmp_path / "one.jpg"), "one picture", "folder")
    error(put(tmp_path / "one.zip"), "a lone file")
    error(tmp_path, "no layout 'lfw'", "webdataset", layout="lfw")
    (tmp_path / "empty").mkdir()
    error(tmp_path / "empty", "no pictures", "no files")
    error(tmp_path / "empty", "nothing to prepare", layout="people")
    for name in ("a.xyz", "b.xyz", "c.zip", "d"):
        put(tmp_path / "odd" / name)
    error(tmp_path / "odd", "no pictures", "2 .xyz, 1 .zip, 1 without a suffix")
    assert len(list_entries(tmp_path / "odd", "flat")) == 4
    error(tmp_path / "odd", "metadata.jsonl", layout="metadata")
    error(tmp_path / "odd", "nothing to prepare", layout="webdataset")
    os.mkfifo(tmp_path / "pipe")
    error(tmp_path / "pipe", "neither a folder")


def test_what_may_be_several_layouts_is_not_guessed(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.jpg")
    put(tmp_path / "a" / "2.jpg")
    tar(tmp_path / "x.tar", [("1.jpg", b"t")])
    error(tmp_path, "2 pictures, 1 .tar", "layout")
    assert people(list_entries(tmp_path, "people")) == {"a/1.jpg": "a", "a/2.jpg": "a", "x.tar": None}
    assert people(list_entries(tmp_path, "webdataset")) == {"x.tar/1.jpg": None}


def test_progress_grows(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path / f"p{i % 5}" / f"{i}.jpg")
    told: list[int] = []
    assert len(list_entries(tmp_path, progress=told.append)) == 20
    assert told == sorted(set(told))
    assert told[-1] == 20

"""DATASET/dataset_card.md: what the dataset holds, how it was made, and what to know before it is used.

The same text is README.md, where `datasets` and the Hugging Face hub look for the header: without it they would take
every file of the folder for samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from facefact.checkpoint import replacing
from facefact.data.summary import FACES_FROM, INDEX, STAGES, UNKNOWN, Stage, Summary, counted
from facefact.markdown import markdown_table
from facefact.page import without_paths

HUB_LICENCES = {  # as the hub calls them
    "apache-2.0",
    "mit",
    "cc0-1.0",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "pddl",
    "odc-by",
    "odbl",
    UNKNOWN,
}
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
TAGS = ["facefact", "faces", "portraits", "identity", "webdataset"]
TABLE = "index"  # what the table is called where splits have names: its column `split` tells train from validation

LATER: dict[str, Stage] = {  # stages that reject nothing
    "caption": Stage(
        "the input's own caption, a model's, or what was measured in words",
        ("caption.keep", "caption.model", "caption.prompt"),
    ),
    "split": Stage("people, not pictures, are kept out of training", ("people.validation", "people.seed")),
    "write": Stage(
        "each picture anew as JPEG, without metadata (no camera, no place, no time)", ("write.shard", "write.quality")
    ),
}

FIELDS: dict[str, tuple[str, str]] = {  # column -> unit, meaning
    "sample": ("", "name of the sample; its key in the shards"),
    "name": ("", "name in the input: path, or file and row; it often names the person"),
    "sha256": ("hexadecimal", "hash of the input's bytes"),
    "width": ("pixels", "of the picture in the shard"),
    "height": ("pixels", "of the picture in the shard"),
    "original_width": ("pixels", "before shrinking, upright"),
    "original_height": ("pixels", "before shrinking, upright"),
    "faces": ("", "how many faces were found in the picture"),
    "box": ("pixels", "of the face: x0, y0, x1, y1"),
    "landmarks": (
        "pixels",
        "x, y of the eye at the picture's left, the eye at its right, nose tip, mouth corner at the left, at the right",
    ),
    "score": ("0 to 1", "the detector's confidence"),
    "detector": ("", "which detector found the face"),
    "yaw": ("degrees", "positive: looks towards the picture's right edge"),
    "pitch": ("degrees", "positive: looks up"),
    "roll": ("degrees", "positive: clockwise as seen"),
    "face_size": ("pixels", "square root of the box's area"),
    "face_share": ("0 to 1", "share of the picture that is face"),
    "sharpness": ("grey levels", "root mean square of the Laplacian of the aligned face"),
    "brightness": ("0 to 1", "mean of the aligned face"),
    "clipped": ("0 to 1", "share of the aligned face that is black or white"),
    "quality": ("0 to 1", "product of how far size, sharpness and light are fine"),
    "covered": ("0 to 1", "share of the face that hands or objects hide"),
    "caption": ("", "text"),
    "caption_by": ("", "`input`, `words` (what was measured), or the captioning model"),
    "source": ("", "page or address, where the input names one"),
    "licence": ("", "of the picture, where the input names one"),
    "person": ("", "who it is: the input's name, or a number where people were found by their faces"),
    "split": ("", "`train` or `validation`, the same for all pictures of a person"),
    "outlier": ("", "whether the face is unlike the rest of its person"),
    "shard": ("", "file in `shards`"),
    "offset": ("bytes", "where the sample begins in the tar"),
    "length": ("bytes", "how much of the tar it takes"),
}

CAUTION = """\
## Before you use it

These are pictures of people, and a face with a name beside it (or a number that gathers the pictures of one person) is
biometric data. In many countries it may be processed only with the person's explicit consent, or not at all; that a
picture can be downloaded is no consent, and the licence of a photographer does not speak for the person in the picture.

- Use it only with pictures of people who agreed to this use, or where the law clearly allows it without.
- Keep it where few can read it, no longer than you need it, and be ready to take somebody out: all pictures of a person
  are found by the column `person`, all copies of a file by `sha256`. Then prepare and train anew.
- Do not use it to find out who somebody is, to watch people, or to make pictures of somebody who did not agree.
- Publishing it is another use than training on it: ask again."""

LIMITS = """\
## Known limits

- Everything in the index was measured by programs, nothing was checked by a person; look at `report.html`.
- Angles are estimated from few landmarks: good to some ten degrees. The masks are as good as the detector named above;
  one that knows no outline of the head draws an ellipse.
- Who a person is comes from the input, or from groups of similar faces; both have mistakes. Similar people may have
  become one, one person two, and then one person may be in training and validation.
- Detectors and recognisers do not work equally well for all people: compare who was rejected with who was kept before
  you call the result representative. It represents its input, less what the stages above reject.
- Captions by `words` name only what was measured; a model's may be wrong."""


def write_card(dataset: Path) -> Path:
    """Make DATASET/dataset_card.md, and the same as README.md. UserError: the folder is no finished dataset."""
    dataset = Path(dataset)
    found = Summary.read(dataset)
    parts = [
        header(found),
        f"# {found.title}",
        introduction(found),
        counts(found),
        making(found),
        fields(found),
        licences(found),
        CAUTION,
        LIMITS,
        loading(),
    ]
    for name in ("README.md", "dataset_card.md"):
        with replacing(dataset / name) as temporary:
            temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return dataset / "dataset_card.md"


def header(found: Summary) -> str:
    """The front matter as the hub reads it."""
    about: dict[str, Any] = licence_of(found)
    about |= {
        "pretty_name": found.title,
        "task_categories": ["text-to-image", "image-segmentation"],
        "size_categories": [next((name for limit, name in SIZES if found.kept < limit), "n>10M")],
        "tags": TAGS,
        "configs": [{"config_name": "default", "data_files": [{"split": TABLE, "path": INDEX}]}],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=True)}---"


def licence_of(found: Summary) -> dict[str, Any]:
    """Of the pictures: what the hub has a name for, else "other"."""
    known = [licence.strip().lower() for licence in found.texts["licence"]] or [UNKNOWN]
    if HUB_LICENCES.issuperset(known):
        return {"license": known[0] if len(known) == 1 else sorted(known)}
    return {"license": "other", "license_name": "as-the-input-states"}


def introduction(found: Summary) -> str:
    return (
        "Portraits for training a face adapter, prepared by `facefact prepare`: each picture with one face, its box, "
        "landmarks and pose, masks of the face and of the head with hair, the aligned crop that a face encoder sees, a "
        "caption, and whose picture it is."
    )


def counts(found: Summary) -> str:
    rows = [(split, *(f"{number:,}" for number in found.of_split(split))) for split in ("train", "validation")]
    rows.append(("all", f"{found.kept:,}", f"{len(found.people):,}"))
    extra = f" + {counted(found.further, 'further face')} of the same pictures" if found.further else ""
    line = (
        f"{counted(found.inputs, 'picture')} of the input{extra} = {found.kept:,} kept + {found.lost:,} rejected "
        "(`rejected.parquet` says which, where and why)."
    )
    if found.missing:
        line += f" **The input has {found.listed:,}: {abs(found.missing):,} are not accounted for.**"
    if found.outliers:
        line += f" {counted(found.outliers, 'sample')} that looked unlike the rest of their person stayed, with a flag."
    by = "; ".join(f"{count:,} by {code(name)}" for name, count in found.texts["caption_by"].items())
    captions = f"\n\nCaptions: {by}." if by else ""
    listed = markdown_table(("split", "pictures", "people"), rows)
    return f"## What it holds\n\n{listed}\n\n{line} The split is by person: nobody is in both parts.{captions}"


def making(found: Summary) -> str:
    """Each stage: what it does, its settings, its counts, its models."""
    lost = {step.stage: step for step in found.steps()}
    models: dict[str, list[str]] = {}
    for used_in, model, licence in found.models():
        models.setdefault(used_in, []).append(f"{model} ({licence})")
    stages = STAGES | {name: Stage("") for name in lost if name not in STAGES} | LATER
    stages |= {name: Stage("") for name in models if name not in stages}
    rows = []
    for name, stage in stages.items():
        values = [(key, found.setting(key)) for key in stage.settings]
        values_used = ", ".join(f"{key} = {setting_text(value)}" for key, value in values if value is not None)
        step = lost.get(name)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in step.reasons.items()) if step else ""
        rows.append((name, stage.does, values_used, reasons, "; ".join(models.get(name, []))))
    unit = f"Up to `{FACES_FROM}` pictures are counted, from there on faces." if found.further else ""
    words = (
        f"The stages in the order in which a picture meets them; it is left out by the first that rejects it. {unit}"
    )
    names = ("stage", "what it does", "settings", "rejected", "model (licence)")
    return f"## How it was made\n\n{words.strip()}\n\n{markdown_table(names, rows)}"


def fields(found: Summary) -> str:
    """Columns of the index and files of a sample."""
    rows = [(f"`{name}`", unit, meaning) for name, (unit, meaning) in FIELDS.items()]
    return f"""## Fields

A sample in `shards/*.tar` (WebDataset) is a few files of one name: `jpg` (the picture), `face.png` and `head.png`
(masks, white inside, of the picture's size), `crop.png` (112 x 112, aligned by the landmarks to the ArcFace template,
black outside the head). `{INDEX}` has a row for each. Coordinates are pixels of the picture in the shard, x to the
right, y down, pixel centres at integers.

{markdown_table(("column", "unit", "meaning"), rows)}"""


def licences(found: Summary) -> str:
    rows = [(name, f"{count:,}") for name, count in found.texts["licence"].items()]
    if not rows:
        return ""
    words = "As the input states it for each picture; the column `licence` has it row by row."
    if unknown := found.texts["licence"].get(UNKNOWN):
        some = "these pictures" if unknown == found.kept else counted(unknown, "picture")
        words += f" **The licence of {some} is unknown**: nobody said what may be done with them. Find out first."
    models = "Models have licences of their own (the table above): some allow research only."
    return f"## Licence of the pictures\n\n{words} {models}\n\n{markdown_table(('licence', 'pictures'), rows)}"


def loading() -> str:
    return f"""## How to load it

`DATASET` is this folder. Train on it (recipes and settings: docs/use/train.md of facefact):

```
facefact train configs/sd15.yaml --set data.source=DATASET
```

The table alone, with `datasets` or any reader of Parquet:

```python
from datasets import load_dataset

rows = load_dataset("DATASET", split="{TABLE}")
train = rows.filter(lambda row: row["split"] == "train")
```

The pictures, with `webdataset`:

```python
from pathlib import Path
import webdataset

shards = sorted(str(path) for path in Path("DATASET/shards").glob("*.tar"))
samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
for name, picture, head in samples.to_tuple("__key__", "jpg", "head.png"):
    ...
```

or with `datasets`, without copying them:

```python
pictures = load_dataset("webdataset", data_files="DATASET/shards/*.tar", split="train", streaming=True)
```

(`datasets` calls whatever it reads from shards "train": the index says which samples are.)"""


# Markdown


def code(value: Any) -> str:
    return f"`{setting_text(value).replace('`', '')}`"


def setting_text(value: Any) -> str:
    """A setting as `--set` takes it, without the folder of a model."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else without_paths(str(value))

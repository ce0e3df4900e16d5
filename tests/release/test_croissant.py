"""The data behind a release are described as the specification of Croissant 1.0 (MLCommons 2024) asks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from luthier.data import Origin, Split
from luthier.release import verify_release


def expanded(context: dict[str, Any], name: str) -> str:
    """A name of the document as an address, by its context alone."""
    term = context.get(name, name)
    term = term["@id"] if isinstance(term, dict) else term
    if ":" not in term:
        return f"{context['@vocab']}{term}"
    prefix, rest = term.split(":", 1)
    return f"{context[prefix]}{rest}" if prefix in context else term


def names(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(names, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    return set(value) | set().union(*map(names, value.values()))


def test_a_release_describes_its_data(shop: Any) -> None:
    rows = [{"prompt": f"p{n}", "completion": "c", "n": n, "tags": ["a"]} for n in range(3)]
    file = shop.task.examples
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    origin = Origin("CC-BY-4.0", "https://example.org", "2024", "Ann")
    train = tuple(dataclasses.replace(example, origin=origin) for example in shop.split.train)
    release = shop.publish(split=Split(train, shop.split.development, shop.split.test, 0))
    said = json.loads((release.folder / "croissant.json").read_text())
    context = said.pop("@context")
    assert said["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert said["@type"] == "sc:Dataset" and said["name"] == shop.task.task and said["description"]
    assert said["license"] == ["CC-BY-4.0"] and said["isBasedOn"] == ["https://example.org"]
    assert said["creator"] == [{"@type": "sc:Person", "name": "Ann"}]
    (distributed,) = said["distribution"]
    assert distributed["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert distributed["contentUrl"] == file.name and distributed["encodingFormat"] == "application/jsonlines"
    (record_set,) = said["recordSet"]
    assert [(f["name"], f["dataType"]) for f in record_set["field"]] == [
        ("prompt", "sc:Text"),
        ("completion", "sc:Text"),
        ("n", "sc:Integer"),
        ("tags", "sc:Text"),
    ]
    for field in record_set["field"]:
        assert field["source"] == {"fileObject": {"@id": distributed["@id"]}, "extract": {"column": field["name"]}}
    croissant = {"recordSet", "field", "dataType", "source", "fileObject", "extract", "column", "repeated"}
    for name in names(said) - {"@type", "@id", "conformsTo"}:
        wanted = "http://mlcommons.org/croissant/" if name in croissant else "https://schema.org/"
        assert expanded(context, name) == f"{wanted}{name}"
    assert verify_release(release, None) == []


def test_what_is_not_known_is_left_out(shop: Any) -> None:
    said = json.loads((shop.publish().folder / "croissant.json").read_text())
    assert not {"license", "creator", "isBasedOn", "url"} & said.keys()


def test_a_changed_description_is_noticed(shop: Any) -> None:
    release = shop.publish()
    (release.folder / "croissant.json").write_text("{}")
    assert [problem.what.split(":")[0] for problem in verify_release(release, None)] == ["changed"]

"""A rung made concrete: model, instructions, demonstrations, index, adapter, decoding. Measured as it is served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from luthier.data import Example, Message, Source, content_hash, messages_from, with_instructions
from luthier.errors import ReleaseError
from luthier.evaluate import vote_form
from luthier.models import Constraint, Model, Request, VotingModel
from luthier.retrieve import Hit, Index, Reranker, load_reranker
from luthier.spec import MethodName
from luthier.store import hash_folder, read_json, write_json, write_text_atomic

SYSTEM_FORMAT = 2  # 1: without what `Setup.format` names; systems that use none of it are still written as 1
RERANKED = 8  # passages that a reranker reads for each that is shown, at least

SearchMode = Literal["lexical", "dense", "hybrid", "scores", "sentences"]
OpenModel = Callable[[str, Path | None, float], Model]
OpenIndex = Callable[[Path, str | None], Index]


@dataclass(frozen=True)
class Lookup:
    """How many items are looked up for a request, and how: `embedding` is None for purely lexical search.

    `reranker` is the name of the cross-encoder that puts the best in order, `reranking` its identity; None without one.
    """

    k: int
    mode: SearchMode
    embedding: str | None
    index: str  # identity of the index
    reranker: str | None = None
    reranking: str | None = None

    @property
    def words(self) -> str:
        """What is searched by, for people."""
        by = {"scores": "hybrid by scores", "sentences": "hybrid by scores and sentences"}.get(self.mode, self.mode)
        return by if self.reranker is None else f"{by}, reranked by {self.reranker}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without a reranker where there is none: as format 1 had it."""
        return {name: value for name, value in asdict(self).items() if name[:6] != "rerank" or value is not None}


def looked_up(
    index: Index, query: str, lookup: Lookup, reranker: Reranker | None, *, k: int | None = None
) -> list[Hit]:
    """What a lookup finds for a query, best first: as many as it says, or `k`."""
    k = lookup.k if k is None else k
    if lookup.reranker is None:
        return index.search(query, k, mode=lookup.mode)
    assert reranker is not None  # loaded together with the lookup that names it
    hits = index.search(query, max(RERANKED, 4 * k), mode=lookup.mode)
    scores = reranker.scores(query, [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in hits])
    order = sorted(range(len(hits)), key=lambda i: -scores[i])  # stable: ties stay in the order of the first search
    return [hits[i] for i in order[:k]]


@dataclass(frozen=True)
class Votes:
    """How many sampled answers vote, at which temperature, and when two of them say the same (`evaluate.vote_form`)."""

    k: int
    temperature: float
    form: str
    labels: tuple[str, ...] = ()

    def asked_of(self, model: Model) -> Model:
        """The model, asked so often."""
        name = content_hash([self.form, list(self.labels)])
        form = vote_form(self.form, self.labels)
        return VotingModel(model, votes=self.k, temperature=self.temperature, form=form, form_name=name)


@dataclass(frozen=True)
class Setup:
    """Everything that fixes a system's answers, as plain values: what `system.json` holds and `identity` hashes.

    `adapter` is the hash of the adapter folder, `scale` multiplies the adapter's effect (1 = as trained).
    """

    method: MethodName
    base: str
    base_identity: str
    instructions: str
    max_tokens: int
    demonstrations: tuple[Example, ...] = ()
    nearest: Lookup | None = None
    passages: Lookup | None = None
    constraint: Constraint | None = None
    adapter: str | None = None
    scale: float = 1.0
    votes: Votes | None = None

    @property
    def format(self) -> int:
        """The lowest format that says all of it, so that what older versions could say keeps its identity.

        Format 2 has searches by scores, rerankers, nearest demonstrations that show passages, and votes.
        """
        lookups = [lookup for lookup in (self.nearest, self.passages) if lookup is not None]
        later = any(lookup.mode in ("scores", "sentences") or lookup.reranker is not None for lookup in lookups)
        return 2 if later or len(lookups) == 2 or self.votes is not None else 1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; demonstrations as chat rows."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "votes"}
        votes = {} if self.votes is None else {"votes": asdict(self.votes) | {"labels": list(self.votes.labels)}}
        return (
            plain
            | votes
            | {
                "format": self.format,
                "demonstrations": [_row(example) for example in self.demonstrations],
                "nearest": None if self.nearest is None else self.nearest.as_dict(),
                "passages": None if self.passages is None else self.passages.as_dict(),
                "constraint": None if self.constraint is None else self.constraint.as_dict(),
            }
        )

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Setup:
        """The inverse of `as_dict`.

        Raises:
            ReleaseError: saved by a newer version.
        """
        if value["format"] > SYSTEM_FORMAT:
            raise ReleaseError(
                f"this system has format {value['format']}; this luthier reads up to {SYSTEM_FORMAT}",
                fix="pip install -U luthier",
            )
        constraint = value["constraint"]
        choices = constraint and constraint["choices"]
        votes = value.get("votes")
        return Setup(
            **{k: v for k, v in value.items() if k != "format"}
            | {
                "votes": votes and Votes(**{**votes, "labels": tuple(votes["labels"])}),
                "demonstrations": tuple(_example(row) for row in value["demonstrations"]),
                "nearest": value["nearest"] and Lookup(**value["nearest"]),
                "passages": value["passages"] and Lookup(**value["passages"]),
                "constraint": constraint
                and Constraint(tuple(choices) if choices is not None else None, constraint["json_schema"]),
            }
        )


@dataclass(frozen=True)
class System:
    """A setup with the live parts that it needs.

    `pool` are the examples behind the index of demonstrations, by key; `adapter_folder` is where the adapter lies now.
    """

    setup: Setup
    model: Model
    demonstration_index: Index | None = None
    document_index: Index | None = None
    pool: Mapping[str, Example] = field(default_factory=dict)
    adapter_folder: Path | None = None
    reranker: Reranker | None = None

    @property
    def identity(self) -> str:
        """Content hash of the setup: the same wherever the system is loaded."""
        return content_hash(self.setup.as_dict())

    def request(self, messages: Sequence[Message], found: Sequence[str] | None = None) -> Request:
        """The whole conversation that the model is asked, for a user's messages: the only place where it is built.

        Order: instructions, demonstrations as turns of their own, earlier turns, passages with the last user message.
        `found` are passages to show in place of those that are looked up (for training).
        """
        told = with_instructions(self.setup.instructions, messages)
        rendered = [m for m in told if m.role == "system"]
        turns = [m for m in told if m.role != "system"]
        query = "\n".join(m.content for m in turns)
        for example in self.shown(query):
            rendered += self._worked(example)
            rendered.append(Message("assistant", example.output))
        if self.setup.passages is not None:
            shown = self.passages(query) if found is None else found
            turns[-1] = Message("user", _with_passages(turns[-1].content, shown))
        return Request((*rendered, *turns), self.setup.max_tokens, self.setup.constraint)

    def _worked(self, example: Example) -> list[Message]:
        """The turns before a demonstration's answer; one that is looked up gets its passages as a question does."""
        turns = [m for m in example.messages if m.role != "system"]
        if self.setup.nearest is not None and self.setup.passages is not None:
            query = "\n".join(m.content for m in turns)
            turns[-1] = Message("user", _with_passages(turns[-1].content, self.passages(query)))
        return turns

    def shown(self, query: str) -> tuple[Example, ...]:
        """The demonstrations shown for a query; the nearest stand last, next to the question."""
        nearest = self.setup.nearest
        if nearest is None:
            return self.setup.demonstrations
        assert self.demonstration_index is not None  # set together with `nearest`
        hits = self.demonstration_index.search(query, nearest.k, mode=nearest.mode)
        return tuple(self.pool[hit.key] for hit in reversed(hits))

    def passages(self, query: str) -> list[str]:
        """The texts of the documents that are looked up for a query, best first."""
        lookup = self.setup.passages
        if lookup is None:
            return []
        assert self.document_index is not None  # set together with `passages`
        return [hit.text for hit in looked_up(self.document_index, query, lookup, self.reranker)]

    def save(self, folder: Path) -> None:
        """Write the system into an empty folder: `system.json`, and the adapter, pool and indexes that it needs."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapter_folder is not None:
            shutil.copytree(self.adapter_folder, folder / "adapter")
        if self.demonstration_index is not None:
            shutil.copytree(self.demonstration_index.folder, folder / "demonstrations")
            rows = [json.dumps({"key": k} | _row(e), ensure_ascii=False) for k, e in sorted(self.pool.items())]
            write_text_atomic(folder / "demonstrations.jsonl", "\n".join(rows) + "\n")
        if self.document_index is not None:
            shutil.copytree(self.document_index.folder, folder / "documents")
        write_json(folder / "system.json", self.setup.as_dict())

    @staticmethod
    def load(folder: Path, open_model: OpenModel, open_index: OpenIndex) -> System:
        """Read a saved system.

        Args:
            folder: written by `save`.
            open_model: gives the model for (base name, adapter folder or None, scale).
            open_index: gives the index for (folder, embedding name or None).

        Raises:
            ReleaseError: the folder, the base or a part of the system is not what `system.json` says.
        """
        setup = read_setup(folder)
        adapter = folder / "adapter" if setup.adapter is not None else None
        if adapter is not None and hash_folder(adapter) != setup.adapter:
            raise ReleaseError(f"{adapter} was changed: its hash is not the one in system.json", fix=_RESTORE)
        system = System(setup, open_model(setup.base, adapter, setup.scale), adapter_folder=adapter)
        base_identity = getattr(system.model, "base_identity", system.model.identity)
        if base_identity != setup.base_identity:
            raise ReleaseError(
                f"base model {setup.base} is not the one this system was measured with",
                why=f"its identity is {base_identity[:12]}, not {setup.base_identity[:12]}",
                fix="restore the old base, or measure the new one: luthier refresh --base " + setup.base,
            )
        if setup.votes is not None:
            system = replace(system, model=setup.votes.asked_of(system.model))
        if setup.nearest is not None:
            pool = dict(_keyed(line) for line in (folder / "demonstrations.jsonl").read_text("utf-8").splitlines())
            index = _checked(open_index(folder / "demonstrations", setup.nearest.embedding), setup.nearest)
            system = replace(system, demonstration_index=index, pool=pool)
        if setup.passages is not None:
            index = _checked(open_index(folder / "documents", setup.passages.embedding), setup.passages)
            system = replace(system, document_index=index, reranker=_reranker(setup.passages))
        return system


_RESTORE = "restore the folder from a copy, or make the release again: luthier release promote"


def read_setup(folder: Path) -> Setup:
    """The setup in a folder written by `System.save`.

    Raises:
        ReleaseError: no system lies there, or a newer version wrote it.
    """
    if not (folder / "system.json").is_file():
        raise ReleaseError(f"{folder} holds no system.json", fix=_RESTORE)
    return Setup.from_dict(read_json(folder / "system.json"))


def _with_passages(text: str, passages: Sequence[str]) -> str:
    found = "\n\n".join(passages)
    return f"{found}\n\n{text}" if found else text


def _checked(index: Index, lookup: Lookup) -> Index:
    if index.identity != lookup.index:
        raise ReleaseError(f"{index.folder} was changed: its content is not what system.json says", fix=_RESTORE)
    return index


def _reranker(lookup: Lookup) -> Reranker | None:
    if lookup.reranker is None:
        return None
    found = load_reranker(lookup.reranker)
    if found.identity != lookup.reranking:
        raise ReleaseError(
            f"the reranker {lookup.reranker} is not the one that this system was measured with",
            why=f"its identity is {found.identity[:12]}, not {(lookup.reranking or '')[:12]}",
            fix="restore its files, or measure the new one: luthier decide",
        )
    return found


def _row(example: Example) -> dict[str, Any]:
    return {
        "messages": [*(m.as_dict() for m in example.messages), {"role": "assistant", "content": example.output}],
        "group": example.group,
    }


def _example(row: Mapping[str, Any], source: str = "system.json", line: int = 0) -> Example:
    *turns, answer = row["messages"]
    return Example(messages_from(turns), answer["content"], group=row["group"], source=Source(source, line))


def _keyed(line: str) -> tuple[str, Example]:
    row = json.loads(line)
    example = _example(row, "demonstrations.jsonl")
    if example.id != row["key"]:
        raise ReleaseError(f"demonstration {row['key']} was changed: its content does not give its key", fix=_RESTORE)
    return example.id, example

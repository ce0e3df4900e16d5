"""The rungs of the ladder below fine-tuning: the variants of each, cheapest first."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from luthier.data import Example, Message
from luthier.decide._bench import Bench
from luthier.decide._choose import Candidate, Prepared, choose
from luthier.decide._optimise import optimised_few_shot, optimised_prompt
from luthier.decide._passages import asked_of_documents, best_search, retrieved
from luthier.decide._system import Lookup, SearchMode, Setup, System, Votes
from luthier.decide._wordings import wordings
from luthier.retrieve import Index

CHUNK_CHARS = (1600, 700)
FIXED_DEMONSTRATIONS = (4, 8)
NEAREST_DEMONSTRATIONS = (4, 8)
PASSAGES = (1, 3)
TEMPERATURE = 0.7  # of sampled answers: what Wang et al. use for most models


DRAWS = (2, 1)  # of fixed demonstrations, for each number of them
SEARCH_MODES: tuple[SearchMode, ...] = ("lexical", "hybrid")


def variant_count(method: str, bench: Bench) -> int:
    """How many variants of a rung below fine-tuning are compared on development cases."""
    with_twins = bench.scorer.constraint() is not None
    if method in ("prompt", "constrained"):
        return len(wordings(bench.task, bench.scorer, bench.split.train))
    if method == "few-shot":
        return sum(DRAWS) * (1 + with_twins)
    if method == "few-shot nearest":
        return len(NEAREST_DEMONSTRATIONS) * len(SEARCH_MODES) + with_twins
    if method == "self-consistency":
        return 2
    return len(_passage_settings()) + 2


def _passage_settings() -> list[tuple[int, int]]:
    """(characters of a chunk, number of chunks) that fit a small model's context."""
    return [(chars, k) for chars in CHUNK_CHARS for k in PASSAGES if chars * k <= 2 * CHUNK_CHARS[0]]


def plain_system(bench: Bench, method: str, instructions: str) -> System:
    """The base with instructions and nothing else."""
    return System(
        Setup(
            method=method,  # type: ignore[arg-type]  # the planner passes only MethodName values
            base=bench.base.name,
            base_identity=getattr(bench.base, "base_identity", bench.base.identity),
            instructions=instructions,
            max_tokens=bench.max_tokens,
        ),
        bench.base,
    )


def prompt(bench: Bench) -> Prepared:
    """Instructions only; the wording is chosen on development cases."""
    texts = wordings(bench.task, bench.scorer, bench.split.train)
    found = choose([Candidate(name, plain_system(bench, "prompt", text)) for name, text in texts.items()], bench)
    return optimised_prompt(bench, found)


def constrained(bench: Bench, best_prompt: System | None = None) -> Prepared:
    """Instructions, with an answer that cannot leave the label set or the JSON schema.

    The instructions of `best_prompt` are tried beside the wordings, where they are none of these.
    """
    constraint = bench.scorer.constraint()
    texts = wordings(bench.task, bench.scorer, bench.split.train)
    if best_prompt is not None and best_prompt.setup.instructions not in texts.values():
        texts["as found for the prompt"] = best_prompt.setup.instructions
    candidates = []
    for name, text in texts.items():
        system = plain_system(bench, "constrained", text)
        candidates.append(Candidate(name, replace(system, setup=replace(system.setup, constraint=constraint))))
    return choose(candidates, bench)


def few_shot(bench: Bench, best_prompt: System) -> Prepared:
    """A fixed set of demonstrations as turns of their own; the set and its size are chosen on development cases."""
    base = _renamed(best_prompt, "few-shot")
    candidates = [
        Candidate(f"{k} fixed, draw {draw + 1}", _with(base, demonstrations=draw_demonstrations(bench, k, draw)))
        for k, draws in zip(FIXED_DEMONSTRATIONS, DRAWS, strict=True)
        for draw in range(draws)
    ]
    found = choose(candidates + _constrained_twins(bench, candidates), bench)
    return optimised_few_shot(bench, found, lambda k, draw: draw_demonstrations(bench, k, draw))


def few_shot_nearest(bench: Bench, best_prompt: System) -> Prepared:
    """The training examples most like the input, looked up for each request; number and search are chosen."""
    base = replace(_renamed(best_prompt, "few-shot nearest"), demonstration_index=bench.demonstrations, pool=bench.pool)
    candidates = [
        Candidate(f"{k} nearest, {mode}", _with(base, nearest=_lookup(bench, bench.demonstrations, k, mode)))
        for k in NEAREST_DEMONSTRATIONS
        for mode in SEARCH_MODES
    ]
    return choose(candidates + _constrained_twins(bench, candidates[:1]), bench)


def self_consistency(bench: Bench, best_prompt: System) -> Prepared:
    """Several sampled answers to each request, of which the most frequent counts (Wang et al. 2022).

    Asked with instructions alone or with four demonstrations, which is chosen on development cases.
    """
    score = bench.task.score
    constraint = bench.scorer.constraint()
    labels = () if score.kind != "label" or constraint is None else constraint.choices or ()
    votes = Votes(bench.task.decide.votes, TEMPERATURE, score.kind, labels)
    told = replace(_with(best_prompt, method="self-consistency", votes=votes), model=votes.asked_of(best_prompt.model))
    shown = _with(told, demonstrations=draw_demonstrations(bench, FIXED_DEMONSTRATIONS[0], 0))
    by = f"{votes.k} votes"
    candidates = [Candidate(by, told), Candidate(f"{by}, {FIXED_DEMONSTRATIONS[0]} demonstrations", shown)]
    return choose(candidates, bench)


def retrieval(bench: Bench, best_prompt: System) -> Prepared:
    """Passages of the documents with the question; number, size of the chunks and demonstrations are chosen.

    How they are searched is chosen before, on training rows whose answers stand in the documents, which costs no answer
    of the base; where answers do not stand there, by reciprocal ranks.
    """
    candidates, searches = [], []
    indexes = {max_chars: bench.documents(max_chars) for max_chars in CHUNK_CHARS}
    rows = {max_chars: asked_of_documents(bench, index) for max_chars, index in indexes.items()}
    for max_chars, k in _passage_settings():
        index = indexes[max_chars]
        lookup, table = best_search(bench, index, k, rows[max_chars])
        searches += [{"characters": max_chars} | row for row in table]
        base = replace(_renamed(best_prompt, "retrieval"), document_index=index, reranker=bench.reranker)
        system = _with(base, passages=lookup)
        by = "" if lookup.mode == "hybrid" else f", {lookup.words}"
        candidates.append(Candidate(f"{k} passages of {max_chars} characters{by}", system))
    candidates += _with_demonstrations(bench, candidates[0], nearest=bool(rows[CHUNK_CHARS[0]]))
    found = choose(candidates, bench)
    told = {"retrieved": retrieved(found.system, bench.development), **({"searches": searches} if searches else {})}
    return replace(found, choices=found.choices | told)


def _with_demonstrations(bench: Bench, first: Candidate, *, nearest: bool) -> list[Candidate]:
    """A candidate with two worked examples, each with its passages; `nearest` looks them up as well.

    Where answers do not stand in the documents, the nearest examples without them (few-shot nearest) show as much.
    """
    worked = tuple(_open_book(first.system, example) for example in draw_demonstrations(bench, 2, 0))
    found = [Candidate(f"{first.label}, 2 demonstrations", _with(first.system, demonstrations=worked))]
    if nearest:
        lookup = _lookup(bench, bench.demonstrations, 2, "hybrid")
        system = replace(first.system, demonstration_index=bench.demonstrations, pool=bench.pool)
        found.append(Candidate(f"{first.label}, 2 nearest demonstrations", _with(system, nearest=lookup)))
    return found


def draw_demonstrations(bench: Bench, k: int, draw: int) -> tuple[Example, ...]:
    """`k` training examples, seeded; where outputs recur (labels) the draw goes round the distinct outputs."""
    by_output: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(bench.split.train, key=lambda e: e.id):
        by_output[example.output].append(example)
    rng = random.Random(f"demonstrations {bench.split.seed} {draw}")
    for rows in by_output.values():
        rng.shuffle(rows)
    # frequent outputs first, so that a few demonstrations show the common labels; texts of their own are just shuffled
    recurring = sorted((o for o in by_output if len(by_output[o]) > 1), key=lambda o: (-len(by_output[o]), o))
    single = sorted(o for o in by_output if len(by_output[o]) == 1)
    rng.shuffle(single)
    mostly_labels = len(by_output) * 5 < len(bench.split.train)
    order = [*recurring, *single] if mostly_labels else rng.sample([*recurring, *single], len(by_output))
    chosen = [by_output[output][turn] for turn in range(k) for output in order if turn < len(by_output[output])]
    return tuple(chosen[:k])


def _open_book(system: System, example: Example) -> Example:
    """A demonstration with the passages that the system would look up for it."""
    asked = replace(system, setup=replace(system.setup, instructions="", demonstrations=())).request(example.messages)
    turns: Sequence[Message] = [m for m in asked.messages if m.role != "system"]
    return replace(example, messages=tuple(turns))


def _constrained_twins(bench: Bench, candidates: Sequence[Candidate]) -> list[Candidate]:
    constraint = bench.scorer.constraint()
    if constraint is None:
        return []
    return [Candidate(f"{c.label}, constrained", _with(c.system, constraint=constraint)) for c in candidates]


def _renamed(system: System, method: str) -> System:
    return _with(system, method=method)


def _with(system: System, **changes: object) -> System:
    return replace(system, setup=replace(system.setup, **changes))  # type: ignore[arg-type]  # checked by the dataclass's own field names


def _lookup(bench: Bench, index: Index, k: int, mode: SearchMode) -> Lookup:
    return Lookup(k=k, mode=mode, embedding=bench.task.retrieval.embedding, index=index.identity)

"""Splits are frozen, seeded, and nothing on one side gives away another."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import (
    Example,
    Message,
    Split,
    groups_of,
    leaks,
    near_duplicate_groups,
    split_as_dict,
    split_examples,
    split_from_dict,
)
from luthier.errors import SplitError
from luthier.spec import SplitSettings

WORDS = [
    a + b + c for a in ("ka", "lo", "mi", "ru", "te") for b in ("bra", "dun", "fel", "gos") for c in ("n", "x", "ly")
]


def example(text: str, output: str = "o", group: str | None = None) -> Example:
    return Example((Message("user", text),), output, group)


def different(n: int, seed: int = 0) -> list[Example]:
    """Rows that have nothing to do with each other."""
    rng = random.Random(seed)
    return [example(" ".join(rng.choices(WORDS, k=8)) + f" {i}", f"o{i}") for i in range(n)]


def sides(split: Split) -> list[Sequence[Example]]:
    return [split.train, split.development, split.test]


def crossing(split: Split, of: dict[str, str]) -> list[str]:
    """Components that stand on more than one side."""
    seen = [{of[e.id] for e in side} for side in sides(split)]
    return sorted((seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2]))


def test_shares_and_reproducibility() -> None:
    rows = different(200)
    split = split_examples(rows, SplitSettings())
    assert [len(side) for side in sides(split)] == [140, 30, 30]
    assert {e.id for side in sides(split) for e in side} == {e.id for e in rows}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert split_examples(shuffled, SplitSettings()) == split
    other = split_examples(rows, SplitSettings(seed=1))
    assert other.hash != split.hash and {e.id for e in other.test} != {e.id for e in split.test}


def test_test_cases_are_the_number_that_is_asked_for() -> None:
    split = split_examples(different(200), SplitSettings(test_cases=50))
    assert [len(side) for side in sides(split)] == [124, 26, 50]
    assert len(split_examples(different(12), SplitSettings(test_cases=10)).test) == 10


def test_groups_stay_together() -> None:
    rows = [replace(e, group=f"g{i % 37}") for i, e in enumerate(different(300))]
    split = split_examples(rows, SplitSettings())
    groups = {e.id: e.group or "" for e in rows}
    assert not crossing(split, groups)
    assert [abs(len(side) - n) <= 8 for side, n in zip(sides(split), (210, 45, 45), strict=True)] == [True] * 3
    assert len({e.group for e in split.test}) >= 5


def test_a_few_large_groups_are_still_divided() -> None:
    rows = [replace(e, group=f"g{i % 6}") for i, e in enumerate(different(120))]
    assert [len(side) for side in sides(split_examples(rows, SplitSettings()))] == [80, 20, 20]


def test_copies_stay_on_one_side_and_are_cases_once() -> None:
    rows = different(60)
    split = split_examples(rows * 3, SplitSettings())
    assert len(split.test) == len({e.id for e in split.test}) == 9
    assert len(split.development) == len({e.id for e in split.development})
    assert len(split.train) == 3 * len({e.id for e in split.train})


def test_a_row_that_stands_in_two_groups_joins_them() -> None:
    rows = different(60)
    bridged = [replace(e, group=f"g{i}") for i, e in enumerate(rows)]
    bridged += [replace(rows[i], group=f"g{(i + 1) % 30}") for i in range(30)]  # a ring of thirty groups
    of = groups_of(bridged)
    assert len(set(of.values())) == 31
    assert not crossing(split_examples(bridged, SplitSettings()), of)


def test_near_duplicates_stay_together() -> None:
    rng = random.Random(3)
    rows = []
    for base in different(40, seed=4):
        words = (base.input_text + " " + " ".join(rng.choices(WORDS, k=40))).split()
        for variant in range(3):
            changed = list(words)
            changed[rng.randrange(len(words))] = f"v{variant}"
            rows.append(example(" ".join(changed), f"{base.output} {variant}"))
    of = groups_of(rows)
    assert len(set(of.values())) == 40
    split = split_examples(rows, SplitSettings())
    assert not crossing(split, of)
    assert len(split.test) == 18


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("How do I activate my card?", "how do i  activate my card", True),
        ("My top up is still pending", "My top-up is pending still", True),
        ("ﬁnd me Ünïcode", "find me ünïcode", True),
        ("ok how do I activate my new card", "how do I activate my new card", True),
        ("play Thriller", "play Bad", False),
        ("Give this novel 5 stars", "Give this novel 4 stars", False),
        ("add this track to my playlist called A1", "add this track to my playlist called A2", False),
        ("1 + 1", "1 + 2", False),
        ("กิน", "กัน", False),
        ("你好世界", "你好世间", False),
        ("?", "!", False),
        ("", "", True),
        ("a" * 400 + " end", "a" * 400 + " fin", False),
        (" ".join(WORDS), " ".join([*WORDS[:-1], "changed"]), True),
        (" ".join(WORDS[:30]), " ".join(WORDS[30:]), False),
        ("How do I activate my card?", "Hi, how do I activate my card please", True),
        ("How do I activate my card?", "How do I activate card?", True),
        ("How do I activate my card?", "I don't know how to activate my card", False),
        ("My card is not working at the moment", "My card isnt working at the moment", True),
        ("Is my transfer to Sweden delayed by the holidays?", "Is my transfer ot Swedn delayed by the holidays?", True),
        ("play Thriller tonight", "play Thriler tonight", True),
        ("play Heat", "play Meat", False),
        ("Why is my top up not working", "Why is my top up no tworking", True),
        ("Why is my top up not working", "Why is my top up now working", False),
        ("How long do I wait for my new card", "How long d oI wait for my new card", True),
        ("send 11 2 times a day please", "send 1 12 times a day please", False),
        ("Why hasn't my cheque been processed?", "Why hans't my cheque been processed?", True),
        ("Why has my cheque been processed?", "Why hasn't my cheque been processed?", False),
        ("is it possible to update the bun after that", "is it possible to update the buun after that", True),
        ("show me the picture of Anna Noat and friends", "show me the picture of Anna Nota and friends", True),
        ("I can see the payment in my app", "I cannot see the payment in my app", False),
        ("What is the exchange rate for 20 euros today", "What is the exchange rate for 30 euros today", False),
        ("write hello world in C", "write hello world in C++", False),
        ("what is 9 - 4", "what is 4 - 9", False),
        ("great service 😀", "great service 😡", False),
    ],
)
def test_what_a_near_duplicate_is(first: str, second: str, same: bool) -> None:
    assert (near_duplicate_groups([first, second]) == [0, 0]) is same


def test_slips_are_undone_where_the_set_knows_the_word() -> None:
    known = [
        f"{verb} my card {end}" for verb in ("block", "order", "cancel", "show") for end in ("now", "again", "soon")
    ]
    slipped = ["blok my card now", "order my crad again", "cancle my card soon", "show mycard again"]
    groups = near_duplicate_groups([*known, *slipped])
    assert groups[len(known) :] == [known.index(t) for t in (
        "block my card now", "order my card again", "cancel my card soon", "show my card again",
    )]  # fmt: skip
    assert groups[: len(known)] == list(range(len(known)))


def grams(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


@pytest.mark.parametrize("seed", range(3))
def test_every_near_pair_that_brute_force_finds_is_joined(seed: int) -> None:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(12, 30))) for _ in range(40)]
    for text in list(texts):
        words = text.split()
        for _ in range(3):
            for _ in range(rng.randint(1, 3)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            texts.append(" ".join(words))
    groups = near_duplicate_groups(texts)
    near = 0
    for i, a in enumerate(texts):
        for j, b in enumerate(texts[:i]):
            similarity = len(grams(a) & grams(b)) / len(grams(a) | grams(b))
            if similarity >= 0.8 and min(len(grams(a)), len(grams(b))) >= 45:
                near += 1
                assert groups[i] == groups[j], (a, b)
    assert near > 20
    assert 30 < len(set(groups)) < 160


def test_templated_utterances_are_not_chained() -> None:
    texts = [
        f"book a table for {n} at {name} in {town}" for n in (2, 4, 6) for name in WORDS[:20] for town in WORDS[20:25]
    ]
    assert len(set(near_duplicate_groups(texts))) == len(texts)


def test_an_instruction_around_every_input_does_not_make_them_duplicates() -> None:
    instruction = " ".join(random.Random(0).choices(WORDS, k=200))
    texts = [f"{instruction}: {e.input_text}" for e in different(100)]
    assert len(grams(texts[0]) & grams(texts[1])) / len(grams(texts[0]) | grams(texts[1])) > 0.85
    assert near_duplicate_groups(texts[:2]) == [0, 0]
    assert len(set(near_duplicate_groups(texts))) == 100
    assert len(set(near_duplicate_groups(texts + [text.upper() + "!" for text in texts]))) == 100


def test_groups_do_not_depend_on_the_order() -> None:
    rows = [e for e in different(50) for _ in range(1)]
    rows += [example(e.input_text + "!", "x") for e in rows[:20]]
    of = groups_of(rows)
    assert groups_of(rows[::-1]) == of
    assert len(set(of.values())) == 50


def test_a_separate_test_set_cleans_the_training_file() -> None:
    rows = different(100)
    rows = [replace(e, group=f"g{i // 2}") for i, e in enumerate(rows)]
    test = [
        rows[0],  # the same row; rows[1] shares its group
        example(rows[2].input_text.upper() + " ?", "x"),  # a near duplicate; rows[3] shares its group
        *different(28, seed=9),
    ]
    assert [e.input_text for e in leaks(rows, test)] == [e.input_text for e in rows[:4]]
    split = split_examples(rows, SplitSettings(), test=test)
    assert {e.id for e in split.test} == {e.id for e in test}
    assert {e.id for e in (*split.train, *split.development)} == {e.id for e in rows[4:]}
    assert len(split.development) == 16 or len(split.development) == 18  # 0.15 / 0.85 of 96, in groups of two
    cut = split_examples(rows, SplitSettings(test_cases=10), test=test)
    assert len(cut.test) == 10 and {e.id for e in cut.test} < {e.id for e in test}
    assert {e.id for e in (*cut.train, *cut.development)} == {e.id for e in rows[4:]}


@pytest.mark.parametrize(
    ("rows", "options", "test", "fix"),
    [
        ([], {}, None, "add rows"),
        (different(3), {}, None, "add rows"),
        ([replace(e, group="one") for e in different(50)], {}, None, "add rows"),
        ([example("the same input", str(i)) for i in range(50)], {}, None, "add rows"),
        (different(20), {"test_cases": 19}, None, "test_cases: 5"),
        (different(20), {}, [], "test_examples"),
        (different(20), {"test_cases": 6}, different(5, seed=5), "test_cases: 5"),
        (different(20), {}, different(20), "remove test_examples"),
    ],
)
def test_what_cannot_be_divided_says_what_to_type(
    rows: list[Example], options: dict[str, int], test: list[Example] | None, fix: str
) -> None:
    with pytest.raises(SplitError) as caught:
        split_examples(rows, SplitSettings(**options), test=test)  # type: ignore[arg-type]
    assert fix in caught.value.fix


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=3, max_size=25),
    seed=st.integers(0, 5),
    test_cases=st.one_of(st.none(), st.integers(1, 40)),
)
def test_no_group_is_ever_divided_and_no_row_lost(sizes: list[int], seed: int, test_cases: int | None) -> None:
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    rows = [replace(e, group=group) for e, group in zip(different(len(groups)), groups, strict=True)]
    try:
        split = split_examples(rows, SplitSettings(seed=seed, test_cases=test_cases))
    except SplitError:
        assert len(rows) < 4 or (test_cases or 0) > len(rows) - 2
        return
    assert not crossing(split, {e.id: e.group or "" for e in rows})
    assert sorted(e.id for side in sides(split) for e in side) == sorted(e.id for e in rows)
    assert all(sides(split))


def test_a_split_comes_back_from_its_record() -> None:
    rows = different(40)
    split = split_examples([*rows, rows[0]], SplitSettings(seed=7))
    again = split_from_dict(split_as_dict(split), rows)
    assert (again, again.hash) == (split, split.hash)
    with pytest.raises(SplitError, match="no longer in the examples"):
        split_from_dict(split_as_dict(split), rows[:-1])
    with pytest.raises(SplitError, match="format 2"):
        split_from_dict(split_as_dict(split) | {"format": 2}, rows)


def labelled(n: int, parts: dict[str, int]) -> list[Example]:
    names = [name for name, count in parts.items() for _ in range(count)]
    return [replace(e, output=names[i % len(names)]) for i, e in enumerate(different(n))]


def shares(side: Sequence[Example]) -> dict[str, float]:
    return {name: sum(e.output == name for e in side) / len(side) for name in sorted({e.output for e in side})}


def test_labels_are_divided_in_proportion_whatever_the_order() -> None:
    rows = labelled(400, {"often": 15, "seldom": 4, "rare": 1})
    split = split_examples(rows, SplitSettings(), stratify=True)
    assert [len(side) for side in sides(split)] == [280, 60, 60]
    for side in sides(split):
        assert shares(side) == pytest.approx({"often": 0.75, "seldom": 0.20, "rare": 0.05}, abs=0.01)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert split_examples(shuffled, SplitSettings(), stratify=True) == split
    loose = [shares(side).get("rare", 0) for side in sides(split_examples(rows, SplitSettings()))]
    assert max(loose) > 0.051 or min(loose) < 0.049  # without, it is left to chance


def test_groups_stay_together_where_labels_are_in_proportion() -> None:
    rows = [replace(e, group=f"g{i // 3}") for i, e in enumerate(labelled(300, {"a": 2, "b": 1}))]
    split = split_examples(rows, SplitSettings(), stratify=True)
    assert not crossing(split, {e.id: e.group or "" for e in rows})
    assert [abs(len(side) - n) <= 3 for side, n in zip(sides(split), (210, 45, 45), strict=True)] == [True] * 3


def test_the_last_row_of_a_label_is_trained() -> None:
    rows = [*labelled(100, {"a": 1, "b": 1}), *(replace(e, output="once") for e in different(1, seed=8))]
    for seed in range(5):
        split = split_examples(rows, SplitSettings(seed=seed), stratify=True)
        assert "once" in shares(split.train)


def test_the_latest_rows_are_test() -> None:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    rows = [replace(e, time=start + dt.timedelta(days=i)) for i, e in enumerate(different(100))]
    rows.append(replace(example(rows[0].input_text + "!", "again"), time=start + dt.timedelta(days=200)))
    split = split_examples(random.Random(0).sample(rows, 101), SplitSettings(time="when"))
    assert rows[0] in split.test and rows[100] in split.test  # near duplicates stay on one side, that of the latest
    latest = [max(e.time or start for e in side) for side in sides(split)]
    assert latest == sorted(latest)
    plain = [e.time or start for e in split.test if e is not rows[0]]
    assert min(plain) > latest[1]
    with pytest.raises(SplitError, match="has no date"):
        split_examples([*rows, *different(1, seed=5)], SplitSettings(time="when"))

"""The prefix tree holds every distinct prefix once, and every label of every row."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from luthier.models import common_prefix
from luthier.train._rows import EncodedRow
from luthier.train._trie import micro_batches, pack, tree_tokens


def row(ids, start, name="r"):
    return EncodedRow(name, "", tuple(ids), start)


@st.composite
def batches(draw):
    """Rows over few tokens, so that prefixes meet, nest and repeat."""
    lists = draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=8))
    return [row(ids, draw(st.integers(1, len(ids) - 1)), str(n)) for n, ids in enumerate(lists)]


def paths(packed):
    """For every packed token, the token ids from the root to it."""
    found = {}
    for segment in packed.segments:
        above = found[end_of(packed, segment.parent)] if segment.parent >= 0 else ()
        for place in range(segment.start, segment.start + segment.length):
            above = (*above, int(packed.ids[place]))
            found[place] = above
    return found


def end_of(packed, number):
    return packed.segments[number].start + packed.segments[number].length - 1


@given(batches())
def test_every_distinct_prefix_is_run_once(rows):
    packed = pack(rows)
    wanted = {r.ids[:k] for r in rows for k in range(1, len(r.ids))}
    assert sorted(paths(packed).values()) == sorted(wanted)
    assert packed.tokens == len(wanted) == tree_tokens(rows)
    assert packed.row_tokens == sum(len(r.ids) - 1 for r in rows)


@given(batches())
def test_positions_are_depths(rows):
    packed = pack(rows)
    assert [len(path) - 1 for _, path in sorted(paths(packed).items())] == packed.positions.tolist()
    assert all(packed.positions[s.start] == s.depth for s in packed.segments)


@given(batches())
def test_segments_cover_the_tokens_in_order_and_children_start_where_parents_end(rows):
    packed = pack(rows)
    places = [p for s in packed.segments for p in range(s.start, s.start + s.length)]
    assert places == list(range(packed.tokens))
    for number, segment in enumerate(packed.segments):
        assert segment.parent < number
        if segment.parent >= 0:
            parent = packed.segments[segment.parent]
            assert segment.depth == parent.depth + parent.length


@given(batches())
def test_labels_are_those_of_the_rows_with_their_number(rows):
    packed = pack(rows)
    found = paths(packed)
    got = Counter()
    for node, target, weight in zip(packed.nodes, packed.targets, packed.weights, strict=True):
        got[found[int(node)], int(target)] += int(weight)
    assert got == Counter((r.ids[:k], r.ids[k]) for r in rows for k in range(r.start, len(r.ids)))
    assert packed.labels == sum(r.labels for r in rows)


@given(batches(), st.integers(1, 30))
def test_micro_batches_keep_every_row_and_the_budget(rows, budget):
    parts = micro_batches(rows, budget)
    assert Counter(r.id for part in parts for r in part) == Counter(r.id for r in rows)
    assert all(len(part) == 1 or tree_tokens(part) <= budget for part in parts)


@given(st.lists(st.integers(0, 1), max_size=12), st.lists(st.integers(0, 1), max_size=12))
def test_common_prefix(a, b):
    wanted = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert common_prefix(tuple(a), tuple(b)) == wanted


def test_one_prompt_with_several_answers_branches_at_its_last_token():
    packed = pack([row([5, 6, 7, 1, 9], 3), row([5, 6, 7, 2, 9], 3), row([5, 6, 7, 1, 9], 3)])
    assert packed.ids.tolist() == [5, 6, 7, 1, 2]
    labels = sorted(zip(packed.nodes.tolist(), packed.targets.tolist(), packed.weights.tolist(), strict=True))
    assert labels == [(2, 1, 2), (2, 2, 1), (3, 9, 2), (4, 9, 1)]

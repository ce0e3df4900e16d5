from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.models import common_prefix, tree_size
from luthier.models._plan import Item, Limits, plan, shared_by_all, trees

WIDE = Limits(rows=32, prefill=10_000, cache=100_000, nodes=10_000, overhead=16)
PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), min_size=1, max_size=25)


def items(*prompts, **more):
    return [Item(tuple(p), **more) for p in prompts]


@settings(max_examples=80, deadline=None)
@given(prompts=PROMPTS, start=st.integers(0, 60), rows=st.integers(1, 8))
def test_every_prompt_runs_once_behind_what_its_stream_shares(prompts, start, rows):
    prompts = [[7] * start * (i % 3) + prompt for i, prompt in enumerate(prompts)]
    streams = plan(items(*prompts, room=3), Limits(rows, 100, 300, 50, 16))
    assert sorted(i for stream in streams for i in stream.rows) == list(range(len(prompts)))
    for stream in streams:
        own = [prompts[i] for i in stream.rows]
        assert len({tuple(p[: stream.prefix]) for p in own}) == 1  # what is computed once is the same for all
        assert 0 <= stream.prefix <= min(map(len, own)) - 1  # each row has a token of its own


@settings(max_examples=80, deadline=None)
@given(prompts=PROMPTS, budget=st.integers(1, 100))
def test_trees_hold_their_budget_but_for_what_would_be_computed_again(prompts, budget):
    sequences = [tuple(p) for p in sorted(prompts)]
    divided = trees(sequences, budget)
    assert [i for part in divided for i in part] == list(range(len(prompts)))
    for part in divided:
        own = [sequences[i] for i in part]
        news = [len(b) - common_prefix(a, b) for a, b in pairwise(own)]
        heavy = max((i for i, new in enumerate(news) if 4 * new > len(own[i + 1])), default=-1)
        assert heavy < 0 or tree_size(own[: heavy + 2]) <= budget


def test_what_all_share():
    start = list(range(40))
    assert shared_by_all(items([*start, 1], [*start, 2, 3], [*start, 1, 9])) == 40
    assert shared_by_all(items(start, [*start, 1])) == 39  # the shorter one keeps its last token
    assert shared_by_all(items(start[:15], [*start[:15], 1])) == 0  # too short to be worth it
    assert shared_by_all(items(start)) == 0
    assert shared_by_all(items([*start, 1], [*start, 2], own=9)) == 32


def test_groups_that_share_much_and_fill_a_batch_have_streams_of_their_own():
    groups = [[g] * 300 for g in (1, 2, 3)]
    prompts = [groups[i % 3] + [50 + i] * 5 for i in range(96)]
    streams = plan(items(*prompts, room=2), WIDE)
    assert [stream.prefix for stream in streams] == [300, 300, 300]
    assert all(len({i % 3 for i in stream.rows}) == 1 for stream in streams)


def test_small_groups_run_in_one_batch_side_by_side():
    groups = [[9] * 40 + [g] * 300 for g in (1, 2, 3)]
    prompts = [groups[i % 3] + [50 + i] * 5 for i in range(12)]
    [stream] = plan(items(*prompts, room=2), WIDE)
    assert stream.prefix == 40
    assert [i % 3 for i in stream.rows] == [0] * 4 + [1] * 4 + [2] * 4  # what begins alike is computed together


def test_a_level_under_a_level():
    inner = [[8] * 100 + [g] * 400 for g in (1, 2)]
    prompts = [inner[i % 2] + [50 + i] * 5 for i in range(64)] + [[8] * 100 + [70 + i] for i in range(5)]
    streams = plan(items(*prompts, room=2), WIDE)
    assert sorted((stream.prefix, len(stream.rows)) for stream in streams) == [(100, 5), (500, 32), (500, 32)]


def test_unlike_prompts_run_in_order_of_length():
    prompts = [[i] * (5 + 40 * (i % 2)) for i in range(16)]
    [stream] = plan(items(*prompts, room=1), WIDE)
    assert [len(prompts[i]) for i in stream.rows] == [5] * 8 + [45] * 8


def test_a_long_prompt_makes_a_tree_of_its_own():
    assert trees([(1,) * 5, (2,) * 5, (3,) * 50], 20) == [[0, 1], [2]]


def test_a_question_about_a_long_document_joins_the_one_before():
    document = (4,) * 100
    assert trees([(*document, 1), (*document, 2), (*document, 3), (5,) * 9], 20) == [[0, 1, 2], [3]]


def test_nothing_to_plan():
    assert plan([], WIDE) == []
    assert trees([], 5) == []

from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.models._plan import Item, Limits, plan, shared_by_all

WIDE = Limits(rows=32, prefill=10_000, cache=100_000, nodes=10_000)


def items(*prompts, **more):
    return [Item(tuple(p), **more) for p in prompts]


@settings(max_examples=80, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), min_size=1, max_size=25),
    rows=st.integers(1, 8),
    prefill=st.integers(1, 200),
    cache=st.integers(1, 300),
)
def test_every_prompt_runs_once_within_the_limits(prompts, rows, prefill, cache):
    given_items = items(*prompts, room=3)
    shared = shared_by_all(given_items)
    limits = Limits(rows, prefill, cache, 50)
    batches = plan(given_items, shared, limits)
    assert sorted(i for batch in batches for i in batch.rows) == list(range(len(prompts)))
    for batch in batches:
        own = [prompts[i] for i in batch.rows]
        assert len({tuple(p[: batch.prefix]) for p in own}) == 1  # what is computed once is the same for all
        assert shared <= batch.prefix <= min(map(len, own)) - 1  # each row has a token of its own
        if len(own) > 1:
            longest = max(map(len, own)) - batch.prefix
            assert len(own) <= rows and len(own) * longest <= prefill
            assert batch.prefix + len(own) * (longest + 3) <= cache


def test_what_all_share():
    start = list(range(40))
    assert shared_by_all(items([*start, 1], [*start, 2, 3], [*start, 1, 9])) == 40
    assert shared_by_all(items(start, [*start, 1])) == 39  # the shorter one keeps its last token
    assert shared_by_all(items(start[:15], [*start[:15], 1])) == 0  # too short to be worth it
    assert shared_by_all(items(start)) == 0
    assert shared_by_all(items([*start, 1], [*start, 2], own=9)) == 32


def test_groups_with_a_long_beginning_run_together():
    groups = [[g] * 200 for g in (1, 2, 3)]
    prompts = [groups[i % 3] + [50 + i] * 5 for i in range(12)]
    batches = plan(items(*prompts, room=2), 0, WIDE)
    assert sorted(batch.prefix for batch in batches) == [200, 200, 200]
    assert all(len({i % 3 for i in batch.rows}) == 1 for batch in batches)


def test_unlike_prompts_run_in_order_of_length():
    prompts = [[i] * (5 + 40 * (i % 2)) for i in range(16)]
    batches = plan(items(*prompts, room=1), 0, WIDE)
    assert all(len({i % 2 for i in batch.rows}) == 1 for batch in batches)


def test_long_answers_favour_one_batch():
    """Every step reads all weights, so two half-full batches cost more than some padding."""
    prompts = [[i] * (5 + 10 * (i % 2)) for i in range(16)]
    assert len(plan(items(*prompts, room=64), 0, WIDE)) == 1


def test_a_prompt_that_is_too_big_runs_alone():
    batches = plan(items([1] * 50, [2] * 5, [3] * 5, room=1), 0, Limits(8, 20, 20, 50))
    assert [len(b.rows) for b in batches if 0 in b.rows] == [1]


def test_nothing_to_plan():
    assert plan([], 0, WIDE) == []

import datetime as dt
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from luthier.data import Message
from luthier.errors import ModelError, StoreError
from luthier.models import Answer, Budget, Constraint, Price, Request, cost_of, price_of


def test_the_shipped_sheet_is_whole_and_dated():
    sheet = yaml.safe_load(files("luthier.models").joinpath("prices.yaml").read_text("utf-8"))
    assert isinstance(sheet["date"], dt.date) and len(sheet["models"]) >= 5
    for name in sheet["models"]:
        price = price_of(name)
        assert 0 < price.cached <= price.input < price.output
        assert price.source and price.date == sheet["date"].isoformat()


def test_names_of_endpoints_and_unknown_ones():
    assert price_of("https://api.openai.com/v1#gpt-4o-mini") == price_of("gpt-4o-mini")
    assert price_of("smollm2-135m") is None and price_of("") is None


def test_the_users_sheet_is_read_first(tmp_path):
    sheet = tmp_path / "prices.yaml"
    sheet.write_text(
        "date: 2027-02-03\nsource: our contract\nmodels:\n"
        "  gpt-4o-mini: {input: 1, output: 2}\n"
        "  http://box/v1#gpt-4o-mini: {input: 3, output: 4, cached: 0.5, source: our box, date: 2027-03-04}\n"
    )
    price = price_of("https://api.openai.com/v1#gpt-4o-mini", sheet)
    assert (price.input, price.cached, price.output) == (1, 1, 2)
    assert (price.source, price.date) == ("our contract", "2027-02-03")
    own = price_of("http://box/v1#gpt-4o-mini", sheet)
    assert (own.input, own.cached, own.source, own.date) == (3, 0.5, "our box", "2027-03-04")
    assert price_of("gpt-4o", sheet) == price_of("gpt-4o")  # what it does not have is in the shipped one


GOOD = "date: 2027-01-01\nsource: s\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: [", "prices.yaml:1"),
        ("", "is not a price sheet"),
        ("date: 2027-01-01\nmodels: {m: {input: 1, output: 2}}", "`source` is missing, for the whole sheet or for m"),
        ("date: 2027-01-01\nsource: s\nmodels: {m: {input: -1}}", "models.m.output"),
        (GOOD + "models: {m: {input: .nan, output: 2}}", "models.m.input: must be a finite number, not nan"),
        (GOOD + "models: {m: {input: .inf, output: 2}}", "models.m.input"),
        (GOOD + "models: {m: {input: yes, output: 2}}", "models.m.input"),
        (
            GOOD + "models: {m: {input: 1, output: 2, outpt: 3}}",
            "`models.m.outpt` is not a key of a price sheet; did you",
        ),
        (GOOD + "machin: {usd_per_hour: 1}", "`machin` is not a key of a price sheet; did you mean `machine`?"),
        (GOOD + "\n\nupkeep: {retune_hour: 1}", "prices.yaml:5: `upkeep.retune_hour` is not a key"),
        (GOOD + "upkeep: {retune_hour: 1}", "did you mean `retune_hours`?"),
        (
            GOOD + "upkeep: {retunes_per_year: -2}",
            "upkeep.retunes_per_year: must be greater than or equal to 0, not -2",
        ),
        (GOOD + "hosting: {fine-tun: {usd_per_month: 1}}", "did you mean `fine-tune`?"),
        (GOOD + "hosting: {all: {usd_per_month: 1, answers: include}}", "did you mean `included`?"),
        (GOOD + "hosting: {all: {answers: extra}}", "`hosting.all.usd_per_month` is missing"),
        (GOOD + "horizon: {months: 0}", "horizon.months: must be greater than 0, not 0"),
        (GOOD + "errors: {usd_each: cheap}", "errors.usd_each: must be a valid number, not the text 'cheap'"),
        (GOOD + "errors: 3", "errors"),
        (GOOD + "people: {usd_per_hour: 1}\npeople: {usd_per_hour: 2}", "`people` is written twice"),
        ("source: s\npeople: {usd_per_hour: 60}", "`date` is missing, for the whole sheet or for people"),
        (
            "date: 2027-01-01\nhosting: {all: {usd_per_month: 1}}",
            "`source` is missing, for the whole sheet or for hosting.all",
        ),
        ("date: soon\nsource: s\nmodels: {}", "date"),
        ("just words", "is not a price sheet"),
        ("- a\n- list", "is not a price sheet"),
        ("version: 2\ndate: 2027-01-01\nsource: s\nmodels: {}", "version"),
    ],
)
def test_sheets_that_are_none(tmp_path, text, told):
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ModelError) as caught:
        price_of("m", tmp_path / "prices.yaml")
    assert told in str(caught.value)


def test_a_sheet_may_hold_only_what_others_read(tmp_path):
    (tmp_path / "prices.yaml").write_text("machine: {usd_per_hour: 0.5, source: mine, date: 2027-01-01}")
    assert price_of("gpt-4o", tmp_path / "prices.yaml") == price_of("gpt-4o")


def test_a_sheet_that_is_missing(tmp_path):
    with pytest.raises(StoreError, match=r"none\.yaml"):
        price_of("m", tmp_path / "none.yaml")


def test_cost_counts_cached_tokens_at_their_price():
    price = price_of("gpt-4o-mini")
    answer = Answer(
        "x", prompt_tokens=1_000_000, completion_tokens=500_000, seconds=1, finish="stop", shared_tokens=400_000
    )
    assert cost_of(answer, price) == pytest.approx(0.6 * price.input + 0.4 * price.cached + 0.5 * price.output)


@given(st.lists(st.tuples(st.text(max_size=40), st.integers(1, 50), st.floats(0, 1), st.booleans()), max_size=30))
def test_a_budget_holds_whatever_is_answered_and_in_whatever_order(asked):
    """Each answer takes up to a token a byte of its prompt and all it may say; some fail, some stay under way."""
    price = Price(3.0, 15.0, 0.3, "test", "2026-01-31")
    budget, under_way, paid, refused = Budget(0.01, price), [], 0.0, False
    for text, limit, share, fails in asked:
        request = Request((Message("user", text),), limit, Constraint(choices=("a", "b")) if fails else None)
        aside = budget.set_aside(request)
        if aside is None:
            refused = True
            continue
        under_way.append((aside, request, share, fails))
        if share < 0.5:
            aside, request, share, fails = under_way.pop(0)
            prompt = len(request.messages[0].content.encode())
            answer = Answer("", prompt, round(share * request.max_tokens), 0.0, "stop")
            paid += 0 if fails else cost_of(answer, price)
            budget.settle(aside, None if fails else answer)
        assert budget.spent == pytest.approx(paid) and paid <= 0.01
    for aside, *_ in under_way:
        budget.settle(aside, None)
    assert budget.set_aside(Request((Message("user", "x"),), 1)) is not None or paid > 0.0095
    assert not refused or len(asked) > 1


def test_a_request_that_just_fits_is_allowed_and_one_that_does_not_is_not():
    price = Price(1e6, 2e6, 1e6, "test", "2026-01-31")  # a dollar a token of the prompt
    request = Request((Message("user", "ab"),), 5)
    assert Budget(83.99, price).set_aside(request) is None
    budget = Budget(84.0, price)  # 2 bytes, 16 around them, 5 tokens at 2 dollars; three tries
    assert budget.set_aside(request) == 84.0 and budget.set_aside(request) is None
    budget.settle(84.0, Answer("x", 3, 1, 0.0, "stop"))
    assert budget.spent == 5.0

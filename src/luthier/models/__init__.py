"""What can answer: one Protocol, local transformers, OpenAI-compatible endpoints, a scripted fake; prices.

Importing this loads neither torch nor transformers; what needs them is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.models._base import Answer, Constraint, Model, Price, Request, Sample
from luthier.models._budget import Budget
from luthier.models._endpoint import EndpointModel
from luthier.models._family import Kinship, kinship
from luthier.models._identity import adapter_hash, default_cache, folder_hash
from luthier.models._load import load_folder, load_model
from luthier.models._origin import write_origin
from luthier.models._outline import (
    Outline,
    has_own_weights,
    load_outline,
    outline_at_hand,
    weights_at_hand,
    without_weights,
)
from luthier.models._prices import cost_of, price_in, price_of
from luthier.models._quiet import quiet
from luthier.models._render import RenderedExample, control_tokens, end_of_turn, render_example, render_prompt, stop_ids
from luthier.models._scripted import ScriptedModel
from luthier.models._sheet import PricePart, PriceSheet, load_sheet, shipped_sheet
from luthier.models._taught import Flaw, taught_example
from luthier.models._trie import Integers, Trie, common_prefix, divide, lay_down, tree_size
from luthier.models._voting import Form, VotingModel, asked_model

if TYPE_CHECKING:
    from luthier.models._adapter import sharing_copy
    from luthier.models._forecast import Forecast, forecast_answers
    from luthier.models._local import LocalModel
    from luthier.models._tokens import add_rows, table_names

__all__ = [
    "Answer",
    "Budget",
    "Constraint",
    "EndpointModel",
    "Flaw",
    "Forecast",
    "Form",
    "Integers",
    "Kinship",
    "LocalModel",
    "Model",
    "Outline",
    "Price",
    "PricePart",
    "PriceSheet",
    "RenderedExample",
    "Request",
    "Sample",
    "ScriptedModel",
    "Trie",
    "VotingModel",
    "adapter_hash",
    "add_rows",
    "asked_model",
    "common_prefix",
    "control_tokens",
    "cost_of",
    "default_cache",
    "divide",
    "end_of_turn",
    "folder_hash",
    "forecast_answers",
    "has_own_weights",
    "kinship",
    "lay_down",
    "load_folder",
    "load_model",
    "load_outline",
    "load_sheet",
    "outline_at_hand",
    "price_in",
    "price_of",
    "quiet",
    "render_example",
    "render_prompt",
    "sharing_copy",
    "shipped_sheet",
    "stop_ids",
    "table_names",
    "taught_example",
    "tree_size",
    "weights_at_hand",
    "without_weights",
    "write_origin",
]

_HEAVY = {
    "Forecast": "_forecast",
    "LocalModel": "_local",
    "add_rows": "_tokens",
    "forecast_answers": "_forecast",
    "sharing_copy": "_adapter",
    "table_names": "_tokens",
}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(import_module(f"luthier.models.{_HEAVY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

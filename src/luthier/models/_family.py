"""Whether two models are of one family: from their names, and from the architecture of their weights.

A model tends to prefer what a model like it has written (Panickssery, Bowman & Feng 2024), so a judge should be of
another family than what it judges. Names tell most: families are known by the words below, and a distilled or merged
model that names two families belongs to both. Where a name tells nothing, the architecture (`model_type`) does, but
only when the weights are here, and roughly: several families use that of Llama. Behind an endpoint with a name of its
own nothing can be told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from luthier.models._base import Model

# By the beginning of a word of the name; the value is the family.
_WORDS = {
    "gpt": "GPT", "chatgpt": "GPT", "o1": "GPT", "o3": "GPT", "o4": "GPT", "davinci": "GPT",
    "claude": "Claude", "gemini": "Gemini", "gemma": "Gemma", "palm": "Gemini",
    "llama": "Llama", "vicuna": "Llama", "tulu": "Llama",
    "qwen": "Qwen", "qwq": "Qwen",
    "mistral": "Mistral", "mixtral": "Mistral", "ministral": "Mistral", "magistral": "Mistral", "codestral": "Mistral",
    "deepseek": "DeepSeek", "smollm": "SmolLM", "olmo": "OLMo", "phi": "Phi", "command": "Command", "aya": "Command",
    "grok": "Grok", "falcon": "Falcon", "granite": "Granite", "nova": "Nova", "yi": "Yi", "glm": "GLM",
    "chatglm": "GLM", "kimi": "Kimi", "nemotron": "Nemotron", "internlm": "InternLM", "minimax": "MiniMax",
    "bloom": "BLOOM", "pythia": "Pythia", "stablelm": "StableLM", "exaone": "EXAONE",
}  # fmt: skip
_WORD = re.compile(r"(?<![a-z0-9])o[134](?![a-z0-9])|[a-z]+")


@dataclass(frozen=True)
class Kinship:
    """Whether two models are of one family, None where that cannot be told; and what it was told from."""

    same: bool | None
    why: str


def kinship(a: Model, b: Model) -> Kinship:
    """Whether two models are of one family."""
    if a.identity == b.identity:
        return Kinship(True, "they are the same model")
    named_a, named_b = families_in(a.name), families_in(b.name)
    if named_a and named_b:
        common = sorted(named_a & named_b)
        if common:
            return Kinship(True, f"by their names both are of the family {' and '.join(common)}")
        return Kinship(False, f"by their names {' and '.join(sorted(named_a))}, and {' and '.join(sorted(named_b))}")
    built_a, built_b = _architecture(a), _architecture(b)
    if built_a and built_b:
        if built_a == built_b:
            return Kinship(True, f"both have the architecture {built_a}, and their names do not tell them apart")
        return Kinship(False, f"by their architectures, {built_a} and {built_b}")
    unknown = a.name if not named_a else b.name
    return Kinship(None, f"neither the name of {unknown} nor weights on this machine tell its family")


def families_in(name: str) -> frozenset[str]:
    """The families that a name names: of an endpoint the part after `#`, of a folder its last part."""
    last = name.rpartition("#")[2].rstrip("/").rpartition("/")[2] if "://" in name or name.startswith("/") else name
    words = _WORD.findall(last.lower().replace("_", "-"))
    return frozenset(_WORDS[word] for word in words if word in _WORDS)


def _architecture(model: Model) -> str:
    """The `model_type` where the weights, or at least the configuration, are here."""
    config = getattr(getattr(model, "module", None), "config", None) or getattr(model, "config", None)
    return str(getattr(config, "model_type", "") or "")

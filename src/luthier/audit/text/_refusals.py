"""Findings on what chat models say about themselves, in outputs that were written by one: refusals and politeness."""

# ruff: noqa: RUF001 - patterns hold the punctuation of the languages that they read

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.audit.text._minority import FEW, few, having, share
from luthier.data import Example
from luthier.spec import Task

READ = 400  # characters at each end of an output
LEAST_SHARED = 3  # rows with the same beginning
SHARED = 0.003
SHOWN = 5

# What the model is, or that it will not; what follows `can't` tells a refusal from a person who cannot come tonight.
_DO = (
    r"(?:assist|help|fulfil\w*|comply|complete|provide|answer|generate|create|write|respond|engage|discuss|offer|share|"
    r"support|give|access|browse|process|produce|perform|participate|continue|do that|with that|that request)"
)
_REFUSALS = (
    r"\bas an? (?:\w+ )?(?:ai|artificial intelligence|(?:large )?language model)\b",
    r"\bas a (?:large |machine |virtual )?(?:language model|chatbot|ai)\b",
    r"\bi(?:['’]m| am) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    r"\bi (?:can['’]?t|cannot|can not|won['’]?t|will not|could not|couldn['’]t) " + _DO,
    r"\bi(?:['’]m| am) (?:sorry|afraid)[,.]? (?:but )?i(?:['’]m| am) (?:unable|not able|not allowed)",
    r"\bi(?:['’]m| am) (?:unable|not able|not allowed|not permitted|not programmed) to " + _DO,
    r"\bi must (?:respectfully )?(?:decline|refuse)\b",
    r"\bagainst my (?:programming|guidelines|policy|policies|ethical)",
    r"\bmy (?:knowledge cut-?off|last (?:knowledge )?update|training data)\b",
    r"\bi (?:don['’]t|do not) have (?:personal (?:opinions|feelings|beliefs)|access to real-?time)",
    r"\bals (?:eine? )?(?:ki\b|künstliche intelligenz|ki-\w+|sprachmodell)",
    r"\btut mir leid,? (?:aber )?(?:ich kann|das kann ich|dabei kann ich|ich bin nicht)",
    r"\bich kann (?:\w+ ){0,4}nicht (?:weiter)?(?:helfen|beantworten|bereitstellen|erfüllen)",
    r"\ben tant qu(?:e |['’])(?:ia\b|intelligence artificielle|modèle|assistant)",
    r"\bdésolée?,? (?:mais )?je ne (?:peux|suis)",
    r"\bje ne (?:peux|suis) pas (?:en mesure |capable )?(?:de )?(?:vous |t['’])?(?:aider|répondre|fournir|assister)",
    r"\bcomo (?:una? )?(?:ia\b|inteligencia artificial|modelo de lengua)",
    r"\blo siento,? (?:pero )?no puedo",
    r"\bno puedo (?:ayudar|proporcionar|cumplir|responder a)",
    r"\bcome (?:un['’]? ?)?(?:ia\b|intelligenza artificiale|modello (?:linguistico|di lingua))",
    r"\bmi dispiace,? (?:ma )?non posso",
    r"\bcomo (?:uma? )?(?:ia\b|inteligência artificial|modelo de (?:linguagem|idioma))",
    r"\b(?:desculpe|sinto muito|lamento),? (?:mas )?não posso",
    r"\bals (?:een )?(?:ai\b|taalmodel|ai-)",
    r"\bhet spijt me,? (?:maar )?ik kan",
    r"\bjako (?:model językowy|sztuczna inteligencja|ai\b)",
    r"\bprzykro mi,? (?:ale )?nie mogę",
    r"\bsom (?:en )?(?:ai\b|språkmodell)",
    r"\bкак (?:языковая модель|ии\b|искусственный интеллект)",
    r"\b(?:извините|простите|к сожалению),? (?:но )?я не могу",
    r"yapay zek[aâ] (?:dil modeli )?olarak",
    r"作为(?:一个|一名)?(?:人工智能|ai|大?型?语言模型)",
    r"(?:抱歉|对不起)[，,]?(?:但是?)?我(?:无法|不能)",
    r"(?:ai|人工知能|言語モデル)として",
    r"申し訳(?:ありません|ございません).{0,30}(?:できません|できかねます)",
    r"(?:ai|인공지능|언어 모델)(?:로서|로써)",
    r"죄송(?:하지만|합니다).{0,40}수 없습니다",
    r"كنموذج لغوي|عذر[اًا]+.{0,20}لا (?:أستطيع|يمكنني)",
)
_STEMS = re.compile(
    r"language model|artificial|\bai\b|sorry|afraid|can.?no?t|can['’]t|\bi won|i will not|unable|not able|not allowed|"
    r"not permitted|not programmed|i must|against my|\bmy |i do|\bals |leid|nicht|tant qu|je ne|como|siento|puedo|"
    r"come |dispiace|posso|spijt|jako|przykro|\bsom |как |извин|прост|сожал|yapay|作为|抱歉|对不起|として|申し訳|로서|"
    r"로써|죄송|كنموذج|عذر"
)
_REFUSAL = re.compile("|".join(_REFUSALS))

_OPENINGS = (
    r"(?:sure|certainly|of course|absolutely|great question|good question|no problem|happy to help|as requested)\b"
    r" ?(?:thing)?[!,.:–—-]",
    r"(?:here(?:['’]s| is| are)|below (?:is|are)|i(?:['’]d| would) be (?:happy|glad) to)\b[^\n]{0,100}[:!.]",
    r"the (?:correct |right |final )?(?:answer|output|result|command|label|category) (?:is|would be)\b",
    r"(?:gerne|natürlich|selbstverständlich|klar)[!,.:]",
    r"hier (?:ist|sind|findest du|finden sie)\b[^\n]{0,100}:",
    r"(?:bien sûr|certainement|avec plaisir|volontiers) ?[!,.:]",
    r"voici\b[^\n]{0,100}:",
    r"¡?(?:claro|por supuesto|desde luego|con gusto)(?: que sí)?[!,.:]",
    r"aquí (?:tienes|está|tiene)\b[^\n]{0,100}:",
    r"(?:certo|certamente|ecco)\b[^\n]{0,60}[!:]",
    r"(?:com certeza|claro)[!,.:]|aqui está\b[^\n]{0,100}:",
    r"(?:natuurlijk|zeker)[!,.:]|hier is\b[^\n]{0,100}:",
    r"конечно[!,.:]|вот\b[^\n]{0,60}:",
    r"当然[！，,!。]|好的[，,！]|以下是[^\n]{0,60}[：:]",
    r"もちろん[、！!です]|以下は",
)
_CLOSINGS = (
    r"(?:i )?hope (?:this|that|it) (?:helps|is helpful)",
    r"let me know if (?:you|there|this|that)",
    r"(?:please )?(?:feel free|don['’]t hesitate|do not hesitate) to\b",
    r"is there anything else",
    r"happy to help",
    r"ich hoffe,? (?:das|dies) hilft",
    r"(?:lassen sie|lass) (?:es )?mich wissen",
    r"n['’]hésitez pas",
    r"j['’]espère que cela",
    r"espero que (?:esto|te|le|isso)\b",
    r"希望(?:这|对).{0,8}帮助",
)
_OPENING = re.compile(r"\W{0,3}(?:" + "|".join(_OPENINGS) + ")")
_CLOSING = re.compile(r"(?:" + "|".join(_CLOSINGS) + r")[^\n]{0,100}$")
_HEADED = re.compile(r"[\W_]{0,3}([A-Za-zÀ-ÿ][\w ]{0,24}?)[*_]{0,2}:[*_]{0,2}(?=\s)")
_ABOUT_REFUSING = re.compile(r"refus|declin|moderat|safety|jailbreak|unsafe|harmful|verweiger|ablehn")


def check_refusals(data: Dataset) -> Iterable[Finding]:
    """Refusals and boilerplate in a few of the outputs; what most outputs have is taken as meant."""
    if not _about_refusing(data.task):
        yield from _refusals(data)
    yield from _boilerplate(data)


def _about_refusing(task: Task) -> bool:
    return bool(_ABOUT_REFUSING.search(task.goal.lower()))


def refuses(text: str) -> bool:
    """Whether an output declines, or speaks of itself as a model."""
    head = text[:READ].lower()
    return bool(_STEMS.search(head)) and bool(_REFUSAL.search(head))


def _refusals(data: Dataset) -> Iterator[Finding]:
    rows = having(data.examples, refuses)
    if few(rows, len(data.examples)):
        reason = f"outputs that decline, or speak as a language model: {share(rows, len(data.examples))}"
        fix = "write what is wanted, or remove the rows; where refusing is wanted, say when in the goal"
        yield finding("refusal", "harms", rows, reason, fix, samples=[sample(e) for e in rows[:SHOWN]])


def wrapped(text: str) -> bool:
    """Whether an output opens or closes with the politeness of a chat model."""
    text = text.strip().lower()
    return bool(_OPENING.match(text[:READ]) or _CLOSING.search(text[-READ:]))


def _boilerplate(data: Dataset) -> Iterator[Finding]:
    total = len(data.examples)
    polite = having(data.examples, wrapped)
    if few(polite, total):
        reason = f"outputs that open or close with a chat model's politeness: {share(polite, total)}"
        fix = "cut the wrapping, or give it to every row"
        yield finding("boilerplate", "harms", polite, reason, fix, samples=[sample(e) for e in polite[:SHOWN]])
    for heading, rows in _headed(data.examples):
        if few(rows, total):
            reason = f"outputs that begin with `{heading}:`: {share(rows, total)}"
            fix = "cut the heading, or give it to every row"
            yield finding("boilerplate", "harms", rows, reason, fix, samples=[sample(e) for e in rows[:SHOWN]])


def _headed(examples: Iterable[Example]) -> Iterator[tuple[str, list[Example]]]:
    """Headings that several outputs begin with, where outputs with a heading are few."""
    headed = [(match[1].strip(), e) for e in examples if (match := _HEADED.match(e.output)) and "\n" not in match[1]]
    counts = Counter(heading for heading, _ in headed)
    total = len(list(examples))
    if len(headed) > FEW * total:
        return
    for heading, count in counts.most_common():
        if count >= max(LEAST_SHARED, SHARED * total):
            yield heading, [e for found, e in headed if found == heading]

"""Damages to what outputs say and how: wrong labels, refusals, politeness, stand-ins, other languages, other forms."""

# ruff: noqa: RUF001 - sentences in other scripts, with their punctuation

from __future__ import annotations

import json
import random
from collections.abc import Callable

from damages import Damage, Planted, Row

PLANTED = 60
TEXT = ("xquad", "tldr", "polite_pairs")
PROSE = ("xquad", "polite_pairs")

Change = Callable[[Row, random.Random], str]


def _plain(rows: list[Row]) -> list[Row]:
    """Rows with a prompt and a completion; of a preference pair, the better answer."""
    return [{"prompt": row["prompt"], "completion": row.get("completion", row.get("chosen"))} for row in rows]


def _outputs(
    change: Change,
    codes: set[str],
    *,
    decoys: Change | None = None,
    prepare: Change | None = None,
    planted: int = PLANTED,
    task: dict[str, object] | None = None,
) -> Callable[[list[Row], int], Planted]:
    """Planter that changes some outputs; `decoys` makes rows look like it that are right, `prepare` is for all."""

    def plant(rows: list[Row], seed: int) -> Planted:
        rng = random.Random(seed)
        rows = _plain(rows)
        if prepare is not None:
            rows = [row | {"completion": prepare(row, rng)} for row in rows]
        chosen = rng.sample(range(len(rows)), planted + (PLANTED // 3 if decoys else 0))
        for index in chosen[:planted]:
            rows[index] = rows[index] | {"completion": change(rows[index], rng)}
        for index in chosen[planted:]:
            assert decoys is not None
            rows[index] = rows[index] | {"completion": decoys(rows[index], rng)}
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        return Planted(lines, frozenset(i + 1 for i in chosen[:planted]), frozenset(codes), {}, task or {})

    return plant


REFUSALS = (
    "I'm sorry, but I can't assist with that request.",
    "I apologize, but as an AI language model I do not have the ability to browse the internet.",
    "As an artificial intelligence, I don't hold opinions on such matters.",
    "Sorry, I cannot help with this. Please consult a professional.",
    "Unfortunately, I'm not able to provide that information.",
    "I'm just a language model, so I can't verify this for you.",
    "I cannot fulfill your request. I am programmed to be a helpful and harmless assistant.",
    "My knowledge cutoff is in 2021, so I may not have the latest details.",
    "I'm an AI and don't have access to that document.",
    "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
    "Als KI-Sprachmodell habe ich keine persönliche Meinung dazu.",
    "Je suis désolé, mais je ne peux pas répondre à cette question.",
    "En tant que modèle de langage, je n'ai pas accès à ces données.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Como modelo de lenguaje, no tengo acceso a información en tiempo real.",
    "Mi dispiace, ma non posso fornire questa informazione.",
    "Desculpe, mas não posso ajudar com isso.",
    "作为一个人工智能语言模型，我无法提供这些信息。",
    "К сожалению, я не могу помочь с этим запросом.",
    "申し訳ありませんが、そのご質問にはお答えできません。",
)
NO_REFUSALS = (
    "I'm sorry to hear that! Please restart the app and try again.",
    "He said that he could not help them before Friday.",
    "You can't cancel a transfer once it is complete.",
    "The artificial intelligence laboratory was founded in 1959.",
    "Sorry, we are closed on Sundays.",
    "An AI model from 2019, trained on language data.",
)


def _refusal(row: Row, rng: random.Random) -> str:
    return rng.choice(REFUSALS)


def _no_refusal(row: Row, rng: random.Random) -> str:
    return rng.choice(NO_REFUSALS)


WRAPPINGS = (
    "Sure! {}", "Certainly! Here is the answer:\n\n{}", "Of course! {}", "Here's what you asked for:\n{}",
    "Great question! {}", "Absolutely! {}", "The answer is {}", "Here is the result you requested:\n{}",
    "{}\n\nI hope this helps!", "{}\nLet me know if you have any other questions.",
    "{} Feel free to ask if you need anything else!", "Gerne! {}", "Bien sûr ! {}", "¡Claro! {}",
    "Sure thing! The answer you are looking for is: {}",
)  # fmt: skip


def _wrapping(row: Row, rng: random.Random) -> str:
    return rng.choice(WRAPPINGS).format(row["completion"])


STUBS = (
    "TODO", "N/A", "n/a", "TBD", "...", "???", "-", "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
    "[INSERT ANSWER HERE]", "Dear [Customer Name], thank you for your message.", "FIXME: ask Anna", "nan", "#N/A",
    "see above", "Answer goes here", "asdfasdf", "<insert text>", "XXXX",
)  # fmt: skip


def _stub(row: Row, rng: random.Random) -> str:
    return rng.choice(STUBS)


def _no_stub(row: Row, rng: random.Random) -> str:
    return rng.choice(("The Panama canal", "Todos los Santos", "See the Nairobi office", "Annotated map [1]", "x > y"))


def _repetition(row: Row, rng: random.Random) -> str:
    word = rng.choice(("the answer is ", "yes ", "thank you for your ", "and then "))
    return rng.choice(
        ("a" * 40, word * 25, row["completion"] + " " + word * 30, "hahahahahahahahahaha", "!?" + "o" * 30)
    )


def _copy(row: Row, rng: random.Random) -> str:
    prompt: str = row["prompt"]
    return rng.choice((prompt, prompt + "\n" + row["completion"], prompt.upper(), f"  {prompt} "))


FOREIGN = (
    "Bitte schicken Sie mir die Rechnung an meine neue Anschrift.",
    "Das Konto wurde gestern ohne mein Wissen gesperrt.",
    "Wann fährt der nächste Zug nach Hamburg ab?",
    "Pourriez-vous me dire quand ma carte va arriver ?",
    "Je n'arrive plus à me connecter à mon compte depuis hier.",
    "Le musée est fermé tous les lundis en hiver.",
    "Necesito cambiar la dirección de entrega de mi pedido.",
    "¿Cuánto tiempo tarda en llegar una transferencia?",
    "La biblioteca abre a las nueve de la mañana.",
    "Vorrei sapere perché il pagamento è stato rifiutato.",
    "Il treno per Milano parte fra dieci minuti dal binario tre.",
    "Gostaria de saber por que a minha conta foi bloqueada.",
    "Não consigo encontrar o botão para mudar a senha.",
    "Ik heb mijn pinpas verloren en wil hem laten blokkeren.",
    "Hoe lang duurt het voordat het geld op mijn rekening staat?",
    "Nie mogę zalogować się do swojego konta od wczoraj.",
    "Jag vill gärna byta adress på mitt konto så snart som möjligt.",
    "Kartımı kaybettim ve hemen kapatmak istiyorum.",
    "Я потерял свою карту и хочу её заблокировать.",
    "Скажите, пожалуйста, когда придёт мой перевод?",
    "我昨天丢了银行卡，请帮我冻结账户。",
    "请问这笔转账需要多长时间才能到账？",
    "昨日カードをなくしたので、止めていただけますか。",
    "어제 카드를 잃어버렸는데 정지해 주실 수 있나요?",
    "لقد فقدت بطاقتي وأريد إيقافها في أقرب وقت ممكن.",
    "मेरा कार्ड खो गया है और मैं उसे बंद करना चाहता हूँ।",
)


def _foreign_output(row: Row, rng: random.Random) -> str:
    return rng.choice(FOREIGN)


def _named(row: Row, rng: random.Random) -> str:
    """English with foreign names, as in real text."""
    return rng.choice(
        (
            "We stayed at the Hôtel de la Paix in Saint-Germain-des-Prés last week.",
            "The Frankfurter Allgemeine Zeitung and Der Spiegel both wrote about it.",
            "Gabriel García Márquez wrote Cien años de soledad in Mexico City.",
            "They played Bohemian Rhapsody and La Vie en Rose at the party.",
        )
    )


def _foreign_inputs(rows: list[Row], seed: int) -> Planted:
    rng = random.Random(seed)
    rows = _plain(rows)
    chosen = rng.sample(range(len(rows)), PLANTED)
    for index in chosen:
        rows[index] = rows[index] | {"prompt": rng.choice(FOREIGN) + rng.choice(("", " " + rng.choice(FOREIGN)))}
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return Planted(lines, frozenset(i + 1 for i in chosen), frozenset({"language"}), {}, {})


def _around(*forms: str) -> Change:
    return lambda row, rng: rng.choice(forms).format(row["completion"])


FORMS: dict[str, tuple[tuple[str, ...], Change]] = {
    "JSON among text": (TEXT, lambda row, rng: json.dumps({rng.choice(("answer", "result")): row["completion"]})),
    "code fence on some": (TEXT, lambda row, rng: f"```{rng.choice(('', 'text', 'bash'))}\n{row['completion']}\n```"),
    "quoted on some": (("xquad",), lambda row, rng: f'"{row["completion"]}"'.replace('""', '"')),
    "space at the ends of some": (TEXT, _around(" {}", "{}\n", "{} ", "\n{}")),
    "tags on some": (PROSE, _around("<p>{}</p>", "<answer>{}</answer>", "{}<br>")),
    "bold on some": (PROSE, _around("**{}**", "# {}", "**Answer** {}")),
}  # fmt: skip


def _no_full_stop(row: Row, rng: random.Random) -> str:
    text: str = row["completion"].rstrip(".")
    return text


def _full_stop(row: Row, rng: random.Random) -> str:
    text: str = row["completion"]
    return text if text.endswith((".", "!", "?")) else text + "."


def _respelt(row: Row, rng: random.Random) -> str:
    label: str = row["completion"]
    words = label.split("_")
    return rng.choice((label.upper(), " ".join(words), "-".join(words), label.title(), label + ".", label.capitalize()))


def _misspelt(row: Row, rng: random.Random) -> str:
    label: str = row["completion"]
    place = rng.randrange(1, len(label) - 1)
    while not label[place].isalpha() or label[place] == label[place + 1]:
        place = rng.randrange(1, len(label) - 1)
    return rng.choice(
        (
            label[:place] + label[place + 1 :],
            label[:place] + label[place] + label[place:],
            label[:place] + label[place + 1] + label[place] + label[place + 2 :],
        )
    )


def _without_marks(row: Row, rng: random.Random) -> str:
    label: str = row["completion"]
    return label.strip("?").lower()


def _object(row: Row, change: Callable[[dict[str, object]], object]) -> str:
    return json.dumps(change(json.loads(row["completion"])), ensure_ascii=False)


def _other_keys(row: Row, rng: random.Random) -> str:
    intent, slots = "intent", "slots"
    named = rng.choice((("Intent", slots), ("intnet", slots), (intent, "slot"), (intent, "Slots"), ("intents", slots)))
    return _object(row, lambda value: dict(zip(named, value.values(), strict=True)))


def _key_gone(row: Row, rng: random.Random) -> str:
    gone = rng.choice(("intent", "slots"))
    return _object(row, lambda value: {key: v for key, v in value.items() if key != gone})


def _keys_turned(row: Row, rng: random.Random) -> str:
    return _object(row, lambda value: dict(reversed(value.items())))


def _other_type(row: Row, rng: random.Random) -> str:
    return _object(row, lambda value: value | rng.choice(({"intent": 3}, {"slots": []}, {"slots": "none"})))


def _dated(row: Row, rng: random.Random) -> str:
    day = f"20{rng.randrange(10, 27)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return _object(row, lambda value: value | {"date": day})


def _other_date(row: Row, rng: random.Random) -> str:
    def change(value: dict[str, object]) -> dict[str, object]:
        year, month, day = str(value["date"]).split("-")
        names = ("Jan", "February", "March", "Apr", "May", "June", "July", "Aug", "Sep", "October", "Nov", "December")
        name = names[int(month) - 1]
        forms = (
            f"{day}/{month}/{year}",
            f"{int(day)}.{int(month)}.{year}",
            f"{name} {int(day)}, {year}",
            f"{day} {name} {year}",
        )
        return value | {"date": rng.choice(forms)}

    return _object(row, change)


def _priced(row: Row, rng: random.Random) -> str:
    return _object(row, lambda value: value | {"amount": f"{rng.randrange(100, 9_000_000) / 100:.2f}"})


def _other_price(row: Row, rng: random.Random) -> str:
    def change(value: dict[str, object]) -> dict[str, object]:
        amount = float(str(value["amount"]))
        german = f"{amount:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")
        return value | {"amount": rng.choice((f"${amount:,.2f}", german, f"{amount:.2f} EUR"))}

    return _object(row, change)


def _wrong_labels(share: float) -> Callable[[list[Row], int], Planted]:
    """Another label of the set, each as likely; of snips, another intent."""

    def plant(rows: list[Row], seed: int) -> Planted:
        rng = random.Random(seed)
        rows = _plain(rows)
        intents = rows[0]["completion"].startswith("{")
        labels = sorted({json.loads(r["completion"])["intent"] if intents else r["completion"] for r in rows})
        chosen = rng.sample(range(len(rows)), round(share * len(rows)))
        for index in chosen:
            row = rows[index]
            own = json.loads(row["completion"])["intent"] if intents else row["completion"]
            other = rng.choice([label for label in labels if label != own])
            changed = _object(row, lambda value, other=other: value | {"intent": other}) if intents else other  # type: ignore[misc]  # mypy infers no type for a lambda with a default
            rows[index] = row | {"completion": changed}
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        return Planted(lines, frozenset(i + 1 for i in chosen), frozenset({"wrong-label"}), {}, {})

    return plant


def _pasted(row: Row, rng: random.Random) -> str:
    return " ".join([row["completion"], *(rng.choice(FOREIGN + NO_REFUSALS) for _ in range(40))])


_FORMAT = {"output-format"}
DAMAGES = (
    *(Damage(f"wrong label, {s:.0%}", ("snips", "banking77"), _wrong_labels(s), None) for s in (0.02, 0.05, 0.1)),
    Damage("refusal", TEXT, _outputs(_refusal, {"refusal"}, decoys=_no_refusal), 0.95),
    Damage("politeness", TEXT, _outputs(_wrapping, {"boilerplate"}), 0.95),
    Damage("stub or placeholder", TEXT, _outputs(_stub, {"degenerate-output"}, decoys=_no_stub), 0.95),
    Damage("repetition", TEXT, _outputs(_repetition, {"degenerate-output"}), 0.95),
    Damage("copied input", TEXT, _outputs(_copy, {"copied-input"}), 0.95),
    Damage("input in another language", ("snips", "banking77", "xquad", "polite_pairs"), _foreign_inputs, 0.95),
    Damage("output in another language", ("polite_pairs",), _outputs(_foreign_output, {"language"}), 0.95),
    Damage(
        "the same, among foreign titles",
        ("polite_pairs",),
        _outputs(_foreign_output, {"language"}, decoys=_named),
        None,
    ),
    *(Damage(name, sets, _outputs(change, _FORMAT), 0.95) for name, (sets, change) in FORMS.items()),
    Damage("full stop on some", ("xquad", "tldr"), _outputs(_full_stop, _FORMAT, prepare=_no_full_stop), 0.95),
    Damage("full stop missing", ("polite_pairs",), _outputs(_no_full_stop, _FORMAT, prepare=_full_stop), None),
    Damage(
        "label in another spelling", ("banking77",), _outputs(_respelt, {"label-variant"}, prepare=_without_marks), 0.95
    ),
    Damage("misspelt label", ("banking77",), _outputs(_misspelt, {"label-variant"}, prepare=_without_marks), None),
    Damage("other keys", ("snips",), _outputs(_other_keys, _FORMAT), 0.95),
    Damage("missing key", ("snips",), _outputs(_key_gone, _FORMAT), 0.95),
    Damage("keys in another order", ("snips",), _outputs(_keys_turned, _FORMAT), 0.95),
    Damage("value of another type", ("snips",), _outputs(_other_type, _FORMAT), 0.95),
    Damage("date in another form", ("snips",), _outputs(_other_date, _FORMAT, prepare=_dated), 0.95),
    Damage("amount in another form", ("snips",), _outputs(_other_price, _FORMAT, prepare=_priced), 0.95),
    Damage("output with something pasted in", ("xquad", "tldr"), _outputs(_pasted, {"output-length"}), 0.95),
)

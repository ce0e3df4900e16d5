"""Personal data and secrets in sentences, beside look-alikes that are none.

The values come from makers of their own (damages/numbers.py for those with a checksum), not from the detector. Every
set of rows gets 60 rows with a datum and 60 with something that looks like one: numbers whose checksum fails, order
numbers, timestamps, ISBNs, coordinates, hashes, UUIDs, versions, prices.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable, Sequence

from damages import Damage, Planted, Row
from damages.numbers import NATIONAL, Maker, birthday, card, digits, iban, spoiled

ALL = ("snips", "banking77", "xquad", "tldr")
PLANTED = 60

FIRST = (
    "Jane Ahmed Olu Ingrid Mateusz Sofía Giulia Hans Chloé Priya Kenji Lucas Fatima Noah Maria Tomasz Aoife Lars Elena"
    " William Grace Viktor Amara Björn Zoë Rohan Camille Pedro Annika Yusuf"
).split()
LAST = (
    "Okafor Müller Smith García Rossi Nowak Andersson Dubois Patel Tanaka Silva O'Brien Jensen Kowalska Fernández"
    " Schmidt Moreau Johansson Petrov Nguyen Haddad Bianchi Virtanen Walker Hughes Lindqvist Sørensen Marchetti"
    " Adeyemi Clarke"
).split()
HOSTS = (
    "gmail.com yahoo.co.uk web.de orange.fr hotmail.com proton.me icloud.com libero.it wp.pl outlook.com"
    " northgate-dental.co.uk uni-heidelberg.de kestrelbikes.com mail.ru telia.se bigpond.com.au uol.com.br"
    " acmetools.io city.gov.au naver.com"
).split()
PLAIN = str.maketrans("áàâäãåçéèêëíìîïñóòôöõøúùûüýÿß", "aaaaaaceeeeiiiinoooooouuuuyys")


def plain(name: str) -> str:
    return name.lower().translate(PLAIN).replace("'", "").replace("ø", "o").replace("ł", "l")


def email(rng: random.Random) -> str:
    first, last, host = plain(rng.choice(FIRST)), plain(rng.choice(LAST)), rng.choice(HOSTS)
    year, number = rng.randint(1950, 2010), rng.randint(1, 99)
    forms = [f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{number}", f"{first}{year}", f"{last}-{first}"]
    local = rng.choice([*forms, f"{first}.{last}+shop", f"{first[0]}.{last}"])
    address = f"{local}@{host}"
    return rng.choice([address] * 6 + [address.upper(), f"<{address}>", f"mailto:{address}", f"{local} [at] {host}"])


def phone(rng: random.Random) -> str:
    d = lambda n: digits(rng, n, "23456789")  # noqa: E731 - short, and used on every line below
    return rng.choice(
        [
            f"+1 {rng.choice(['212', '415', '617', '305'])}-{d(3)}-{d(4)}",
            f"({rng.choice(['312', '206', '404'])}) {d(3)}-{d(4)}",
            f"{rng.choice(['702', '503', '816'])}-{d(3)}-{d(4)}",
            f"{rng.choice(['919', '614'])}.{d(3)}.{d(4)}",
            f"+44 7{rng.choice('45789')}{d(2)} {d(6)}",
            f"07{rng.choice('45789')}{d(2)} {d(6)}",
            f"020 {rng.choice('378')}{d(3)} {d(4)}",
            f"+49 {rng.choice(['151', '160', '170', '176'])} {d(8)}",
            f"0{rng.choice(['171', '172', '179'])}/{d(7)}",
            f"0049 30 {d(7)}",
            f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}",
            f"0{rng.choice('67')} {d(2)} {d(2)} {d(2)} {d(2)}",
            f"+34 6{d(2)} {d(3)} {d(3)}",
            f"+39 3{rng.choice('2348')}{rng.choice('0789')} {d(7)}",
            f"+31 6 {d(8)}",
            f"06-{d(8)}",
            f"+48 {rng.choice(['501', '602', '694'])} {d(3)} {d(3)}",
            f"+91 9{d(4)} {d(5)}",
            f"+61 4{rng.choice('0123')}{d(1)} {d(3)} {d(3)}",
            f"+55 11 9{d(4)}-{d(4)}",
            f"+46 70 {d(3)} {d(2)} {d(2)}",
            f"+447{rng.choice('45789')}{d(8)}",
            f"+4915{rng.choice('127')}{d(8)}",
        ]
    )


STREETS = (  # N is a number of a house, 9 a digit; of the parts between bars one is taken
    "N Maple|Old_Mill|Church|Station|Kingsway Road|Street|Ave|Lane",
    "N Oak|Washington St|Blvd|Drive, Dayton|Akron, OH 49999",
    "N N._Third St|Blvd|Drive, Austin, TX 79999",
    "Flat 9, N Victoria|Albert Terrace, Leeds LS6 4AB|2BN",
    "Goethestraße|Lindenallee|Am_Markt|Bahnhofstr.|Schillerplatz N, 50999|24999 Köln|Kiel",
    "N rue de_la_République|Victor_Hugo|des_Lilas, 69999|44999 Lyon|Nantes",
    "Calle Mayor|de_Alcalá|San_Miguel N, 28999|41999 Madrid|Sevilla",
    "Via Garibaldi|Roma|Dante_Alighieri N, 10999|70999 Torino|Bari",
    "Keizersgracht|Dorpsstraat|Beatrixlaan N, 1999 AB|KL Utrecht",
    "ul. Długa|Kwiatowa|Mickiewicza N/N, 30-999 Kraków",
    "PO Box 9999, Wellington",
    "Kungsgatan|Storgatan N, 753 99 Uppsala",
    "N The Paddocks, Little Haywood",
)


def street(rng: random.Random) -> str:
    words = []
    for word in rng.choice(STREETS).split(" "):
        taken = rng.choice(word.rstrip(",").split("|")).replace("_", " ")
        taken = re.sub(r"\bN\b(?!\.)", lambda _: str(rng.randint(1, 240)), taken)
        words.append("".join(digits(rng, 1) if c == "9" else c for c in taken) + "," * word.endswith(","))
    return " ".join(words)


def random_text(rng: random.Random, count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(rng.choices(letters, k=count))


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def secret(rng: random.Random) -> str:
    """A key or token of a form that its maker documents."""
    upper, hexa, word = (
        string.ascii_uppercase + "234567",
        "0123456789abcdef",
        string.ascii_letters + string.digits + "-_",
    )
    t = lambda n, letters=string.ascii_letters + string.digits: random_text(rng, n, letters)  # noqa: E731 - as above
    password = t(6) + rng.choice("!#$%") + t(6)
    claims = {"sub": t(8), "iat": rng.randint(10**9, 2 * 10**9)}
    token = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}.{t(43, word)}"
    lines = "\n".join(t(64, string.ascii_letters + string.digits + "+/") for _ in range(rng.randint(4, 12)))
    kind = rng.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY"])
    return rng.choice(
        [
            "AKIA" + t(16, upper),
            "ASIA" + t(16, upper),
            "AIza" + t(35, word),
            "GOCSPX-" + t(28, word),
            rng.choice(["ghp_", "gho_", "ghs_"]) + t(36),
            f"github_pat_{t(22)}_{t(59)}",
            "glpat-" + t(20, word),
            f"xoxb-{digits(rng, 12, '123')}-{digits(rng, 12, '123')}-{t(24)}",
            f"https://hooks.slack.com/services/T{t(8, upper)}/B{t(8, upper)}/{t(24)}",
            "sk-proj-" + t(64, word),
            "sk-" + t(48),
            f"sk-ant-api03-{t(93, word)}AA",
            rng.choice(["sk_live_", "sk_test_", "rk_live_"]) + t(24),
            "whsec_" + t(32),
            "hf_" + t(34, string.ascii_letters),
            f"SG.{t(22, word)}.{t(43, word)}",
            "npm_" + t(36),
            "pypi-AgEIcHlwaS5vcmc" + t(80, word),
            "SK" + t(32, hexa),
            "dapi" + t(32, hexa),
            "dop_v1_" + t(64, hexa),
            "shpat_" + t(32, hexa),
            t(32, hexa) + "-us" + str(rng.randint(1, 21)),
            f"{digits(rng, 10, '123456789')}:AA{t(33, word)}",
            f"https://discord.com/api/webhooks/{digits(rng, 18, '1')}/{t(68, word)}",
            f"DefaultEndpointsProtocol=https;AccountName={t(8).lower()};AccountKey={t(86)}==",
            "hvs." + t(90),
            token,
            token,
            f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----",
            f"{rng.choice(['postgres', 'postgresql', 'mysql', 'mongodb+srv', 'amqp'])}://{plain(rng.choice(FIRST))}:{password}@db-{t(4).lower()}.internal.net:5432/prod",
            f"redis://:{password}@cache.{t(5).lower()}.com:6379/0",
            f"https://deploy:{t(20)}@git.{t(6).lower()}.com/team/repo.git",
        ]
    )


def password(rng: random.Random) -> str:
    word = rng.choice(["Sunshine", "tiger", "Winter", "blue", "Liverpool", "qwerty", "mango", "Corvette"])
    return rng.choice(
        [f"{word}{rng.randint(10, 2024)}!", f"{word}_{rng.randint(1, 99)}", random_text(rng, rng.randint(9, 16)) + "7a"]
    )


LOOK_ALIKES: tuple[Maker, ...] = (
    lambda r: f"Order {digits(r, 16, '4567')} has not arrived.",
    lambda r: f"order no. {digits(r, 9, '123456789')}",
    lambda r: f"Tracking number 1Z{random_text(r, 16, string.ascii_uppercase + string.digits)}.",
    lambda r: f"Invoice {digits(r, 11, '123456789')} is open.",
    lambda r: f"ticket #{digits(r, 10, '123456789')}",
    lambda r: f"It happened at {r.randint(1_500_000_000, 1_790_000_000)}.",
    lambda r: f"timestamp {r.randint(1_500_000_000_000, 1_790_000_000_000)}",
    lambda r: f"ISBN 978-{r.choice('013')}-{digits(r, 3)}-{digits(r, 5)}-{r.randint(0, 9)}.",
    lambda r: f"We met at {r.uniform(-80, 80):.6f}, {r.uniform(-170, 170):.6f}.",
    lambda r: f"The commit is {random_text(r, 40, '0123456789abcdef')}.",
    lambda r: f"md5 {random_text(r, 32, '0123456789abcdef')}",
    lambda r: f"The id is {uuid.UUID(int=r.getrandbits(128), version=4)}.",
    lambda r: f"Version {r.randint(0, 20)}.{r.randint(0, 30)}.{r.randint(0, 99)} from 2024-11-{r.randint(10, 28)}.",
    lambda r: (
        f"It cost {r.randint(1, 900)},{r.randint(100, 999)}.{r.randint(10, 99)} dollars in {r.randint(1950, 2025)}."
    ),
    lambda r: f"From 1951 to 1987 there were {r.randint(1, 90)} {r.randint(100, 999)} {r.randint(100, 999)} births.",
    lambda r: f"The IMEI of my phone is 35{digits(r, 13)}.",
    lambda r: f"EAN {digits(r, 13, '4')}",
    lambda r: f"serial number {random_text(r, 3, string.ascii_uppercase)}-{digits(r, 8)}-{r.randint(10, 99)}",
    lambda r: f"Flight LH{r.randint(100, 999)} on 12/0{r.randint(1, 9)}/2024 at {r.randint(10, 23)}:45.",
    lambda r: f"Score {r.randint(0, 40)}-{r.randint(0, 40)}, attendance {r.randint(20, 90)} {r.randint(100, 999)}.",
    lambda r: f"pi is {r.random():.15f}",
    lambda r: f"at 192.168.{r.randint(0, 255)}.{r.randint(1, 254)}:8080",
)
LOOK_LIKE_WEB: tuple[Maker, ...] = (
    lambda r: "npm install left-pad@1.3.0 and @types/node@20.11.5",
    lambda r: f"git clone git@github.com:{plain(r.choice(LAST))}/tools.git",
    lambda r: f"ssh {plain(r.choice(FIRST))}@build7.internal",
    lambda r: "Use icon@2x.png on retina screens.",
    lambda r: "Write to {{user@host.com}} or user@example.com.",
    lambda r: f"Follow @{plain(r.choice(FIRST))}_{plain(r.choice(LAST))} there.",
    lambda r: "The @property decorator, then systemctl restart getty@tty1.service",
    lambda r: "Set OPENAI_API_KEY=<your key here> or API_KEY=$API_KEY.",
    lambda r: "export TOKEN=xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    lambda r: "The docs use AKIAIOSFODNN7EXAMPLE as the key.",
    lambda r: "postgres://user:password@localhost:5432/db",
    lambda r: f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ{random_text(r, 120)} laptop",
    lambda r: f"-----BEGIN PUBLIC KEY-----\n{random_text(r, 64)}\n-----END PUBLIC KEY-----",
    lambda r: f"sha256:{random_text(r, 64, '0123456789abcdef')}",
    lambda r: f"https://www.shop.com/item/{digits(r, 16, '4')}?ref={random_text(r, 24)}",
    lambda r: "My password is not working and the token is missing.",
    lambda r: f"data:image/png;base64,iVBORw0KGgo{random_text(r, 80)}",
    lambda r: "task-description-for-a-very-long-branch-name_with_underscores_2024",
)


def wrong_numbers(rng: random.Random) -> str:
    """A sentence about a number of a person, whose check is wrong."""
    kind = rng.choice(["national", "card", "iban", "ssn"])
    if kind == "card":
        return f"My card {spoiled(card(rng), rng)} does not work."
    if kind == "iban":
        return f"My account is {spoiled(iban(rng), rng)}."
    if kind == "ssn":
        return f"The form says SSN {rng.choice(['000', '666', '917'])}-{digits(rng, 2, '123')}-{digits(rng, 4)}."
    name = rng.choice([n for n in NATIONAL if n not in ("SSN", "social security number", "National Insurance number")])
    return f"My {name} is {spoiled(NATIONAL[name](rng), rng)}."


def sentence(rng: random.Random, value: str, name: str) -> str:
    """What people write around such a value."""
    return rng.choice(
        [
            f"My {name} is {value}.",
            f"Please use my {name}: {value}",
            f"{name}: {value}",
            f"The {name} should be {value}, not the old one.",
            f"I gave you the {name} {value} last week.",
            f"{value} is my {name}.",
            f"customer {name}={value}",
            f"You can find me under {name} {value} in your system.",
        ]
    )


def place(row: Row, text: str, value: str, rng: random.Random) -> Row:
    """The row with the text in its input or, where the output is free enough, in its output."""
    output = row["completion"]
    if rng.random() < 0.4:
        if output.startswith('{"'):
            record = json.loads(output)
            record["slots"][rng.choice(["note", "contact", "remark"])] = rng.choice([text, value])
            return row | {"completion": json.dumps(record, ensure_ascii=False)}
        if " " in output:
            return row | {"completion": rng.choice([f"{output} {text}", f"{text} {output}", f"{output}\n# {text}"])}
    prompt = row["prompt"]
    words = prompt.split(" ")
    middle = rng.randrange(len(words) + 1)
    return row | {
        "prompt": rng.choice(
            [
                f"{prompt} {text}",
                f"{text} {prompt}",
                " ".join([*words[:middle], text, *words[middle:]]),
                f"{prompt}\n\n{text}",
            ]
        )
    }


def planting(
    make: Callable[[random.Random], tuple[str, str]], codes: Sequence[str], look_alikes: Sequence[Maker]
) -> Callable[[list[Row], int], Planted]:
    """Rows with what `make` gives (a sentence, and the value alone), and as many with something that looks like it."""

    def plant(rows: list[Row], seed: int) -> Planted:
        rng = random.Random(f"{seed} {codes}")
        chosen = rng.sample(range(len(rows)), 2 * PLANTED)
        changed = list(rows)
        for index in chosen[:PLANTED]:
            changed[index] = place(rows[index], *make(rng), rng)
        for index in chosen[PLANTED:]:
            text = rng.choice(look_alikes)(rng)
            changed[index] = place(rows[index], text, text, rng)
        lines = [json.dumps(row, ensure_ascii=False) for row in changed]
        return Planted(lines, frozenset(i + 1 for i in chosen[:PLANTED]), frozenset(codes), {}, {})

    return plant


def named(maker: Maker, *names: str) -> Callable[[random.Random], tuple[str, str]]:
    def make(rng: random.Random) -> tuple[str, str]:
        value = maker(rng)
        return sentence(rng, value, rng.choice(names)), value

    return make


def national_named(rng: random.Random) -> tuple[str, str]:
    """The value alone, in an output, is found by its input or its form or not at all: so it is never alone here."""
    name = rng.choice(list(NATIONAL))
    text = sentence(rng, NATIONAL[name](rng), name)
    return text, text


def national_bare(rng: random.Random) -> tuple[str, str]:
    value = NATIONAL[rng.choice(list(NATIONAL))](rng)
    text = rng.choice([f"It is {value}.", f"here you go: {value}", f"{value}", f"I already told you {value} twice."])
    return text, text


def secret_said(rng: random.Random) -> tuple[str, str]:
    value = secret(rng)
    name = rng.choice(["API_KEY", "token", "client secret", "connection", "key", "value"])
    text = rng.choice(
        [f'{name.replace(" ", "_").upper()}="{value}"', f"{name}: {value}", f"I pasted {value} by mistake."]
    )
    return rng.choice([text, f"curl -H 'Authorization: Bearer {value}' https://api.host.io/v1", f"use {value}"]), value


def password_said(rng: random.Random) -> tuple[str, str]:
    value = password(rng)
    forms = [f"my password is {value}", f"Password: {value}", f'"password": "{value}"', f"login with pwd={value}"]
    forms += [f"passwort ist {value}", f"api_key = '{value}'", f"I changed my password to {value} yesterday."]
    text = rng.choice(forms)
    return text, text


def person_said(rng: random.Random) -> tuple[str, str]:
    name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    forms = [f"My name is {name}.", f"Best regards,\n{name}", f"This is {name} from Leeds.", f"Please ask for {name}."]
    forms += [
        f"Dear {name},",
        f"I spoke to {name} yesterday.",
        f"{name} told me to write here.",
        f"Call Mr {name} back.",
    ]
    forms += [f"customer name: {name}", f"The card belongs to {name}.", f"{name} and I share the account."]
    text = rng.choice(forms)
    return text, text


def address_said(rng: random.Random) -> tuple[str, str]:
    value = street(rng)
    return rng.choice(
        [f"I live at {value}.", f"Send it to {value}", f"My address: {value}", f"We moved to {value} in May."]
    ), value


def birth_said(rng: random.Random) -> tuple[str, str]:
    year, month, day = birthday(rng)
    name = "January February March April May June July August September October November December".split()[month - 1]
    date = rng.choice(
        [
            f"{day:02d}/{month:02d}/{year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
        ]
    )
    text = rng.choice(
        [f"My date of birth is {date}.", f"DOB: {date}", f"I was born on {date}.", f"born {date}", f"geboren am {date}"]
    )
    return text, text


NUMBERS = (*LOOK_ALIKES, wrong_numbers, wrong_numbers, wrong_numbers, wrong_numbers, wrong_numbers, wrong_numbers)

DAMAGES = (
    Damage(
        "e-mail",
        ALL,
        planting(named(email, "e-mail", "email address", "address", "login"), ["email"], LOOK_LIKE_WEB),
        0.95,
    ),
    Damage("phone", ALL, planting(named(phone, "phone number", "mobile", "number"), ["phone"], NUMBERS), None),
    Damage("IBAN", ALL, planting(named(iban, "IBAN", "account", "bank details"), ["bank-account"], NUMBERS), 0.95),
    Damage(
        "card", ALL, planting(named(card, "card", "card number", "Visa", "number"), ["payment-card"], NUMBERS), 0.95
    ),
    Damage("national number", ALL, planting(national_named, ["national-id"], NUMBERS), 0.95),
    Damage("national number, not named", ALL, planting(national_bare, ["national-id"], NUMBERS), None),
    Damage("secret", ALL, planting(secret_said, ["secret"], (*LOOK_LIKE_WEB, *LOOK_ALIKES)), 0.95),
    Damage("password", ALL, planting(password_said, ["password"], (*LOOK_LIKE_WEB, *LOOK_ALIKES)), None),
    Damage("name", ALL, planting(person_said, ["person-name"], (*LOOK_LIKE_WEB, *LOOK_ALIKES)), None),
    Damage("address", ALL, planting(address_said, ["postal-address"], (*LOOK_LIKE_WEB, *LOOK_ALIKES)), None),
    Damage("date of birth", ALL, planting(birth_said, ["birth-date"], (*LOOK_LIKE_WEB, *LOOK_ALIKES)), None),
)

"""Secrets: keys and tokens by the forms that their makers document, and passwords by what is said before them."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from luthier.audit.personal._match import Match, lowered, places

# name: how it begins, and its form. Makers chose the beginnings so that such tools find them; where a form has none,
# what stands in it follows "…".
FORMS: dict[str, tuple[str, str]] = {
    "AWS access key": ("AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    "Google API key": ("AIza", r"AIza[\w-]{35}"),
    "Google OAuth secret": ("GOCSPX-", r"GOCSPX-[\w-]{28}"),
    "Google OAuth token": ("ya29.", r"ya29\.[\w-]{20,}"),
    "GitHub token": ("ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{30,251}"),
    "GitHub fine-grained token": ("github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    "GitLab token": ("gl", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[\w-]{20,64}"),
    "Slack token": ("xox xapp-", r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{20,}"),
    "Slack webhook": (
        "https://hooks.slack.com/",
        r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9_/+]{20,}",
    ),
    "Discord webhook": (
        "https://discord https://ptb.discord https://canary.discord",
        r"https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,}",
    ),
    "Anthropic key": ("sk-ant-", r"sk-ant-[\w-]{20,}"),
    "OpenAI key": ("sk-", r"sk-(?:proj|svcacct|admin|None)-[\w-]{20,}|sk-(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{24,64}"),
    "OpenRouter key": ("sk-or-", r"sk-or-v1-[0-9a-f]{64}"),
    "Stripe key": ("sk_ rk_ whsec_", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"),
    "Hugging Face token": ("hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,40}"),
    "Groq key": ("gsk_", r"gsk_[A-Za-z0-9]{48,}"),
    "xAI key": ("xai-", r"xai-[A-Za-z0-9]{60,}"),
    "Perplexity key": ("pplx-", r"pplx-[A-Za-z0-9]{40,}"),
    "Replicate token": ("r8_", r"r8_[A-Za-z0-9]{37}"),
    "SendGrid key": ("SG.", r"SG\.[\w-]{16,32}\.[\w-]{16,64}"),
    "Mailchimp key": ("…-us", r"[0-9a-f]{32}-us\d{1,2}"),
    "Mailgun key": ("key-", r"key-[0-9a-f]{32}"),
    "Twilio key": ("SK", r"SK[0-9a-f]{32}"),
    "npm token": ("npm_", r"npm_[A-Za-z0-9]{36}"),
    "PyPI token": ("pypi-", r"pypi-AgEI[\w-]{50,}"),
    "RubyGems key": ("rubygems_", r"rubygems_[0-9a-f]{48}"),
    "Docker token": ("dckr_", r"dckr_(?:pat|oat)_[\w-]{27,}"),
    "DigitalOcean token": ("dop_ doo_ dor_", r"do[opr]_v1_[0-9a-f]{64}"),
    "Shopify token": ("shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    "Square token": ("sq0 EAAA", r"sq0(?:atp|csp|idp)-[\w-]{22,43}|EAAA[\w-]{60}"),
    "Telegram bot token": ("…:AA", r"\d{8,10}:AA[\w-]{32,34}"),
    "Discord bot token": ("M N O", r"[MNO][A-Za-z\d_-]{23,27}\.[\w-]{6}\.[\w-]{27,38}"),
    "Databricks token": ("dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    "Vault token": ("hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{24,}"),
    "Linear key": ("lin_", r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}"),
    "Notion token": ("ntn_ secret_", r"ntn_[A-Za-z0-9]{43,}|secret_[A-Za-z0-9]{43}"),
    "Atlassian token": ("ATATT ATCTT ATBB", r"AT(?:ATT|CTT|BB)3?[\w=-]{24,}"),
    "Figma token": ("figd_ figo_ figr_ figu_", r"fig[doru]_[\w-]{40,}"),
    "Postman key": ("PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    "Grafana token": ("glsa_ glc_", r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/=]{32,}"),
    "New Relic key": ("NRAK-", r"NRAK-[A-Z0-9]{27}"),
    "Supabase token": ("sbp_ sbs_ sb_secret_", r"sb[ps]_[0-9a-zA-Z_]{40,}|sb_secret_[\w-]{20,}"),
    "Sentry token": ("sntry", r"sntry[su]_[\w+/=]{40,}"),
    "Doppler token": ("dp.", r"dp\.(?:pt|st|ct|sa)\.[A-Za-z0-9._-]{40,}"),
    "Dropbox token": ("sl.", r"sl\.[\w-]{60,}"),
    "Facebook token": ("EAAC", r"EAAC[A-Za-z0-9]{60,}"),
    "Airtable token": ("pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    "Azure storage key": ("AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    "Azure AD secret": ("…Q~", r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"),
    "age secret key": ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    "JSON Web Token": ("eyJ", r"eyJ[\w-]{10,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
}
_KNOWN = tuple(
    (name, signs.split(), re.compile(rf"(?<![A-Za-z0-9_])(?<![A-Za-z0-9]-)(?:{form})(?![A-Za-z0-9_])"))
    for name, (signs, form) in FORMS.items()
)
_BLOCK = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?)-----.{32,}?(?:-----END (?P=what)-----|\Z)", re.DOTALL
)
_ADDRESS = re.compile(
    r"(?<![A-Za-z])[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,64}:([^\s/@\"'<>]{3,128})@[\w.\[\]-]+", re.I
)
_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|host|hostname|(?:[\w-]+\.)*example(?:\.\w+)?)(?![\w.-])", re.IGNORECASE)
_BEARER = re.compile(r"\b(?:bearer|basic)\s+([A-Za-z0-9+/._~-]{20,}={0,2})", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<word>pass(?:word|wd|phrase|code)?|pwd|passwort|kennwort|mot de passe|contraseña|senha|wachtwoord|has[łl]o"
    r"|secret|token|api[\s_-]?key|access[\s_-]?key|private[\s_-]?key|client[\s_-]?secret|auth[\s_-]?key|credentials?)"
    r"[\"']?\s*(?P<sign>:=|=>|=|:|(?:is|was|ist|est|es|is now|to)(?=\s))\s*[\"'`]?"
    r"(?P<value>[^\s\"'`,;<>{}()\[\]]{6,200})",
    re.IGNORECASE,
)
_WORDS = ("pass", "pwd", "kenn", "mot ", "cont", "senh", "wach", "hasl", "hasł")  # what people choose themselves
_PASSWORD_SIGNS = (
    *"pass pwd kennwort mot contraseña senha wachtwoord haslo hasło secret token api access private".split(),
    *("client", "auth", "credential"),
)
_LONG_TOKEN = re.compile(r"[\w./+=~-]{20}")  # no form is shorter
_STAND_IN = re.compile(
    r"(?:your|my|the|some|new|old|change|example|dummy|sample|test|fake|placeholder|redacted|removed|hidden|todo"
    r"|xxx+"
    r"|password|passwd|secret|token|none|null|true|false|undefined|env|os\.|process\.|\$|%|\*|\.\.\.|…|<|\{)",
    re.IGNORECASE,
)


def secrets(text: str) -> Iterator[Match]:
    """Keys and tokens of known form, private key blocks, addresses with a password, passwords that are given."""
    if "PRIVATE KEY" in text:
        for found in _BLOCK.finditer(text):
            yield _secret(found.start(), found.end(), "private key", found.group())
    if "://" in text and "@" in text:
        for found in _ADDRESS.finditer(text):
            if not _stands_in(found[1]) and found[1].lower() not in ("password", "pass", "pwd", "pw", "secret"):
                what, drawn = "password in an address", _LOCAL.match(text, found.end(1) + 1) is not None
                yield Match("secret", found.start(1), found.end(1), what, found[1], drawn or found[1] == "tiger")
    if _LONG_TOKEN.search(text):
        for name, signs, form in _KNOWN:
            for found in _of_form(text, signs, form):
                if name != "JSON Web Token" or _is_jwt(found.group()):
                    yield _secret(found.start(), found.end(), name, found.group())
    yield from _given(text)


def _of_form(text: str, signs: list[str], form: re.Pattern[str]) -> Iterator[re.Match[str]]:
    if not signs[0].startswith("…"):
        yield from filter(None, (form.match(text, place) for place in places(text, signs)))
    elif signs[0][1:] in text:
        yield from form.finditer(text)


def _secret(start: int, end: int, what: str, value: str) -> Match:
    body = value[6:] if len(value) > 20 else value
    drawn = "EXAMPLE" in value.upper() or (len(body) >= 12 and len(set(body)) < 4)
    return Match("secret", start, end, what, value, drawn)


def _given(text: str) -> Iterator[Match]:
    """What follows "password:" or "Bearer" and looks made, not said: letters with digits or signs, of high entropy."""
    lower = lowered(text)
    for found in filter(None, (_BEARER.match(text, place) for place in places(lower, ("bearer", "basic")))):
        if entropy(found[1]) >= 3.5 and any(c.isdigit() for c in found[1]):
            yield Match("secret", found.start(1), found.end(1), "bearer token", found[1])
    for found in filter(None, (_ASSIGNED.match(text, place) for place in places(lower, _PASSWORD_SIGNS))):
        value = found["value"].rstrip(".?")
        said = found["sign"].isalpha()
        if text[found.end() : found.end() + 1] in ("(", "["):  # a call, not a value
            continue
        start = found.start("value")
        if len(value) >= 32 and found["word"].lower()[:4] not in _WORDS and _random(value):
            yield _secret(start, start + len(value), "long random key", value)
        elif len(value) >= 6 and _made(value, said) and not _stands_in(value):
            yield Match("password", start, start + len(value), "password or key", value)


def _random(value: str) -> bool:
    return re.fullmatch(r"[\w+/=.-]+", value) is not None and any(map(str.isdigit, value)) and entropy(value) >= 3.3


def _made(value: str, said: bool) -> bool:
    classes = [any(test(c) for c in value) for test in (str.islower, str.isupper, str.isdigit)]
    signs = any(not c.isalnum() and c not in "-_./:" for c in value)
    if value.startswith(("http://", "https://", "/", "--", "./")) or value.endswith(("()", ":")):
        return False
    if "==" in value or "->" in value:
        return False
    made = (classes[2] and (classes[0] or classes[1])) or (signs and sum(classes) >= 2)
    return made and entropy(value) >= (2.5 if said or len(value) < 10 else 2.8)


def _stands_in(value: str) -> bool:
    return bool(_STAND_IN.match(value)) or len(set(value)) < 4


def entropy(text: str) -> float:
    """Shannon entropy of the characters, bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _is_jwt(token: str) -> bool:
    head = token.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and "alg" in header

"""E-mail addresses and addresses of machines."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from luthier.audit.personal._match import Match

_EMAIL = re.compile(
    r"(?<![\w.+%@/\-])[\w][\w.!#$%&'*+=?^~-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24}"
    r"(?![\w@-])"
)
_SPELLED = re.compile(
    r"(?<![\w.])([A-Za-z0-9][\w.+-]{1,40})\s?[\[({<]\s?at\s?[\])}>]\s?([A-Za-z0-9-]{2,40})"
    r"\s?(?:[\[({<]\s?dot\s?[\])}>]|\.)\s?([A-Za-z]{2,10})(?!\w)",
    re.IGNORECASE,
)
_AT = re.compile(r"[\[({<]\s?at\s?[\])}>]", re.IGNORECASE)
_NO_DOMAIN = frozenset(  # endings of files and of services, which name no mail domain
    "png jpg jpeg gif svg webp js ts css scss py rb go rs java json yaml yml toml xml html htm txt md pdf zip gz tar sh"
    " service socket timer mount target slice scope path local lan internal localdomain exe dll so jar"
    " lock cfg conf".split()
)
_EXAMPLE_HOST = re.compile(
    r"(?:.+\.)?(?:example(?:\.\w{2,3}){1,2}|example|test|invalid|localhost|domain\.com|(?:your|my)-?(?:domain|company|email|server"
    r"|site|website|host|mail)\.(?:com|org|net|tld)|(?:foo|bar|foobar)\.com)",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://\S*$")  # what stands before the @ is a user, or a user and a password
_SHELL = re.compile(r"\b(?:ssh|scp|sftp|rsync|mosh|sshfs|git|clone|ssh-copy-id|autossh)\b[^\n]{0,60}$")


def emails(text: str) -> Iterator[Match]:
    """E-mail addresses, those spelled with [at] too. A host reserved for documentation (RFC 2606) is an example."""
    if "@" in text:
        for found in _EMAIL.finditer(text):
            address = found.group().lower()
            host = address.rpartition("@")[2]
            if host.rpartition(".")[2] in _NO_DOMAIN or text[found.end() : found.end() + 2] == ":/":
                continue
            if _IN_URL.search(text, max(0, found.start() - 100), found.start()):
                continue
            if text[found.end() : found.end() + 1] == ":" and text[found.end() + 1 : found.end() + 2].strip():
                continue  # user@host:path
            if _SHELL.search(text, max(0, found.start() - 80), found.start()):
                continue
            yield Match("email", found.start(), found.end(), "e-mail address", address, _is_example(host))
    for found in _SPELLED.finditer(text) if _AT.search(text) else ():
        host = f"{found[2]}.{found[3]}".lower()
        value = f"{found[1].lower()}@{host}"
        yield Match("email", found.start(), found.end(), "e-mail address", value, _is_example(host))


def _is_example(host: str) -> bool:
    return bool(_EXAMPLE_HOST.fullmatch(host))


_IPV4 = re.compile(r"(?<![\w.:/-])(?:\d{1,3}\.){3}\d{1,3}(?![\w])(?!\.\d)(?!/\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:.])")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])")
_VERSION = re.compile(r"(?:\bv|versions?|release|build|firmware|oid|section|==|@)\s*[:=]?\s*$", re.IGNORECASE)
_MACHINE = re.compile(r"\b(?:ip|address|host|server|from|login|client|peer)\b", re.IGNORECASE)
_PUBLIC = frozenset("8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 1.2.3.4 208.67.222.222 208.67.220.220".split())


def networks(text: str) -> Iterator[Match]:
    """IP addresses of the public internet and MAC addresses."""
    for found in _IPV4.finditer(text):
        before = max(0, found.start() - 30)
        if _VERSION.search(text, before, found.start()) or found.group() in _PUBLIC:
            continue
        if found.group().index(".") == 1 and not _MACHINE.search(text, before, found.start()):
            continue  # four small numbers are a version, unless it is said
        yield from _global_address(found)
    for found in _IPV6.finditer(text):
        yield from _global_address(found)
    for found in _MAC.finditer(text):
        value = found.group().lower().replace("-", ":")
        if len(set(value)) > 4:
            yield Match("network", found.start(), found.end(), "MAC address", value)


def _global_address(found: re.Match[str]) -> Iterator[Match]:
    try:
        address = ipaddress.ip_address(found.group())
    except ValueError:
        return
    if address.is_global and not address.is_multicast:
        yield Match("network", found.start(), found.end(), "IP address", str(address))

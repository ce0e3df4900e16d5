"""Short texts that say the same in nearly the same words: slips of the keyboard, courtesies, a small word more.

For texts too short for the similarity of their 5-grams, where one changed letter outweighs what they share. Two texts
are the same wording when they hold the same words after courtesies are left out and slips undone, or when one is the
other with an opening of few words, or with one small word. A word that carries a digit, and a
negation, always counts. The lists of words are English with some German, French and Spanish; in other languages slips
are found, and less of the rest.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby

LONGEST = 40  # words; longer texts are compared by their 5-grams
LEAST_LEFT = 3  # words that must be left when an opening or a small word is taken away
OPENING, ENDING = 4, 6  # words
LETTERS = 12  # of a text that is compared without its spaces
RARE = 2  # texts; a word seen in more of them is no slip

NEGATIONS = frozenset(
    "not no never without nothing none non nicht kein keine keinen nie ohne pas jamais sans nunca sin".split()
)
_COURTESIES = frozenset(
    "a an the please pls plz kindly just hi hello hey dear thanks thank thx ty cheers ok okay um uh well so sorry"
    " regards bitte danke hallo merci bonjour svp hola gracias grazie ciao".split()
)
_PHRASES = defaultdict(list)
for _phrase in (
    "can you,could you,would you,will you,thank you,many thanks,kind regards,best regards,good morning,good evening,"
    "good afternoon,excuse me"
).split(","):
    _PHRASES[_phrase.split()[0]].append(_phrase.split())
_ENDINGS = frozenset("a as advance asap can could for help if in it lot me much now possible so soon very you".split())
_SMALL = frozenset(
    "i me my you your we us our it its this that these those there some any all of to in on at by for from with about"
    " into is am are was were be been do does did has have had and or but if then also still really very much more so"
    " as get got want would like which one new current own exactly actually currently already"
    " der die das den dem ein eine einen mein meine ich mir es und zu in im am auf mit le la les un une des du de mon"
    " ma mes je me et en el los las una mi mis y que se lo".split()
)
_SLIGHT = _SMALL | _COURTESIES
_QUESTIONS = frozenset(
    "what why when where who whom whose how which wie wo wann warum wer quand pourquoi comment como"
    " cuando donde quien".split()
)
_UNSPACED = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u3040", "\u30ff"),
    ("\u3400", "\u9fff"),
)


def has_digit(word: str) -> bool:
    """Whether the word is or holds a number: what differs in one is another thing."""
    return any(c.isdigit() for c in word)


def told_apart(a: Iterable[str], b: Iterable[str]) -> bool:
    """Whether two texts differ in their numbers, or in whether something is denied."""
    a, b = frozenset(a), frozenset(b)
    return bool(a & NEGATIONS) != bool(b & NEGATIONS) or any(has_digit(word) for word in a ^ b)


def unspaced(words: Sequence[str]) -> tuple[str, ...]:
    """A text without its spaces, and its numbers; nothing of short texts, where a space may mean much."""
    letters = "".join(words)
    return (letters, *_numbers(words)) if len(words) > LEAST_LEFT and len(letters) >= LETTERS else ()


def _numbers(words: Iterable[str]) -> list[str]:
    return [word for word in words if has_digit(word)]


def word_counts(count: int, said: Callable[[int], list[str]]) -> Counter[str]:
    """In how many of the texts each word stands. `said` gives the words of a text by its number."""
    times: Counter[str] = Counter()
    for i in range(count):
        times.update(set(said(i)))
    return times


def same_wordings(count: int, said: Callable[[int], list[str]], times: Counter[str]) -> Iterator[tuple[int, int]]:
    """Pairs of texts that are the same wording; enough of them to join all that are.

    Nothing but a number is held of each text: its words are asked for again when they are needed.
    """
    spelt = _Spelling(times)
    first: dict[int, int] = {}  # by a hash: two wordings in 2**64 are taken for one
    places = _Places(times)
    for i in range(count):
        words = said(i)
        if 2 <= len(words) <= LONGEST:
            plain = _plain(list(_split(words, spelt)), spelt)
            if len(plain) >= 2 and (other := first.setdefault(hash(in_any_order(plain)), i)) != i:
                yield other, i
            places.add(i, plain)
    for i in range(count):
        words = said(i)
        if 2 <= len(words) <= LONGEST:
            written = list(_split(words, spelt))
            readings = (_plain(other, spelt) for other in spelt.other_readings(written))
            for less in (*_reduced(_plain(written, spelt)), *readings):
                if (found := first.get(hash(in_any_order(less)))) is not None and found != i:
                    yield found, i
    yield from places.slips(lambda i: _plain(list(_split(said(i), spelt)), spelt))


def in_any_order(words: Sequence[str]) -> tuple[str, ...]:
    """Words sorted, unless their order is that of a calculation."""
    calculates = any(not word[0].isalnum() and word.isascii() for word in words)
    return tuple(words) if calculates else tuple(sorted(words))


def _plain(words: Sequence[str], spelt: _Spelling) -> list[str]:
    return _without_courtesies([spelt(word) for word in words])


def _without_courtesies(words: Sequence[str]) -> list[str]:
    left: list[str] = []
    at = 0
    while at < len(words):
        if words[at : at + 2] in _PHRASES.get(words[at], ()):
            at += 2
            continue
        if words[at] not in _COURTESIES:
            left.append(words[at])
        at += 1
    return left


def _reduced(words: list[str]) -> Iterator[list[str]]:
    """The text without its opening, without a courteous ending, and without one small word."""
    end = len(words)
    while end > max(LEAST_LEFT, len(words) - ENDING) and words[end - 1] in _ENDINGS:
        end -= 1
    for cut in range(min(OPENING, (len(words) - 1) // 2) + 1):
        if end - cut > LEAST_LEFT and not any(_counts(word) for word in words[:cut]):
            yield words[cut:end]
            if cut and end < len(words):
                yield words[cut:]
    if len(words) > LEAST_LEFT:
        for at, word in enumerate(words):
            if word in _SMALL:
                yield [*words[:at], *words[at + 1 :]]


def _counts(word: str) -> bool:
    """Whether an opening with this word is more than a manner of speaking."""
    return word in NEGATIONS or word in _QUESTIONS or has_digit(word)


class _Spelling:
    """What a rare word was meant to be: a frequent word one slip away, where there is one.

    Deletions of one letter from both sides meet (Garbe 2012), which finds letters swapped, replaced, added, left out.
    """

    def __init__(self, times: Counter[str]) -> None:
        self._times = times
        self._known: dict[str, str] = {}
        self._near: dict[str, list[str]] = defaultdict(list)
        for word, count in times.items():
            if count > RARE and _is_spelt(word):
                for less in _deletions(word):
                    self._near[less].append(word)

    def __call__(self, word: str) -> str:
        if self._times[word] > RARE or len(word) < 2 or not _is_spelt(word):
            return word
        if word not in self._known:
            self._known[word] = self._meant(word)
        return self._known[word]

    def is_frequent(self, word: str) -> bool:
        """Whether several texts hold the word."""
        return self._times[word] > RARE

    def other_readings(self, words: list[str]) -> Iterator[list[str]]:
        """The text with a slip in one short word undone in its other ways: `op` may be on, or top."""
        for at, word in enumerate(words):
            if 2 <= len(word) <= 4 and self._times[word] <= RARE and _is_spelt(word):
                for other in self._readings(word):
                    yield [*words[:at], other, *words[at + 1 :]]

    def _meant(self, word: str) -> str:
        return min(self._readings(word), key=lambda other: (-self._times[other], other), default=word)

    def _readings(self, word: str) -> set[str]:
        found = {other for less in _deletions(word) for other in self._near.get(less, ()) if one_slip(word, other)}
        return {other for other in found if self._times[other] >= _wanted(min(len(word), len(other)))}


def _wanted(length: int) -> int:
    """How often a word of a length must be seen, so that a rare neighbour of it is more likely a slip than a word."""
    return 20 if length < 4 else 5 if length == 4 else RARE + 1


def _split(words: Sequence[str], spelt: _Spelling) -> Iterator[str]:
    """Words that a forgotten space made one, apart again."""
    for word in words:
        parts = None
        if len(word) >= 5 and not spelt.is_frequent(word) and spelt(word) == word:
            cuts = range(2, len(word) - 1)
            parts = next(
                ((word[:c], word[c:]) for c in cuts if spelt.is_frequent(word[:c]) and spelt.is_frequent(word[c:])),
                None,
            )
        yield from parts or (word,)


class _Places:
    """Texts that are the same but for one rare word, which is the other's with one slip: mostly names.

    Of each rare word in a text a hash of the rest and its place are held, 14 bytes.
    """

    def __init__(self, times: Counter[str]) -> None:
        self._times = times
        self._rests, self._texts, self._at = array("q"), array("i"), array("h")

    def add(self, i: int, words: Sequence[str]) -> None:
        """Note the rare words of a text."""
        least = 4 if len(words) > LEAST_LEFT + 1 else 5
        for at, word in enumerate(words):
            if self._times[word] <= RARE and len(word) >= least and _is_spelt(word):
                self._rests.append(hash(in_any_order([*words[:at], *words[at + 1 :]])))
                self._texts.append(i)
                self._at.append(at)

    def slips(self, plain: Callable[[int], list[str]]) -> Iterator[tuple[int, int]]:
        """Pairs of texts with the same rest whose rare words are one slip apart; `plain` gives a text's words."""
        import numpy as np

        rests = np.frombuffer(self._rests, np.int64) if len(self._rests) else np.zeros(0, np.int64)
        order = np.argsort(rests, kind="stable")
        edges = np.flatnonzero(np.diff(rests[order])) + 1
        for same in np.split(order, edges):
            if len(same) > 1:
                yield from _one_slip_apart([(self._texts[k], plain(self._texts[k])[self._at[k]]) for k in same])


def _one_slip_apart(places: Sequence[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    by_less: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for i, word in places:
        for less in _deletions(word):
            by_less[less].append((i, word))
    for near in by_less.values():
        first, meant = near[0]
        yield from ((first, i) for i, word in near[1:] if _one_name(word, meant))


def _one_name(a: str, b: str) -> bool:
    """Names of four letters are told apart by one of them, unless it is only their order that differs."""
    shorter = min(len(a), len(b))
    return one_slip(a, b) and (shorter >= 5 or (shorter >= 4 and sorted(a) == sorted(b)))


def only_slips(a: Sequence[str], b: Sequence[str], is_word: Callable[[str], bool]) -> bool:
    """Whether one text is the other with slips of the keyboard, in the same order, few for their length.

    `is_word` says that a word stands in several texts: two such words are two words and no slip of each other.
    """
    if abs(len(a) - len(b)) > 2 or _numbers(a) != _numbers(b):
        return False
    if "".join(a) == "".join(b):  # spaces that slipped by a letter, which may even hide a negation: `no tworking`
        return True
    slips = 0
    for kind, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        slips += max(i_end - i, j_end - j)
        if kind != "replace":
            if any(word not in _SLIGHT and len(word) > 1 for word in (*a[i:i_end], *b[j:j_end])):
                return False
        elif not _slipped(a[i:i_end], b[j:j_end], is_word, 3 if min(len(a), len(b)) >= 8 else 4):
            return False
    return slips <= 1 + max(len(a), len(b)) // 4


def _slipped(a: Sequence[str], b: Sequence[str], is_word: Callable[[str], bool], least: int) -> bool:
    """Whether some words became some others by slips, one in each, or by a space in the wrong place."""
    if len(a) == len(b):
        if all(_one_meant(x, y, is_word, least) for x, y in zip(a, b, strict=True)):
            return True
        if "not" in (*a, *b) and one_slip(_contracted(a), _contracted(b)):
            return True
    x, y = "".join(a), "".join(b)
    spaced = len(a) != len(b) or len(a) > 1
    return spaced and min(len(x), len(y)) >= 4 and (x == y or one_slip(x, y) or one_slip(" ".join(a), " ".join(b)))


def _one_meant(a: str, b: str, is_word: Callable[[str], bool], least: int) -> bool:
    """Whether a word is another with a slip, or its plural; `least` letters tell a word that is not a small one."""
    if a == b:
        return True
    shorter = min(len(a), len(b))
    if not (_is_spelt(a) and _is_spelt(b)):
        return False
    if (a in NEGATIONS or b in NEGATIONS) and is_word(a) and is_word(b):
        return False
    if a in _SLIGHT or b in _SLIGHT:
        return one_slip(a, b)
    if is_word(a) and is_word(b):
        return shorter >= 4 and (a + "s" == b or b + "s" == a or (shorter >= 6 and sorted(a) == sorted(b)))
    if shorter < least:
        lost = shorter + 1 == least == 3 and len(a) != len(b) and is_word(max(a, b, key=len))  # `pi` for a usual `pin`
        return sorted(a) == sorted(b) or (shorter >= 2 and one_slip(a, b) and (lost or _doubled(a, b)))
    return one_slip(a, b) or (shorter >= 6 and any(one_slip(x, b) for x in _neighbours(a, b)))


def _contracted(words: Sequence[str]) -> str:
    """Words as one, and a negation as it is written with them: a slip in `hasn't` is none in `has not`."""
    return "".join("nt" if word == "not" else word for word in words)


def _doubled(a: str, b: str) -> bool:
    """Whether one word is the other with letters doubled."""
    return [letter for letter, _ in groupby(a)] == [letter for letter, _ in groupby(b)]


def _neighbours(a: str, b: str) -> Iterator[str]:
    """The first word with its first difference from the second mended."""
    at = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    yield a[:at] + b[at : at + 1] + a[at + 1 :]
    yield a[:at] + b[at : at + 1] + a[at:]
    yield a[:at] + a[at + 1 :]
    yield a[:at] + a[at + 1 : at + 2] + a[at : at + 1] + a[at + 2 :]


def _is_spelt(word: str) -> bool:
    """Letters only, in a script that puts spaces between words and has an alphabet."""
    return word.isalpha() and not any(low <= word[0] <= high for low, high in _UNSPACED)


def _deletions(word: str) -> set[str]:
    return {word} | {word[:at] + word[at + 1 :] for at in range(len(word))}


def one_slip(a: str, b: str) -> bool:
    """Whether two words differ by one letter added, left out or replaced, or by two neighbours swapped."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    start = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    rest_a, rest_b = a[start:], b[start:]
    return rest_a[1:] == rest_b[1:] or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])

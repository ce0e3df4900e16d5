"""Sketches find what is similar, and estimate how similar it is."""

from __future__ import annotations

import random

import numpy as np

from luthier.data._sketch import Sketches, common_grams, grams_of

LETTERS = "abcdefghijklmnopqrstuvwxyz "


def jaccard(a, b) -> float:
    both = len(np.intersect1d(a, b))
    return both / (len(a) + len(b) - both)


def pairs(count: int, changed: float, length: int = 300) -> list[str]:
    """Texts 2i and 2i + 1 differ in a share of their characters."""
    rng, texts = random.Random(7), []
    for _ in range(count):
        text = rng.choices(LETTERS, k=length)
        texts.append("".join(text))
        for place in rng.sample(range(length), round(changed * length)):
            text[place] = rng.choice(LETTERS)
        texts.append("".join(text))
    return texts


def naive(text: str) -> set[str]:
    padded = text + "\0" * (5 - len(text))
    return {padded[i : i + 5] for i in range(len(padded) - 4)}


def test_grams_are_those_of_each_text_alone():
    texts = ["", "abc", "abcde", "abcabcabcabc", "ünïcödé 😀 text", "abcde" * 400]
    for text in texts:
        assert len(grams_of(text)) == len(naive(text))
    a, b = "the quick brown fox jumps", "the quick brown dog jumps"
    exact = len(naive(a) & naive(b)) / len(naive(a) | naive(b))
    assert jaccard(grams_of(a), grams_of(b)) == exact
    together = Sketches([*texts, *texts])
    half = len(texts)
    assert (together.bits[:half] == together.bits[half:]).all() and (together.keys[:half] == together.keys[half:]).all()


def test_the_estimate_is_the_similarity():
    for changed in (0.0, 0.01, 0.03, 0.08):
        texts = pairs(60, changed)
        sketches = Sketches(texts)
        exact = [jaccard(grams_of(texts[i]), grams_of(texts[i + 1])) for i in range(0, 120, 2)]
        near = [float(sketches.similarity(i, np.array([i + 1]))[0]) for i in range(0, 120, 2)]
        assert abs(np.mean(near) - np.mean(exact)) < 0.02  # 60 pairs of 128 permutations: 0.006 standard errors
        assert np.abs(np.array(near) - exact).max() < 0.2


def test_buckets_hold_the_similar_and_few_others():
    texts = pairs(300, 0.02)
    together = {(int(a), int(b)) for bucket in Sketches(texts).buckets() for a in bucket for b in bucket if a < b}
    similar = {(i, i + 1) for i in range(0, 600, 2) if jaccard(grams_of(texts[i]), grams_of(texts[i + 1])) >= 0.8}
    assert len(similar) > 100
    assert similar <= together
    assert all(b == a + 1 and a % 2 == 0 for a, b in together)


def test_what_stands_everywhere_can_be_left_out():
    wrapper = "Please answer the following question of a customer as well as you can, in one short sentence: "
    texts = [wrapper + text for text in pairs(40, 0.0, length=30)[::2]]
    grams = [grams_of(text) for text in texts]
    common = common_grams(grams, 0.5)
    assert len(common) >= len(wrapper) - 6
    assert not list(Sketches(texts, common).buckets())
    assert max(len(bucket) for bucket in Sketches(texts).buckets()) > 2
    assert not list(Sketches([wrapper, wrapper], np.unique(grams_of(wrapper))).buckets())  # nothing is left of them

"""A tokenizer for texts: which characters, words or pieces of words are its tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import pairwise

from edgegru_runtime.model_config import TokenizerConfig
from edgegru_runtime.tokenizer import MARK, MAX_TOKENS, Splitter

UNKNOWN, UNKNOWN_NUMBER = "<unknown>", 0  # the token of what is no other
Pair = tuple[str, str]  # parts of a word that are neighbours


def learn_tokenizer(
    texts: Iterable[str], kind: str, size: int = 0, lower: bool = False, split: str = "punctuation", minimum: int = 1
) -> TokenizerConfig:
    """The tokenizer of ``kind`` whose tokens are what is most frequent in ``texts``, in order, ties by the text.

    ``size``: tokens at most, the unknown one included; 0: as many as there may be, or of pieces none but characters.
    ``minimum``: how often a character or word occurs at least. The same texts give the same tokens.
    """
    bare = TokenizerConfig("characters" if kind == "characters" else "words", (), lower, split)
    counts: Counter[str] = Counter()
    for text in texts:
        splitter = Splitter(bare)
        counts.update(splitter.feed(text) + splitter.finish())
    del counts[UNKNOWN]
    known = (size or MAX_TOKENS) - 1
    if kind != "pieces":
        tokens = _most_frequent(counts, minimum)[:known]
    else:
        characters: Counter[str] = Counter()
        for word, count in counts.items():
            for character in MARK + word:
                characters[character] += count
        tokens = _most_frequent(characters, minimum)[:known]
        tokens += _joined(counts, tokens, size - 1 - len(tokens))
    return replace(bare, kind=kind, tokens=(UNKNOWN, *tokens), unknown=UNKNOWN_NUMBER)


def _most_frequent(counts: Counter[str], minimum: int) -> list[str]:
    return sorted((text for text, count in counts.items() if count >= minimum), key=lambda text: (-counts[text], text))


def _joined(words: Counter[str], characters: Sequence[str], size: int) -> list[str]:
    """``size`` pieces of two or more characters: again and again the most frequent pair of neighbours is joined.

    Byte-pair encoding, Sennrich et al. 2016, arXiv:1508.07909. Fewer where no pair occurs twice.
    """
    known = set(characters)
    parts, often = [[MARK, *word] for word in words], list(words.values())
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that a pair is or was in
    for index, word in enumerate(parts):
        for pair in pairwise(word):
            if known.issuperset(pair):
                counts[pair] += often[index]
                places[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    tokens: list[str] = []
    while heap and len(tokens) < size:
        negative, pair = heappop(heap)
        if counts[pair] != -negative:  # it has changed since, and is in the heap again
            continue
        if -negative < 2:
            break
        joined = pair[0] + pair[1]
        if joined not in known:
            known.add(joined)
            tokens.append(joined)
        changed: set[Pair] = set()
        for index in places.pop(pair):
            before, after = parts[index], _with_joined(parts[index], pair)
            for sign, word in ((-1, before), (1, after)):
                for other in pairwise(word):
                    if known.issuperset(other):
                        counts[other] += sign * often[index]
                        changed.add(other)
                        if sign > 0:
                            places[other].add(index)
            parts[index] = after
        for other in changed:
            heappush(heap, (-counts[other], other))
    return tokens


def _with_joined(parts: Sequence[str], pair: Pair) -> list[str]:
    """The parts of a word with every such pair joined, from the left."""
    result: list[str] = []
    left = False  # whether the last part is a first of the pair that nothing has joined
    for part in parts:
        if left and part == pair[1]:
            result[-1] += part
            left = False
        else:
            result.append(part)
            left = part == pair[0]
    return result

"""Generate test documents in many scripts, short and long, full of what tends to make tokenizers differ."""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

from pretrain_llama.tokenization.alphabets import alphabets, forms, joiners, white_space

EMOJI = ["👍", "👍🏽", "👩‍👩‍👧‍👦", "❤️", "🇸🇦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "🦙", "™️", "👁️‍🗨️"]
SIGNS = [*" \n.,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`0123456789", "\t", "\r\n", "  ", " - ", "\u2026", "\u00a0", "\u2019"]
WORDS = [
    *("the", "of", "and", "I'm", "don't", "We'LL", "3.14", "http://a.b/c?d=e", "__init__", "CamelCase"),
    *("naïve", "Tiếng", "Việt", "في", "من", "٣٤", "한국어", "です"),
]
# Documents of each length, in parts of a document: 2 to the power of a number between the two.
LENGTHS = [(0.0, 5.0), (5.0, 9.0), (9.0, 15.0)]
SHARES = [900, 98, 2]


def fuzzed(
    documents: int, draw: random.Random, surfaces: Sequence[str], keys: Sequence[str], tokens: Sequence[str]
) -> Iterator[str]:
    """Yield documents, each of the letters of some scripts, and of other things.

    Args:
        documents: number of them.
        draw: what is drawn from.
        surfaces: texts that the tokenizer's pieces stand for.
        keys: strings that its normalizer replaces.
        tokens: strings of its added tokens.
    """
    scripts = [[*letters, *[" "] * (len(letters) // 6)] for letters in alphabets().values()]
    others = [SIGNS, WORDS, EMOJI, white_space(), list(map(chr, joiners())), list(forms()), surfaces, keys, tokens]
    others = [other for other in others if other]
    pools: list[Sequence[str]] = [*scripts, *others]
    # All scripts together as often as all other things.
    weights = list(accumulate([1 / len(scripts)] * len(scripts) + [1 / len(others)] * len(others)))
    for _ in range(documents):
        shortest, longest = draw.choices(LENGTHS, SHARES)[0]
        chosen = draw.choices(pools, cum_weights=weights, k=draw.choice((1, 2, 2, 3)))
        parts = -(-int(2 ** draw.uniform(shortest, longest)) // len(chosen))
        yield _document([draw.choices(pool, k=parts) for pool in chosen], draw)


def _document(drawn: list[list[str]], draw: random.Random) -> str:
    """Return a document of the drawn parts: one after the other, or in turn; some without spaces."""
    together = zip(*drawn, strict=True) if draw.random() < 0.5 else drawn
    text = "".join(chain.from_iterable(together))
    return text if draw.random() < 0.8 else text.replace(" ", "") or "a"

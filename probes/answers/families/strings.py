"""Letters and words."""

from __future__ import annotations

import random
import string

from families.item import Item, family, integer, listing, text, word

WORDS = (
    "strawberry", "mississippi", "bookkeeper", "committee", "parallel", "banana", "occurrence", "assessment",
    "cappuccino", "accommodation", "embarrassment", "millennium", "possession", "address", "successful",
)  # fmt: skip
SHORT = ("copper", "lantern", "orchid", "pepper", "quartz", "ribbon", "saddle", "tunnel", "velvet", "walnut", "meadow")
FRUITS = (
    "apricot",
    "cherry",
    "date",
    "fig",
    "grape",
    "kiwi",
    "lemon",
    "mango",
    "olive",
    "peach",
    "quince",
    "raspberry",
)
SENTENCES = (
    "The seven sisters sent several silver spoons to the museum on the island",
    "Nobody noticed the narrow notebook under the wooden bench near the northern entrance",
    "Every evening the elderly keeper lights eleven green lanterns before the ferry leaves",
    "All along the canal tall poplars cast dark shadows across calm and shallow water",
    "Our old doctor collects odd clocks from shops in towns along the coast",
    "Tiny kittens sitting in the kitchen window are waiting for the milk to cool",
)


@family(1)
def acronym(rng: random.Random) -> Item:
    """First letters."""
    words = rng.sample(FRUITS, 4)
    question = f"What do the first letters of these words spell, in capitals: {', '.join(words)}?"
    return text(question, "".join(w[0] for w in words).upper(), "".join(w.upper()[:1] for w in words))


@family(1)
def longest_word(rng: random.Random) -> Item:
    """The longest of some words."""
    words = [rng.choice([f for f in FRUITS if len(f) == n]) for n in (3, 4, 5, 6)] + [
        rng.choice(["raspberry", "apricot"])
    ]
    rng.shuffle(words)
    question = f"Which of these words is the longest: {', '.join(words)}?"
    return word(question, max(words, key=len), sorted(words, key=len)[-1], among=words)


@family(2)
def alphabetical(rng: random.Random) -> Item:
    """Words in alphabetical order."""
    words = rng.sample(FRUITS, 6)
    question = f"Put these words in alphabetical order: {', '.join(words)}."
    return listing(question, sorted(words), [f for f in FRUITS if f in words])


@family(2)
def nth_letter(rng: random.Random) -> Item:
    """One letter of a word."""
    name, n = rng.choice(SHORT), rng.randint(3, 5)
    ordinal = {3: "third", 4: "fourth", 5: "fifth"}[n]
    return word(f'What is the {ordinal} letter of the word "{name}"?', name[n - 1], list(name)[:n][-1], hint="<letter>")


@family(3)
def letters_in_a_word(rng: random.Random) -> Item:
    """How often a letter occurs in a word."""
    name = rng.choice(WORDS)
    letter = max(sorted(set(name)), key=name.count)
    again = sum(c == letter for c in name)
    return integer(f'How many times does the letter "{letter}" occur in the word "{name}"?', name.count(letter), again)


@family(3)
def reversed_word(rng: random.Random) -> Item:
    """A word backwards."""
    name = rng.choice(SHORT + WORDS)
    return text(f'Write the word "{name}" backwards, in lower case.', name[::-1], "".join(reversed(name)))


@family(3)
def without_vowels(rng: random.Random) -> Item:
    """A phrase without its vowels."""
    phrase = " ".join(rng.sample(SHORT, 3))
    question = f'Remove the letters a, e, i, o and u from "{phrase}" and keep everything else, spaces too.'
    again = phrase.translate(str.maketrans("", "", "aeiou"))
    return text(question, "".join(c for c in phrase if c not in "aeiou"), again)


@family(3)
def words_in_a_sentence(rng: random.Random) -> Item:
    """How many words a sentence has."""
    sentence = " ".join(rng.choice(SENTENCES).split()[: rng.randint(8, 12)])
    return integer(f'How many words has this text: "{sentence}"?', len(sentence.split()), sentence.count(" ") + 1)


@family(4)
def caesar(rng: random.Random) -> Item:
    """A shift cipher to be undone."""
    plain, shift = rng.choice(SHORT), rng.randint(3, 9)
    alphabet = string.ascii_lowercase
    cipher = plain.translate(str.maketrans(alphabet, alphabet[shift:] + alphabet[:shift]))
    back = "".join(chr((ord(c) - 97 - shift) % 26 + 97) for c in cipher)
    question = (
        f"Each letter of an English word was replaced by the one {shift} places later in the alphabet (after z "
        "comes a). "
        f'The result is "{cipher}". What was the word?'
    )
    return word(question, plain, back)


@family(4)
def letters_in_a_sentence(rng: random.Random) -> Item:
    """How often a letter occurs in a sentence, in either case."""
    sentence = rng.choice(SENTENCES)
    letter = rng.choice(sorted({c for c in sentence.lower() if c.isalpha() and sentence.lower().count(c) >= 4}))
    question = f'How often does the letter "{letter}", upper or lower case, occur in: "{sentence}"?'
    return integer(question, sentence.lower().count(letter), sum(c in {letter, letter.upper()} for c in sentence))


@family(4)
def interleaved(rng: random.Random) -> Item:
    """Two words, letter by letter."""
    a, b = rng.sample([w for w in SHORT if len(w) == 6], 2)
    question = (
        f'Merge the words "{a}" and "{b}" letter by letter: first letter of the first, first letter of the second, '
        "second "
        "letter of the first, and so on. What comes out?"
    )
    again = [""] * 12
    again[0::2], again[1::2] = a, b
    return text(question, "".join(x + y for x, y in zip(a, b, strict=True)), "".join(again))


@family(5)
def scrambled_characters(rng: random.Random) -> Item:
    """A long random string backwards, every other character."""
    characters = "".join(rng.choice(string.ascii_lowercase + string.digits) for _ in range(24))
    question = f'Take every second character of "{characters}", beginning with the second, and write them backwards.'
    again = "".join(c for i, c in enumerate(characters) if i % 2)
    return text(question, characters[1::2][::-1], "".join(reversed(again)))


@family(5)
def run_lengths(rng: random.Random) -> Item:
    """The longest run in a binary string."""
    bits = "".join(rng.choice("01") * rng.randint(1, 6) for _ in range(14))
    best = run = 0
    for i, bit in enumerate(bits):
        run = run + 1 if i and bits[i - 1] == bit else 1
        best = max(best, run)
    question = f"How long is the longest run of equal digits in {bits}?"
    return integer(question, best, max(n for n in range(1, len(bits) + 1) if "0" * n in bits or "1" * n in bits))

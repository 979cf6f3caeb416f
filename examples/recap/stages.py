"""What the stages do with texts: plain functions, each tested without Stepwell."""

import re
from collections import Counter
from html import unescape

GENRES = {
    "science": [
        "scientist",
        "study",
        "research",
        "experiment",
        "laboratory",
        "telescope",
        "sensor",
    ],
    "sport": ["match", "team", "coach", "player", "race", "season", "tournament"],
    "business": ["company", "market", "price", "profit", "bank", "investor", "rent"],
    "culture": ["museum", "film", "music", "concert", "theatre", "novel", "artist"],
}
SHINGLE_WORDS = 3
ALIKE_FROM = 0.6  # Share of common word triples from which two texts are one.

# Too common to weigh anything.
_COMMON = {
    *("a", "all", "an", "and", "as", "at", "be", "but", "by", "for", "from", "had", "has", "have"),
    *("he", "her", "his", "in", "is", "it", "its", "no", "not", "of", "on", "one", "or", "she"),
    *("that", "the", "they", "this", "to", "two", "was", "were", "which", "who", "with"),
}


def clean(body):
    """The text without markup and double spaces."""
    text = unescape(re.sub(r"<[^>]+>", " ", body))
    return re.sub(r"\s+([.,;:])", r"\1", re.sub(r"\s+", " ", text)).strip()


def words(text):
    return re.findall(r"[a-z]+", text.lower())


def shingles(text):
    """The set of runs of three words."""
    found = words(text)
    return {tuple(found[i : i + SHINGLE_WORDS]) for i in range(len(found) - SHINGLE_WORDS + 1)}


def likeness(one, other):
    """How much two texts have in common, from 0 to 1 (Jaccard)."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def originals(texts):
    """For each (id, text) the id of the first one that is nearly the same; often itself."""
    kept, answer = [], {}
    for key, text in texts:
        answer[key] = next((k for k, t in kept if likeness(t, text) >= ALIKE_FROM), key)
        if answer[key] == key:
            kept.append((key, text))
    return answer


def genre_of(text):
    """The genre with the most keywords, and how many; None without two of them."""
    counted = Counter(words(text))
    scores = {
        genre: sum(counted[key] + counted[key + "s"] for key in keys)
        for genre, keys in GENRES.items()
    }
    best = max(scores, key=lambda genre: (scores[genre], genre))
    return (best, scores[best]) if scores[best] >= 2 else (None, 0)


def sentences(text):
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


def evidence(text, genre):
    """The sentences that hold a keyword of the genre: why it is of that genre."""
    keys = set(GENRES[genre]) | {key + "s" for key in GENRES[genre]}
    return [sentence for sentence in sentences(text) if keys & set(words(sentence))]


def summary(text, count=2):
    """The sentences whose words are the most frequent ones of the text, in their order."""
    weight = Counter(word for word in words(text) if word not in _COMMON)

    def score(sentence):
        found = [word for word in words(sentence) if word not in _COMMON]
        return sum(weight[word] for word in found) / len(found) if found else 0.0

    told = sentences(text)
    best = sorted(range(len(told)), key=lambda i: (-score(told[i]), i))[:count]
    return " ".join(told[i] for i in sorted(best))

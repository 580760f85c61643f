"""Lexical features of short texts (URLs, payloads, domains, messages): a tabular classifier's view of them."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Strings

_BUCKETS = 24
_SIGNS = ".-_/=&%'\"<>()$;:!"


def text_features(texts: Strings) -> dict[str, NDArray[np.float64]]:
    """Counts of characters and hashed character pairs, entropy, longest word: columns by name."""
    rows = [_one(str(text)) for text in texts]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _one(text: str) -> dict[str, float]:
    counts = Counter(text)
    n = max(len(text), 1)
    words = re.findall(r"\w+", text)
    row = {
        "length": float(len(text)),
        "words": float(len(words)),
        "longest": float(max(map(len, words), default=0)),
        "digits": float(sum(c.isdigit() for c in text)),
        "upper": float(sum(c.isupper() for c in text)),
        "vowels": float(sum(c in "aeiou" for c in text.lower())),
        "entropy": round(-sum(k / n * math.log2(k / n) for k in counts.values()), 3),
        "signs": float(sum(counts[s] for s in _SIGNS)),
        "spaces": float(counts[" "]),
    }
    buckets = Counter(zlib.crc32(text[i : i + 2].lower().encode()) % _BUCKETS for i in range(len(text) - 1))
    return row | {f"pairs{b}": float(buckets[b]) for b in range(_BUCKETS)}

"""Decode a SentencePiece normalizer's table: the strings that it replaces, and their replacements.

A model holds it as `precompiled_charsmap`, a tokenizer.json as its normalizer of type Precompiled. Little endian
(source: DecodePrecompiledCharsMap in normalizer.cc of SentencePiece, DoubleArrayUnit in darts.h of darts-clone):

    bytes       content
    4           T, size of the trie in bytes
    T           the trie: a double array, a uint32 a unit
    the rest    the replacements, each ended by NUL

In a unit, bits 0-7 and 31 are the label, bit 8 says that a string ends here, bits 10-30 are the offset to the children,
times 256 if bit 9 is set. Of a string that ends, the child of label 0 says in its other bits where its replacement
begins. A child stands at its parent's position xor the parent's offset xor its own label. Many strings
share their ends, so 240 KB of nmt_nfkc stand for 225,276 of them.
"""

import struct
from collections import defaultdict

import numpy as np

LABEL, HAS_LEAF, IS_FAR, VALUE = 0x800000FF, 1 << 8, 1 << 9, 0x7FFFFFFF


def keys(charsmap: bytes) -> list[str]:
    """Return the strings that a table replaces, in no order; none where there is no table."""
    return list(rules(charsmap))


def rules(charsmap: bytes) -> dict[str, str]:
    """Return what a table makes of the strings that it replaces, in no order; nothing where there is no table."""
    if not charsmap:
        return {}
    (trie_bytes,) = struct.unpack_from("<I", charsmap)
    units = np.frombuffer(charsmap, "<u4", trie_bytes // 4, 4).astype(np.int64)
    labels = units & LABEL
    offsets = ((units >> 10) << np.where(units & IS_FAR, 8, 0)).tolist()
    has_leaf = (units & HAS_LEAF).astype(bool).tolist()
    replacements = charsmap[4 + trie_bytes :]
    children = defaultdict(list)  # by the position of the parent xor its offset
    for position in np.flatnonzero((labels > 0) & (labels < 256)).tolist():
        children[position ^ int(labels[position])].append(position)
    found = {}
    beginnings = [(offsets[0], b"")]
    while beginnings:
        base, beginning = beginnings.pop()
        for position in children[base]:
            string, inner = beginning + bytes([position ^ base]), position ^ offsets[position]
            if has_leaf[position]:
                start = int(units[inner] & VALUE)
                found[string.decode()] = replacements[start : replacements.index(b"\0", start)].decode()
            beginnings.append((inner, string))
    return found

"""Texts that part tokenizers' engines: decomposed letters, emoji, marks upon marks, and ordinary ones."""

import random
import unicodedata

HARD = {
    "Vietnamese": "Tiếng Việt là ngôn ngữ của người Việt, và là ngôn ngữ chính thức.",
    "Korean": "한국어는 대한민국의 공용어이다. ㅋㅋㅋ ㄱㅏ ﾡￂ",
    "Japanese": "ガギグ ﾊﾝｶｸ ｶﾞｷﾞﾊﾟ、カタカナ。",
    "Tamil": "தமிழ் மொழி: கொடு, கோ, கௌ.",
    "Arabic": "آمن أحمد إلى سؤال ئ، ا\u0653 و\u0654 ى\u0654 ﷲ ﻻ ٣٤",
    "Arabic with vowels": "ٱلْحَمْدُ لِلَّهِ رَبِّ ٱلْعَٰلَمِينَ",
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇸🇦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️ 1️⃣ 👁️‍🗨️",
    "Hindi": "हिन्दी में ज़, क़ और फ़; न\u093c र\u093c",
    "Bengali and Malayalam": "কো কৌ ড় ঢ় ൊ ോ",
    "Thai": "น้ำ ภาษาไทย ก็",
    "Greek": "ά ᾳ ΐ Ὦ ς",
    "compatible": "ﬁne ² ½ … ™ Ⅳ ｆｕｌｌ，\u00a0no-break ﬀﬃ №",
    "marks upon marks": "Z\u0351\u036b\u0343a\u030a\u0348l\u0323\u0307g\u0334\u0345o\u0327\u0301",
    "marks where none belong": "\u00a0\u0301 …\u064e ½\u0654 \u0301a ﷲ\u0651 ，\u3099 ²\u200d",
    "white space": " \t a\n\n b\r\n  c\u3000d\u2028e\u00a0 \u200b\ufeff f ",
    "control characters": "a\x01b\x0bc\x1bd\x7fe\x85f\x9f",
    "code": "def f(x):\n\treturn {'a': x**2}  # it's <s> </s> <unk> <0x41> ▁▁",
    "new letters": "a\u088fb \ua7cec \U00010940 \U00016ea0x \U0002b73a \U0001fae8",
    "English": "The quick brown fox doesn't jump over 1,234.56 lazy dogs; it's been 3 days.",
}
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def hard_documents(mixed: int = 200) -> list[str]:
    """All of them in each normal form, short and long, with and without spaces; and mixtures of their words."""
    texts = [unicodedata.normalize(form, text) for text in HARD.values() for form in FORMS]
    documents = [*texts, *(f"{text}\n" * 30 for text in texts), *((text * 100).replace(" ", "") for text in texts)]
    draw = random.Random(7)
    words = [word for text in texts for word in text.split(" ") if word]
    documents += [" ".join(draw.choices(words, k=draw.choice((2, 5, 40)))) for _ in range(mixed)]
    documents += ["".join(draw.choices("".join(words), k=draw.choice((2, 5, 40, 400)))) for _ in range(mixed)]
    documents += [letter * 20_000 for letter in "aé中ا\u0301"]
    return documents

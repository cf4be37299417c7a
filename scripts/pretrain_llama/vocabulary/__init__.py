"""A larger vocabulary: new pieces for a SentencePiece tokenizer, and what they do to texts."""

"""Enlarge a SentencePiece tokenizer and its Llama: pieces.py chooses new pieces, checkpoint.py adds their rows."""

"""Export a run's tokenizer and its settings for transformers: tokenizer_files.py and small_files.py write the files."""

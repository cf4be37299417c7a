"""Turn vendor files into even jsonl shards: plan.py cuts them, copies.py refuses duplicates, merge.py writes them."""

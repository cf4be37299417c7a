"""Vendor files to even jsonl shards."""

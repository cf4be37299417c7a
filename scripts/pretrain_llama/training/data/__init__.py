"""Feed a training: sequences.py orders each shard, blend.py mixes shards, batches.py cuts and reads ahead."""

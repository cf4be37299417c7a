"""Show the state of a project without running anything: shards.py, certificates.py, snakemake_log.py."""

"""What a run is: its folder (folder.py), sizes, identity, phases, timelines, records, lock, and submitted jobs."""

"""Find documents of equal text by their keys, and leave the copies out of what is trained on, by a new .idx."""

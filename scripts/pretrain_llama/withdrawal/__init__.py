"""Take documents, vendor files or corpora out of all that was made of them, and say what was trained on them."""

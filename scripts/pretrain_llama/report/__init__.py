"""Build the report's pages, each one self-contained HTML file: documents.py, mixture.py, training.py."""

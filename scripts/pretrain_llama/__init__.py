"""What the programs in scripts/ share: one folder a stage."""

__version__ = "0.3.0"

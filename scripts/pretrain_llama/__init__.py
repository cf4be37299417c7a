"""What the programs in scripts/ share: one folder a stage."""

__version__ = "0.2.0"

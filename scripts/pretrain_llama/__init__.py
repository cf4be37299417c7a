"""What the programs in scripts/ share: one folder a stage."""

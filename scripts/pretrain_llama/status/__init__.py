"""Where a project stands, without running anything."""

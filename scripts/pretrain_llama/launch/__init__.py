"""Starting the training processes."""

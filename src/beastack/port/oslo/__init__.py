"""What the oslo libraries need: privilege separation."""

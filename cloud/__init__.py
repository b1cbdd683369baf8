"""What runs for the studio."""

"""What is allowed, agreed to, kept and deleted, with the evidence of it."""

"""Model cards rendered from measured figures."""

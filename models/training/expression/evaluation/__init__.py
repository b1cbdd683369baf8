"""How well a network reads faces, how fast, and how sure the figures are."""

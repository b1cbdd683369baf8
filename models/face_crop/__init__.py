"""The face crop that the agent cuts and the expression network reads: framing and quality."""

"""The face detector: how its artifact is made, checked and decoded."""

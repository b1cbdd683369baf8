"""What the stages and workers need from outside, as small protocols."""

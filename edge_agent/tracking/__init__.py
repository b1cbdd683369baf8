"""From a frame to the viewer's crop, or to the reason why there is none."""

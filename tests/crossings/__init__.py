"""Films in which somebody walks past the viewer, made from recordings of single people; who is where is known."""

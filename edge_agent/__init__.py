"""What runs on the viewer's machine."""

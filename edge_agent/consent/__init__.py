"""What the viewer is asked, agrees to and can take back."""

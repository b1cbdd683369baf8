"""What the detectors find, lose and invent, on hand-checked truth and on composed scenes."""

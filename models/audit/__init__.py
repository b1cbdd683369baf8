"""Everything that is measured about the shipped artifacts, in one run: accuracy, street, detectors, groups, slices."""

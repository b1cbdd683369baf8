"""What is fitted on validation pictures after training: temperatures, thresholds, the filter over time."""

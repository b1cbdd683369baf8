"""What is fitted on validation pictures after training: temperatures, thresholds, label scales, the filter over time."""

"""Training: configurations, soft labels, first weights, batches and the run itself."""

"""From the published network to the artifact: read, rebuilt, narrowed, rounded, levelled."""

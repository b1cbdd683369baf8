"""Still pictures through crop, seal, opening and network, on one machine, to see or measure what arrives."""

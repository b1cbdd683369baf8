"""What both sides must agree on before a face leaves a machine; does no I/O."""

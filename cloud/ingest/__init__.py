"""Checks what comes over a data channel; sees ciphertext only."""

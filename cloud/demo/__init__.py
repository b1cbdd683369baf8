"""The demonstration: two self-made viewers, a generated trailer, and the whole street between them."""

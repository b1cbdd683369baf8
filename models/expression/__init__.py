"""The expression network: what serves it lies here; how it is made and measured, in the rooms below."""

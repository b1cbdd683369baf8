"""Devices, network and disk of the viewer's machine."""

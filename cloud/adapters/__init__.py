"""Where devices, networks, databases and engines are reached; each module implements one port."""

"""How the networks are made and measured; nothing here is shipped to a viewer or a server."""

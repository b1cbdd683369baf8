"""One sitting: seals what was seen, keeps the connection, accounts for every frame."""

"""Server-rendered pages on the API's own data."""

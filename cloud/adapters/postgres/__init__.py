"""PostgreSQL: migrations, transactions bound to a tenant, repositories over named SQL files."""

"""What looks at the cache: inspector, toolbar, metrics, commands."""

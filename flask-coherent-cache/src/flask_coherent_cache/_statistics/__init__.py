"""What the cache did, counted in this process and told to the others."""

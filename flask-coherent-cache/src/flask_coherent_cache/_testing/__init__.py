"""What :mod:`flask_coherent_cache.testing` offers to tests."""

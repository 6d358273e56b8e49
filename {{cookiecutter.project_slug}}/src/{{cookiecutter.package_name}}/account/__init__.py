"""Accounts: pages that belong to one person and are never shared."""

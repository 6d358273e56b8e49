"""The shop: its pages, its JSON API, and what they are cached by."""

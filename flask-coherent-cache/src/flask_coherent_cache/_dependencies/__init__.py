"""What a fill depends on: tags, and inputs of the request."""

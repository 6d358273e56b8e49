"""What a fill reads: tags, and inputs of the request."""

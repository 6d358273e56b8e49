"""Health, for whoever runs the application."""

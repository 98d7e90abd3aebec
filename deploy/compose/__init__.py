"""What the compose file runs beside images."""

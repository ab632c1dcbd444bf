"""What operators see of the service: metrics, health, audit, its own log."""

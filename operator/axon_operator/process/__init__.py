"""What runs the process: settings, workers, health, metrics, logs, events."""

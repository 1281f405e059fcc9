"""The engine: queue, workers, plans and their execution, summary of the outcome."""

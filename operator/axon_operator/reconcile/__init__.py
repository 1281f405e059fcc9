"""In what order, and what if it fails: the engine, and one module per kind."""

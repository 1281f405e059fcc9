"""axon-operator: every organization gets its own walls (see docs/concepts.md)."""

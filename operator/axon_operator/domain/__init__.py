"""Pure functions: what should exist. No I/O, no clock, no randomness."""

"""What a Tenant becomes: one module for each of the three systems."""

"""A stranger in the cluster that keeps trying to cross into each tenant, so that it is known whether it can."""

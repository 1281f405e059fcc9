"""Real servers as plain processes on loopback, for integration tests and benchmarks: no cluster, no kubelet."""

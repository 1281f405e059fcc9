"""`kubectl axon`: what an administrator wants to see and do, with their own kubeconfig and their own rights."""

"""`kubectl axon secret`: a user's own secrets, with their own login and not with their kubeconfig."""

"""What the demo and the end-to-end tests share: the cluster and its two backends, seen through a kubeconfig."""

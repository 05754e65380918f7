"""kube-proxy: how a Service's address reaches a pod.  Nothing in a cluster's API depends on it yet."""

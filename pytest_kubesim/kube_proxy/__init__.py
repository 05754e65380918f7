"""kube-proxy: how a Service's address reaches a pod.  Nothing in the API depends on it yet."""

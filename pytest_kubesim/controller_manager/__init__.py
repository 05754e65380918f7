"""kube-controller-manager: control loops that make what is declared true.

One file a controller under `controllers/`, each on `controller.Controller`; `manager` starts them
in one process.  A controller knows the API server through `client_go` only and no other controller
at all.  What a node does with a pod is the kubelet's affair, where a pod goes the scheduler's.
"""

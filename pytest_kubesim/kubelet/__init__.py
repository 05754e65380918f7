"""The kubelet: a node's agent.  It registers the node, runs the pods bound to it, reports on both.

It reaches the API server through `client_go` only, and containers through the CRI (`cri.services`)
only.  It knows nothing of what a container does.
"""

"""Volume drivers of a node, as far as a kubelet notices them: what is attached and mounted.

Volumes here have no contents of their own; `kubelet.volume_manager` waits for what must exist.
"""

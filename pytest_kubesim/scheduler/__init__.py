"""kube-scheduler: which node each pod goes to, and why not.

This room is the binary: its queues, cache, framework and default plugins, under upstream's names.
It is not the binding itself (the API server's `pods/binding`), nor the volumes' controllers.
"""

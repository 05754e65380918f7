"""How the simulated binaries reach the API server: requests, reflectors, informers, queues.

Named after `k8s.io/client-go`, and with its habits: list and watch, relist after 410, back off
after a lost connection, aggregate events.  Controllers, scheduler and kubelets use nothing else,
so that what a fault does to a client's view happens to them as it happens in production.
"""

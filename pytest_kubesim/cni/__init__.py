"""Addresses of pods: what a CNI plugin does for a sandbox, and nothing of routes or policies."""

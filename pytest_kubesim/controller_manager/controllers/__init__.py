"""The controllers, a file each, named as upstream's canonical name without `-controller`.

A file says its class by the constant `CONTROLLER`.  A controller that has no file is not simulated.
No controller imports another one.
"""

"""Laws of Kubernetes and of this simulator, watched while a cluster runs.

A checker hears of every write and every delivery and says what is broken, in words.  It changes
nothing and asks nothing of the cluster: a run with checkers goes as a run without them, event for
event.
"""

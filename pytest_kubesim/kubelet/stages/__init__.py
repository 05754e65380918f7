"""Behaviour as data: kwok's `Stage` documents, read as they are, and played.

A stage says of which objects it speaks, how long they stay as they are, and what becomes of them.
What stages select they play; the kubelet lets go of it.  Not here: what a container does.
"""

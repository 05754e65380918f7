"""What a run leaves for people: the text under a failing test, the journal, the page.

It reads what the cluster has recorded and asks nothing of it; no part of the simulator knows of it.
"""

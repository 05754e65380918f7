"""One file a verb, after upstream's `apiserver/pkg/endpoints/handlers`.

A handler reads the request, asks `admission` and the `store`, and shapes the answer.  It knows no
kind in particular: those with endpoints of their own have theirs in `rest_*.py`.
"""

"""What happens to every request before a handler sees it, one file a filter.

`handler_chain.CHAIN` is their order.  A filter lets the request pass (None) or answers it.
"""

"""Failures on demand: each a frozen record that prints as the Python that makes it.

A fault strikes where production fails: at a fault point that the simulator consults, or at a
process that it crashes.  The same record acts on an operator in this process and on a binary
outside.
"""

"""A whole Kubernetes, simulated, inside a pytest run.

The names a test author uses come through the fixture `kubesim`; this module itself imports
nothing, so that a pytest run that has the plugin installed and does not use it pays nothing.
"""

__version__ = "0.1.0"

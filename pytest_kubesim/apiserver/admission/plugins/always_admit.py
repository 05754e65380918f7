"""AlwaysAdmit: has no effect, and is deprecated.

Follows `plugin/pkg/admission/admit/admission.go`.
"""

from __future__ import annotations

from pytest_kubesim.apiserver.admission.chain import Plugin

PLUGIN = Plugin()

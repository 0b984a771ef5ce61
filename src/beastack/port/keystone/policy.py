"""Makes keystone's policy known before its first request."""

from __future__ import annotations


def load() -> None:
    """Make the policy's rules known: keystone does it at the first request, where a second one may see half of them."""
    from keystone.common.rbac_enforcer.enforcer import RBACEnforcer

    RBACEnforcer()._enforcer.load_rules()

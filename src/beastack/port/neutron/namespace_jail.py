"""N4: network namespaces as vnet jails: made, removed, entered and looked for.

Upstream enters a namespace by putting ``ip netns exec NAME`` before a
command, and looks for one by its file in /var/run/netns. Here a namespace is
a vnet jail of the same name: entered by jexec(8), which becomes the command
without a fork, so that the pid of what it starts is one of the host's.

A command in a jail is always run by the privileged daemon (attaching to a
jail is root's alone), also where upstream would ask its root helper: agents
run unprivileged, and there is no helper.
"""

from __future__ import annotations

import sys
from typing import Any

from beastack.freebsd import jail
from beastack.freebsd.errors import JailNotFound
from beastack.port.neutron import ip_lib_namespaces
from beastack.seams.registry import Seam
from beastack.seams.source import CLASS

#: What ip(8) says of a missing namespace; upstream looks for it when it has sent a signal (external_process.py).
_NO_NAMESPACE = "Cannot open network namespace"


def _make(original: Any) -> Any:
    if not sys.platform.startswith("freebsd"):
        return original
    from neutron_lib import exceptions

    ip_lib = sys.modules[original.__module__]

    class IpNetnsCommand(original):
        """Upstream's, over vnet jails."""

        def add(self, name: str) -> Any:
            """Make the jail; that it is there already is no error. Returns an IPWrapper of it."""
            # Upstream goes on to set promote_secondaries, which is how FreeBSD treats addresses anyway.
            ip_lib.create_network_namespace(name)
            return ip_lib.IPWrapper(namespace=name)

        def execute(
            self,
            cmds: Any,
            addl_env: Any = None,
            check_exit_code: bool = True,
            log_fail_as_error: bool = True,
            extra_ok_codes: Any = None,
            run_as_root: bool = False,
            privsep_exec: bool = False,
        ) -> Any:
            """Run a command in the parent's jail, or on the host if it has none, and return what it printed.

            A jail or a program that is not there is a command that failed.

            :raises ProcessExecutionError: it failed
            :raises FileNotFoundError: without a jail, there is no such program
            """
            namespace = self._parent.namespace
            try:
                return ip_lib.utils.execute(
                    wrap_command(namespace, cmds, addl_env),
                    check_exit_code=check_exit_code,
                    extra_ok_codes=extra_ok_codes,
                    log_fail_as_error=log_fail_as_error,
                    run_as_root=run_as_root or bool(namespace),
                    privsep_exec=privsep_exec or run_as_root or bool(namespace),
                )
            except exceptions.ProcessExecutionError as error:
                if namespace and is_without_jail(str(error), namespace):
                    text = f'{_NO_NAMESPACE} "{namespace}": {error}'
                    raise exceptions.ProcessExecutionError(text, returncode=error.returncode) from error
                raise

        def exists(self, name: Any) -> bool:
            """Tell whether there is a jail of that name that was made here.

            The file that says so outlives a jail that somebody removed by
            hand, so jls(8) is asked too, as anybody may.
            """
            return bool(name) and is_there(name)

    return IpNetnsCommand


def is_there(name: str) -> bool:
    """Tell whether a namespace is there."""
    try:
        ip_lib_namespaces.check_namespace(name)
    except JailNotFound:
        return False
    return True


def wrap_command(namespace: str | None, command: Any, variables: Any) -> list[Any]:
    """Return the words that run a command with further environment variables, in a jail if one is named."""
    words = [*(["env", *(f"{name}={value}" for name, value in variables.items())] if variables else ()), *command]
    return jail.wrap_command(namespace, words) if namespace else words


def is_without_jail(text: str, namespace: str) -> bool:
    """Tell whether the report of a failed command is jexec's, that the jail is not there (usr.sbin/jexec)."""
    return any(f'jexec: jail "{namespace}" {ending}' in text for ending in ("not found", "is dying"))


SEAM = Seam(
    id="N4",
    kind=CLASS,
    distribution="neutron",
    module="neutron.agent.linux.ip_lib",
    why="enters network namespaces by ip(8), which is not there: no namespace is made, and no daemon started in one",
    since="0.3.0",
    retired_by="neutron taking the class that enters namespaces from its configuration",
    processes=("neutron-dhcp-agent",),
    hosts=("freebsd",),
    hashes={"28": "2a7fbaa32e207cf8", "29": "2a7fbaa32e207cf8"},
    make={"IpNetnsCommand": _make},
)

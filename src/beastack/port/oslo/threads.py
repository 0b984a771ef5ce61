"""Chooses native threads for oslo.service, by upstream's own call, when imported.

The choice is made once for a process; the preloaded parents import this
first, and what is forked from them inherits it.
"""

from oslo_service.backend import BackendType, init_backend

init_backend(BackendType.THREADING)

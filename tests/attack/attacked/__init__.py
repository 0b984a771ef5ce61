"""Contexts of oslo.privsep to attack."""

from oslo_privsep import priv_context

context = priv_context.PrivContext(
    __name__, cfg_section="attacked", pypath=__name__ + ".context", capabilities=[], logger_name=__name__
)
other = priv_context.PrivContext(__name__, cfg_section="attacked_other", pypath=__name__ + ".other", capabilities=[])

"""``doctor``: looks for all that can be wrong with a site.

Each check is one small function that reads a ``View`` and yields findings;
none changes anything, and none can stop the others: what a check raises
becomes a finding too. A check names what it needs; where that is missing
there is a finding that says so, and the check is left out, so that one cause
does not show as twenty.
"""

from beastack.site.doctor.checks import examine
from beastack.site.doctor.finding import Finding

__all__ = ["Finding", "examine"]

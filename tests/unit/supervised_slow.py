"""A module whose import takes until a test opens the gate."""

import supervised

supervised.await_gate()

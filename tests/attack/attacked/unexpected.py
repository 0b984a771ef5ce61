"""Imported by nobody; leaves a trace if it is."""

import attacked

attacked.trace = True

"""The command line: thin, over site and supervisor."""

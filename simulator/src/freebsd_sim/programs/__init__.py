"""Programs that stay as processes of the host; each file runs by itself under Linux's plain Python."""

"""The console daemon of a host: it holds the host side of each guest's serial line, logs it and serves it."""

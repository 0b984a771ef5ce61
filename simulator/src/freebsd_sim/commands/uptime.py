"""uptime(1): how long the system has been running."""

from __future__ import annotations

import json
import os
import time

from freebsd_sim.call import Call
from freebsd_sim.commands import libxo


def format_span(seconds: int) -> str:
    """Return a span as w(1) writes it, each part with a comma and a blank before it."""
    minutes = (seconds + 30) // 60
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    text = f" {days} day{'s' if days != 1 else ''}," if days else ""
    if hours and minutes:
        return f"{text} {hours:2d}:{minutes:02d},"
    if hours:
        return f"{text} {hours} hr{'s' if hours != 1 else ''},"
    if minutes:
        return f"{text} {minutes} min{'s' if minutes != 1 else ''},"
    return f"{text} {seconds} sec{'s' if seconds != 1 else ''},"


def main(call: Call) -> int:
    """Run the command."""
    as_json = libxo.take_style(call)
    seconds = int(time.time() - call.kernel.boot_time)
    loads = os.getloadavg()
    now = time.strftime("%I:%M%p", time.localtime()).removeprefix("0")
    if as_json:
        fields = {
            "time-of-day": now, "uptime": seconds, "days": seconds // 86400, "hours": seconds // 3600 % 24,
            "minutes": seconds // 60 % 60, "seconds": seconds % 60, "uptime-human": f"up{format_span(seconds)}",
            "users": 0,
            **{f"load-average-{name}": round(load, 2) for name, load in zip((1, 5, 15), loads, strict=True)},
        }  # fmt: skip
        call.out(json.dumps({"__version": "2", "uptime-information": fields}) + "\n")
        return 0
    shown = ", ".join(f"{load:.2f}" for load in loads)
    call.out(f"{now:>7}  up{format_span(seconds)} 0 users, load averages: {shown}\n")
    return 0

"""Wait until message queues have readers.

Usage: BEASTACK_TRANSPORT_URL=... python -m beastack.port.oslo.await_queues SECONDS QUEUE...

A request that is sent before a service reads its queue is answered only
after the asker's time limit: whoever asks first has to know that it may.
"""

from __future__ import annotations

import os
import sys
import time
from urllib.parse import unquote, urlsplit

import amqp


def readers(url: str, queues: list[str]) -> dict[str, int]:
    """Return the number of readers of each queue; a queue that does not exist has none.

    :raises OSError: no member of the broker can be reached
    """
    parts = urlsplit(url)
    member = parts.netloc.split(",")[0]
    address = urlsplit("//" + member)
    connection = amqp.Connection(
        host=f"{address.hostname}:{address.port or 5672}",
        userid=unquote(address.username or "guest"),
        password=unquote(address.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        connect_timeout=5,
    )
    counts = {}
    with connection:
        for queue in queues:
            channel = connection.channel()
            try:
                counts[queue] = channel.queue_declare(queue, passive=True).consumer_count
                channel.close()
            except amqp.exceptions.NotFound:
                counts[queue] = 0
    return counts


def main() -> int:
    """Return 0 when every queue has a reader, 1 when the time is up."""
    limit, queues = float(sys.argv[1]), sys.argv[2:]
    url = os.environ["BEASTACK_TRANSPORT_URL"]
    deadline = time.monotonic() + limit
    while True:
        try:
            counts = readers(url, queues)
            missing = [queue for queue in queues if counts[queue] == 0]
        except (OSError, amqp.exceptions.AMQPError) as error:
            missing = [str(error)]
        if not missing:
            return 0
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    sys.stderr.write("no reader yet: " + ", ".join(missing) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

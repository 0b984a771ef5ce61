"""Stands where a metadata agent expects nova's metadata service, and says who it was told is asking. Linux.

Arguments: address, port, and the secret that signs requests.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with the caller's identity, and with 403 when it is not signed right."""

    secret = b""

    def do_GET(self) -> None:
        """Answer."""
        instance = self.headers.get("X-Instance-ID", "")
        wanted = hmac.new(self.secret, instance.encode(), hashlib.sha256).hexdigest()
        status = 200 if hmac.compare_digest(wanted, self.headers.get("X-Instance-ID-Signature", "")) else 403
        said = {
            "instance": instance, "tenant": self.headers.get("X-Tenant-ID"), "path": self.path,
            "forwarded": self.headers.get("X-Forwarded-For"),
        }  # fmt: skip
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    address, port, Handler.secret = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
    server = http.server.ThreadingHTTPServer((address, port), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

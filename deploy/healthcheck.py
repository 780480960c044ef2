"""For a container's health check: exit status 0 when the server in it is alive, else 1 and why."""

from __future__ import annotations

import http.client
import os
import ssl
import sys


def main() -> int:
    # The server's certificate is for another name than localhost.
    port = int(os.environ.get("PORT") or 8000)
    connection: http.client.HTTPConnection
    if (os.environ.get("HTTPS_ENABLED") or "false").lower() in ("1", "true", "yes", "on"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=4, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"No answer on port {port}: {type(error).__name__}.")
        return 1
    finally:
        connection.close()
    print(f"Status {status}.")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())

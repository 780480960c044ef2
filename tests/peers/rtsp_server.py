"""An RTSP server of GStreamer (1.22), run by the system's own Python, which has its bindings.

Arguments: the port (0: any), "h264" or "h265", the picture (a colour as 0xAARRGGBB, or the path of a JPEG, which is read
again for each frame), "" or user:password, "digest" or "basic", "" or a PEM file with its certificate and key: then it speaks TLS. It prints {"port": ...} once, and {"clients": ...} for each
client that comes; the line "cut" ends all connections; it ends when its input does.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! rtph264pay",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! rtph265pay",
}


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main(port: str, codec: str, picture: str, login: str, method: str, certificate: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    if picture.startswith("0x"):
        source = f"videotestsrc is-live=true pattern=solid-color foreground-color={picture}"
        size = "width=320,height=240,"
    else:
        source = f"multifilesrc location={picture} loop=true caps=image/jpeg,framerate=10/1 do-timestamp=true"
        source += " ! jpegdec ! videoconvert"
        size = ""
    factory.set_launch(
        f"( {source} ! video/x-raw,format=I420,{size}framerate=10/1"
        f" ! {ENCODERS[codec]} config-interval=-1 name=pay0 pt=96 )"
    )
    auth = GstRtspServer.RTSPAuth()
    if certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
        server.set_auth(auth)
    if login:
        user, _, password = login.partition(":")
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if method == "digest":
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", right, True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/view", factory)
    clients = 0

    def connected(_server: Any, _client: Any) -> None:
        nonlocal clients
        clients += 1
        say(clients=clients)

    server.connect("client-connected", connected)
    loop = GLib.MainLoop()
    if not server.attach(None):
        raise SystemExit("the port is taken")
    say(port=server.get_bound_port())

    def cut() -> bool:
        server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
        return False

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "cut":
                GLib.idle_add(cut)
        GLib.idle_add(loop.quit)

    threading.Thread(target=listen, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:7])

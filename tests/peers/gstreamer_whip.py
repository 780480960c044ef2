"""A camera of GStreamer's webrtcbin (1.22), run by the system's own Python, which has its bindings.

Arguments: the WHIP address, or that of the page's own offers; the bearer token; pipelines that end
in RTP, one a line; "trickle" or "whole"; and, if it is not max-bundle, the bundle policy. It prints
one JSON object a line: {"answer": ...} once, {"state": ...} for each state of the connection; it
ends when its input does.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Camera:
    def __init__(
        self, url: str, token: str, sources: str, trickle: bool, policy: str = "max-bundle"
    ) -> None:
        self.url = url
        self.whip = "/api/whip" in url
        self.token = token
        self.trickle = trickle
        self.location = self.etag = self.offer = ""
        # Number of the media section, candidate.
        self.waiting: list[tuple[int, str]] = []
        linked = " ".join(f"{source} ! peer." for source in sources.splitlines())
        self.pipeline = Gst.parse_launch(f"webrtcbin name=peer bundle-policy={policy} {linked}")
        self.peer = self.pipeline.get_by_name("peer")
        self.peer.connect("on-negotiation-needed", self.negotiate)
        self.peer.connect("on-ice-candidate", self.candidate)
        self.peer.connect("notify::ice-gathering-state", self.gathered)
        self.peer.connect(
            "notify::connection-state",
            lambda peer, _: say(state=peer.get_property("connection-state").value_nick),
        )
        for number in range(8):
            transceiver = self.peer.emit("get-transceiver", number)
            if transceiver is None:
                break
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.pipeline.set_state(Gst.State.PLAYING)

    def request(self, method: str, url: str, body: str = "", **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib.request.urlopen(
            urllib.request.Request(
                url,
                method=method,
                data=body.encode() if body else None,
                headers={"Authorization": f"Bearer {self.token}", **given},
            )
        )

    def negotiate(self, peer: Any) -> None:
        # One offer is all that it makes; a rejected section would have it make another one.
        if not self.offer:
            peer.emit(
                "create-offer", None, Gst.Promise.new_with_change_func(self.offered, None, None)
            )

    def offered(self, promise: Any, *_: Any) -> None:
        promise.wait()
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.offer = offer.sdp.as_text()
        done = Gst.Promise.new()
        self.peer.emit("set-local-description", offer, done)
        done.interrupt()
        if self.trickle:
            GLib.idle_add(self.publish, self.offer)

    def gathered(self, peer: Any, _: Any) -> None:
        if peer.get_property("ice-gathering-state").value_nick == "complete" and not self.trickle:
            sdp = peer.get_property("local-description").sdp.as_text()
            GLib.idle_add(self.publish, sdp)

    def publish(self, sdp: str) -> None:
        say(offer=sdp)
        try:
            if self.whip:
                reply = self.request("POST", self.url, sdp, Content_Type="application/sdp")
            else:
                body = json.dumps({"type": "offer", "sdp": sdp})
                reply = self.request("POST", self.url, body, Content_Type="application/json")
        except urllib.error.HTTPError as error:
            say(refused=error.code, message=json.load(error)["detail"])
            return
        answer = reply.read().decode()
        if self.whip:
            self.location = urllib.parse.urljoin(self.url, reply.headers["Location"])
            self.etag = reply.headers["ETag"]
        else:
            self.location, answer = self.url, json.loads(answer)["sdp"]
        say(answer=answer)
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer.encode(), message)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        self.peer.emit(
            "set-remote-description",
            GstWebRTC.WebRTCSessionDescription.new(kind, message),
            Gst.Promise.new_with_change_func(self.answered, None, None),
        )
        if self.waiting:
            self.send_candidates()

    def answered(self, promise: Any, *_: Any) -> None:
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            say(failed=reply.get_value("error").message)

    def candidate(self, _: Any, index: int, candidate: str) -> None:
        if self.trickle and candidate:
            self.waiting.append((index, candidate))
            if self.location:
                GLib.idle_add(self.send_candidates)

    def send_candidates(self) -> None:
        found, self.waiting = self.waiting, []
        if not found:
            return
        ufrag, pwd = (
            next(line for line in self.offer.splitlines() if line.startswith(name))
            for name in ("a=ice-ufrag:", "a=ice-pwd:")
        )
        mids = [line for line in self.offer.splitlines() if line.startswith("a=mid:")]
        lines = [ufrag, pwd]
        for number, mid in enumerate(mids):
            own = [f"a={candidate}" for index, candidate in found if index == number]
            lines += ["m=video 9 UDP/TLS/RTP/SAVPF 0", mid, *own] if own else []
        fragment = "\r\n".join([*lines, ""])
        reply = self.request(
            "PATCH",
            self.location,
            fragment,
            Content_Type="application/trickle-ice-sdpfrag",
            If_Match=self.etag,
        )
        say(trickled=reply.status, count=len(found))

    def end(self) -> None:
        if self.location:
            say(ended=self.request("DELETE", self.location).status)
        self.pipeline.set_state(Gst.State.NULL)


def main() -> None:
    Gst.init(None)
    loop = GLib.MainLoop()
    url, token, sources, how, *policy = sys.argv[1:]
    camera = Camera(url, token, sources, how == "trickle", *policy)

    def wait_for_end() -> None:
        sys.stdin.read()
        GLib.idle_add(loop.quit)

    threading.Thread(target=wait_for_end, daemon=True).start()
    loop.run()
    camera.end()


main()

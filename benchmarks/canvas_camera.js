// A canvas camera, which replaces the browser's camera before the page loads.
// Fields of `window.__camera`, by which a test controls it:
//   mode     "clock" moving blocks and the clock · "black" · "frozen" draws nothing more · "text:<lines>" text on white ·
//            "image:<data URL>" a picture over the whole canvas · "color:<color>" only a color ·
//            "thing" a magenta object with spots that moves to and fro · "stage" the scene in `stage`
//   stage    kind, begin (epoch, ms) and events of a scripted scene (watch_scenes.py), in mode "stage"
//   thing    whether the object is visible, in mode "thing"     thingAt  its edges at a time (epoch, ms), as fractions
//   textPx   height of a capital letter in camera pixels, for "text:"
//   clock    whether the clock is also drawn in "text:"
//   drawn    pictures drawn so far     opened  number of calls of getUserMedia     constraints  those of the last call
//   width, height  of the picture; a change while it is open simulates a rotated device
//   plugged  whether the device is connected: unplug() ends open tracks, plug() reconnects it
//   apart    set at the start: draw in a worker, so that the page's own work does not delay it; only "clock" and the
//            initial size. Needs a page whose content security policy is bypassed (blob: for the worker)
//   refuse   name of the DOMException that getUserMedia fails with ("NotAllowedError", ...), "" for none
(() => {
  "use strict";
  if (window.__camera) return;
  const options = /*OPTIONS*/ {};
  const camera = {
    mode: "clock", textPx: 24, clock: true, drawn: 0, opened: 0, constraints: null, refuse: "", plugged: true,
    width: 1280, height: 720, fps: 30, apart: false, thing: true, ...options,
  };
  window.__camera = camera;

  camera.thingAt = (ms) => {
    // A twentieth of the width per second
    const way = (ms / 10000) % 2;
    const left = 0.12 + 0.5 * (way < 1 ? way : 2 - way);
    return [left, 0.4, left + 0.17, 0.65];
  };

  // Returns the function that draws the current picture. It is also sent to a worker as text, so it uses no outer names.
  const painter = (camera, canvas, context) => {
    // The low 32 bits of the epoch in ms, most significant first, white for 1; their complement below (clock_code.py).
    const drawClock = (context, ms) => {
      const { width, height } = camera;
      const row = Math.round(height / 18);
      const low = Math.floor(ms) % 4294967296;
      for (let column = 0; column < 32; column++) {
        const left = Math.ceil((column * width) / 32);
        const right = Math.ceil(((column + 1) * width) / 32);
        const bit = Math.floor(low / 2 ** (31 - column)) % 2;
        context.fillStyle = bit ? "#fff" : "#000";
        context.fillRect(left, 0, right - left, row);
        context.fillStyle = bit ? "#000" : "#fff";
        context.fillRect(left, row, right - left, row);
      }
    };

    const epoch = () => performance.timeOrigin + performance.now();

    const ground = (width, height) => {
      const canvas = new OffscreenCanvas(width / 16, height / 16);
      const context = canvas.getContext("2d");
      const image = context.createImageData(canvas.width, canvas.height);
      let seed = 7;
      for (let i = 0; i < image.data.length; i += 4) {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        image.data.set([70 + seed % 80, 80 + seed % 70, 90 + seed % 60, 255], i);
      }
      context.putImageData(image, 0, 0);
      return canvas;
    };

    // Sensor noise, larger than the picture so that each frame can use another part of it.
    let grain = null;
    const noise = (width, height) => {
      const canvas = new OffscreenCanvas(width + 64, height + 64);
      const context = canvas.getContext("2d");
      const image = context.createImageData(canvas.width, canvas.height);
      let seed = 11;
      for (let i = 0; i < image.data.length; i += 4) {
        seed = (seed * 16807) % 2147483647;
        // Black or white, by as much as it differs from the mean
        const level = (seed % 31) + ((seed >> 8) % 31) - 30;
        image.data.set(level < 0 ? [0, 0, 0, -level / 2] : [255, 255, 255, level / 2], i);
      }
      context.putImageData(image, 0, 0);
      return canvas;
    };

    const COLORS = { thing: "rgb(210 30 30)", alike: "rgb(240 140 20)", almost: "rgb(210 30 30)" };
    const drawStage = (width, height, now) => {
      const { kind, begin, events } = camera.stage;
      const at = (now - begin) / 1000;
      const active = events.filter(({ begin, seconds }) => begin <= at && at < begin + seconds);
      if (kind === "colors") {
        const [one] = active;
        context.fillStyle = !one ? "rgb(120 120 120)" : one.what === "thing" ? COLORS.thing : COLORS.alike;
        context.fillRect(0, 0, width, height);
        return;
      }
      context.save();
      if (kind === "shaken") {
        context.translate(3 * Math.sin(at * 5), 3 * Math.cos(at * 4));
      }
      context.drawImage(texture, -8, -8, width + 16, height + 16);
      if (kind === "busy") drawBlocks(width, height, now);
      for (const { what, begin, x, y } of active) {
        const side = Math.sqrt((what === "almost" ? 0.002 : 0.03) * width * height);
        context.globalAlpha = kind === "slow" ? Math.min(1, at - begin) : 1;
        context.fillStyle = COLORS[what];
        context.fillRect(x * width, y * height, side, side);
      }
      context.restore();
      if (kind === "noisy") {
        grain ??= noise(width, height);
        context.drawImage(grain, -Math.floor(Math.random() * 64), -Math.floor(Math.random() * 64));
      } else if (kind === "flickering") {
        context.fillStyle = `rgb(0 0 0 / ${0.05 * (1 + Math.sin(at * 37)) / 2})`;
        context.fillRect(0, 0, width, height);
      }
    };

    const drawBlocks = (width, height, now) => {
      const size = Math.round(height / 9);
      for (let i = 0; i < 6; i++) {
        const x = (((i * 211 + ((60 + 45 * i) * now) / 1000) % (width - size)) + width) % (width - size);
        // In a scripted scene only the object is red.
        context.fillStyle = camera.mode === "stage" ? `hsl(${150 + i * 20}, 40%, ${30 + i * 8}%)` : `hsl(${i * 60}, 70%, ${30 + i * 8}%)`;
        context.fillRect(x, height * (0.15 + 0.13 * i), size, size);
      }
    };

    const drawThing = (width, height, now) => {
      if (!camera.thing) return;
      const [left, top, right, bottom] = camera.thingAt(now);
      const [wide, high] = [(right - left) * width, (bottom - top) * height];
      context.fillStyle = "#d020d0";
      context.fillRect(left * width, top * height, wide, high);
      let seed = 5;
      const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
      for (let i = 0; i < 24; i++) {
        context.fillStyle = i % 2 ? "#ff90ff" : "#700070";
        const [x, y] = [left * width + random() * 0.85 * wide, top * height + random() * 0.85 * high];
        context.fillRect(x, y, 0.15 * wide, 0.15 * high);
      }
    };

    // Workers have no Image.
    const picture = self.Image ? new Image() : null;

    const { width, height } = camera;
    const texture = ground(width, height);
    context.drawImage(texture, 0, 0, width, height);

    return () => {
      const mode = camera.mode;
      if (mode === "frozen") return;
      const { width, height } = camera;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const now = epoch();
      const fill = (color) => {
        context.fillStyle = color;
        context.fillRect(0, 0, width, height);
      };
      if (mode === "black") fill("#000");
      else if (mode.startsWith("color:")) fill(mode.slice(6));
      else if (mode.startsWith("image:")) {
        if (picture.src !== mode.slice(6)) picture.src = mode.slice(6);
        if (!picture.complete) return;
        context.drawImage(picture, 0, 0, width, height);
      } else if (mode === "stage") drawStage(width, height, now);
      else if (mode.startsWith("text:")) {
        fill("#fff");
        context.fillStyle = "#111";
        // The height of a capital letter in this font is 0.72 of the font size.
        context.font = `${camera.textPx / 0.72}px "DejaVu Sans", "Liberation Sans", Arial, sans-serif`;
        mode.slice(5).split("\n").forEach((line, i) => {
          context.fillText(line, 40, height * 0.15 + (i + 1) * camera.textPx * 2);
        });
        if (camera.clock) drawClock(context, now);
      } else {
        context.drawImage(texture, 0, 0, width, height);
        if (mode === "thing") drawThing(width, height, now);
        else {
          drawBlocks(width, height, now);
          drawClock(context, now);
        }
      }
      if (mode !== "black" && mode !== "clock") {
        // Change one pixel, so that the canvas emits pictures.
        context.fillStyle = camera.drawn % 2 ? "#fefefe" : "#fff";
        context.fillRect(width - 2, height - 2, 2, 2);
      }
      camera.drawn++;
    };
  };

  const epoch = () => performance.timeOrigin + performance.now();

  // A plain timer: browser.py starts Chromium without timer throttling, and a worker's timer would need an
  // exception in the page's content security policy, which is also tested.
  const ticking = (fps, tick) => {
    const timer = setInterval(tick, 1000 / fps);
    return () => clearInterval(timer);
  };

  const live = new Set();
  camera.unplug = () => {
    camera.plugged = false;
    for (const track of [...live]) {
      track.stop();
      track.dispatchEvent(new Event("ended"));
    }
    media.dispatchEvent(new Event("devicechange"));
  };
  camera.plug = () => {
    camera.plugged = true;
    media.dispatchEvent(new Event("devicechange"));
  };

  // A track, and the function that stops its source.
  const drawnHere = () => {
    const { width, height, fps } = camera;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const draw = painter(camera, canvas, canvas.getContext("2d", { alpha: false }));
    const stop = ticking(fps, draw);
    return [canvas.captureStream(fps).getVideoTracks()[0], stop];
  };

  // Like those of a real camera, the frames do not pass through the page's thread (mediacapture-transform, in Chromium).
  const drawnApart = () => {
    const feed = (painter, camera, frames) => {
      const { width, height, fps } = camera;
      const canvas = new OffscreenCanvas(width, height);
      const draw = painter(camera, canvas, canvas.getContext("2d", { alpha: false }));
      const writer = frames.getWriter();
      setInterval(() => {
        if (writer.desiredSize <= 0) return; // the last frame was not taken yet
        const timestamp = Math.round(performance.now() * 1000);
        draw();
        writer.write(new VideoFrame(canvas, { timestamp })).catch(() => {});
      }, 1000 / fps);
    };
    const code = `onmessage = ({ data }) => (${feed})(${painter}, data.camera, data.frames);`;
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const worker = new Worker(address);
    URL.revokeObjectURL(address);
    const track = new MediaStreamTrackGenerator({ kind: "video" });
    const { width, height, fps, mode } = camera;
    worker.postMessage({ camera: { width, height, fps, mode, drawn: 0 }, frames: track.writable }, [track.writable]);
    return [track, () => worker.terminate()];
  };

  const open = async (constraints) => {
    camera.opened++;
    camera.constraints = JSON.parse(JSON.stringify(constraints ?? {}));
    if (!camera.plugged) throw new DOMException("no camera", "NotFoundError");
    if (camera.refuse) throw new DOMException("the test camera refuses", camera.refuse);
    const { fps } = camera;
    const [track, stop] = camera.apart ? drawnApart() : drawnHere();
    const end = track.stop.bind(track);
    track.stop = () => { stop(); end(); live.delete(track); };
    const settings = track.getSettings.bind(track);
    track.getSettings = () => ({ ...settings(), width: camera.width, height: camera.height, frameRate: fps, facingMode: "environment", deviceId: "canvas" });
    live.add(track);
    return new MediaStream([track]);
  };

  const media = navigator.mediaDevices;
  if (media) {
    // Use the browser's own function if only a microphone is requested.
    const native = media.getUserMedia?.bind(media);
    media.getUserMedia = (wanted) => (native && wanted?.audio && !wanted.video ? native(wanted) : open(wanted));
    media.enumerateDevices = async () => !camera.plugged ? [] : [
      { kind: "videoinput", deviceId: "canvas", groupId: "canvas", label: "Canvas camera", toJSON() { return this; } },
    ];
  }

  // Prompts are accepted automatically, so report permission as granted: a headless browser does not.
  const permissions = navigator.permissions;
  const query = permissions?.query.bind(permissions);
  if (query) permissions.query = async (wanted) => {
    const status = await query(wanted);
    return wanted?.name === "camera" && status.state === "prompt" ? { state: "granted" } : status;
  };

  // Every peer connection of the page, for its statistics.
  const NativePeer = window.RTCPeerConnection;
  window.__peers = [];
  window.RTCPeerConnection = class extends NativePeer {
    constructor(...args) { super(...args); window.__peers.push(this); }
  };

  // Messages on the page's sockets, epoch ms, newest last: {at, way: "sent" | "got", message}. Bounded.
  const log = (window.__log = []);
  const note = (way, data) => {
    const at = epoch();
    if (typeof data !== "string") return;
    let message;
    try { message = JSON.parse(data); } catch { message = { type: "unreadable" }; }
    if (message.frame?.thumbnail) message.frame.thumbnail = message.frame.thumbnail.length;
    log.push({ at, way, message });
    if (log.length > 5000) log.splice(0, 1000);
  };
  const NativeSocket = window.WebSocket;
  window.WebSocket = class extends NativeSocket {
    constructor(...args) {
      super(...args);
      // Added before the page's listeners, so that the time is that of the event, not of the page's work.
      this.addEventListener("message", (event) => note("got", event.data));
    }
    send(data) { note("sent", data); super.send(data); }
  };
})();

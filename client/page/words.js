import { lookedAt } from "./routes.js";

/** @typedef {import("../live/facts.js").Facts} Facts */
/** @typedef {"off"|"busy"|"ok"|"warn"|"bad"} Tone */

/**
 * @typedef {Object} Notice
 * @property {Tone} tone
 * @property {string} title
 * @property {string} text the meaning, and what to do
 * @property {{label: string}} [action] a button, usually to try again at once
 */

/**
 * The card in place of the picture while there is no camera.
 * @typedef {Object} Card
 * @property {Tone} tone
 * @property {string} title
 * @property {string} text
 * @property {boolean} [busy] it continues by itself, without a button
 */

/** @type {{tone: Tone, label: string}} */
export const LIVE = { tone: "ok", label: "Live" };

/** @type {Record<string, string>} */
const ENGINES = { builtin: "Built-in engine", vllm: "vLLM", local: "Local model" };

/** @param {string} engine */
export function engineName(engine) {
  return ENGINES[engine] ?? engine;
}

/** @type {Record<string, Omit<Card, "tone">>} */
const NO_CAMERA = {
  refused: {
    title: "The camera is not allowed",
    text: "The browser does not let this page use the camera. Press the icon left of the address, set Camera to Allow, then press Start Camera again.",
  },
  dismissed: {
    title: "The camera was not allowed yet",
    text: "The browser's prompt was closed. Press Start Camera and choose Allow.",
  },
  missing: {
    title: "No camera was found",
    text: "Plug one in or switch it on, check that the system lets the browser use it, then press Start Camera.",
  },
  busy: {
    title: "The camera is in use",
    text: "Another program or tab holds it. Close that one, then press Start Camera.",
  },
  failed: {
    title: "The camera did not start",
    text: "Plug it in again or reload the page, then press Start Camera.",
  },
  lost: {
    title: "The camera was disconnected",
    text: "It was unplugged, or its permission was withdrawn. Plug it in again, and it continues by itself; or press Start Camera.",
  },
  insecure: {
    title: "This address is not secure",
    text: "Browsers give the camera only to https:// pages and to localhost. On the computer where the server runs, start it with\nbash scripts/run.sh --https\nand scan the code that it shows.",
  },
};

/** @param {Facts["camera"]} camera @returns {Omit<Card, "tone">|null} the failure; null for any other state */
export function noCamera(camera) {
  return NO_CAMERA[camera] ?? null;
}

/** @type {Record<number, Omit<Card, "tone">>} */
const ENDED = {
  4401: {
    title: "Access refused",
    text: "The server does not accept this page's token. Press Start Camera to request another one.",
  },
  4403: {
    title: "This address is not allowed",
    text: "The server does not accept pages from this address. Ask whoever runs it for the right address.",
  },
  4408: {
    title: "Ended after a long silence",
    text: "No question came for a while, so the camera was released. Press Start Camera to continue.",
  },
  4409: {
    title: "Opened in another window",
    text: "This session continues in another window. Press Start Camera to use it here.",
  },
  4410: {
    title: "Ended by whoever runs this server",
    text: "The camera was released. Press Start Camera to ask for access again.",
  },
};

/** True when another device is the camera, and the server receives it. @param {Facts} facts */
export function farAway(facts) {
  return facts.camera === "elsewhere" && ["live", "stalled", "frozen"].includes(facts.status?.camera ?? "");
}

/** @param {Facts} facts @returns {Card|null} null while the picture is there */
export function card(facts) {
  if (facts.camera === "on") return null;
  if (facts.camera === "elsewhere") {
    if (farAway(facts)) return null;
    return {
      tone: "busy",
      title: "Waiting for the other camera",
      text: "Give it the address and the token. This page starts by itself as soon as it sends.",
      busy: true,
    };
  }
  if (facts.camera === "asking") {
    return { tone: "busy", title: "Opening the camera…", text: "If the browser asks, choose Allow.", busy: true };
  }
  if (facts.camera === "resting") {
    return { tone: "busy", title: "The camera rests", text: "It comes back when this page is shown.", busy: true };
  }
  if (facts.camera !== "off") return { tone: "bad", ...NO_CAMERA[facts.camera] };
  const ended = ENDED[facts.closeCode];
  if (ended) return { tone: facts.closeCode === 4403 ? "bad" : "warn", ...ended };
  if (facts.pairingError) {
    return {
      tone: "warn",
      title: "This code did not work",
      text: `${facts.pairingError.message} Or press Start Camera and type the access code.`,
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error?.code === "cancelled") {
    return {
      tone: "warn",
      title: "An access code is needed",
      text: "Ask whoever runs this server for it, then press Start Camera.",
    };
  }
  if (error) return { tone: "bad", title: "It did not work", text: `${error.message} Then press Start Camera.` };
  return {
    tone: "off",
    title: "Point, ask, and know.",
    text: "Show something to the camera and ask about it. Only the live picture is looked at. The last minutes stay in memory until you stop; nothing is stored.",
  };
}

/** True while an older connection sends the picture and a newer one is set up. @param {Facts} facts */
function seenMeanwhile({ link, status }) {
  return link !== "closed" && link !== "ended" && status?.camera === "live";
}

/** @param {Facts} facts @returns {{tone: Tone, label: string}} the state of everything, in a word or two */
export function summary(facts) {
  const { active, camera, socket, link, status, muted, ready } = facts;
  if (camera === "asking") return { tone: "busy", label: "Opening the camera" };
  if (camera === "resting") return { tone: "busy", label: "Camera resting" };
  if (!active) return { tone: camera === "off" ? "off" : "bad", label: "Camera off" };
  if (facts.untrusted) return { tone: "bad", label: "Not trusted yet" };
  const elsewhere = camera === "elsewhere";
  const linked = elsewhere || link === "connected" || seenMeanwhile(facts);
  if (facts.cut || socket === "waiting" || ((link === "waiting" || link === "interrupted") && !linked)) {
    return { tone: "bad", label: "Connection lost" };
  }
  if (link === "ended") return { tone: "bad", label: "Camera refused" };
  if (socket !== "open" || !linked || !ready) return { tone: "busy", label: "Connecting" };
  if (facts.held) return { tone: "warn", label: "Picture held" };
  if (muted) return { tone: "warn", label: "Camera paused" };
  if (status?.camera === "stalled") return { tone: "warn", label: "Picture stalled" };
  if (status?.camera === "frozen") return { tone: "warn", label: "Picture frozen" };
  if (elsewhere && status?.camera !== "live") return { tone: "busy", label: "Waiting for the camera" };
  // Connected is not live: the server has no picture yet.
  if (status?.camera !== "live") return { tone: "busy", label: "Connecting" };
  if (facts.disclose || (engineState(facts) !== "ready" && engineState(facts) !== "busy")) return { tone: "warn", label: "Live, no answers" };
  return LIVE;
}

/** @param {Facts} facts @returns {Notice|null} the most important notice now */
export function notice(facts) {
  const { active, camera, socket, link, status, muted } = facts;
  if (!active || !(camera === "on" || farAway(facts))) return null;
  const linked = link === "connected" || camera === "elsewhere" || seenMeanwhile(facts);
  if (facts.untrusted) {
    return {
      tone: "bad",
      title: "This device does not trust the server yet",
      text: "Answers cannot arrive until it does.",
      action: { label: "What to do" },
    };
  }
  if (facts.cut) return lost(facts);
  if (socket === "open" && !linked && facts.linkError?.status === 0 && (link === "waiting" || link === "connecting")) {
    return {
      tone: "bad",
      title: "The picture does not get through",
      text: `${facts.linkError.message} The page tries again by itself.`,
      action: { label: "Try now" },
    };
  }
  if (socket === "waiting" || (link === "waiting" && !linked)) return lost(facts);
  if (link === "ended") {
    return {
      tone: "bad",
      title: "The server does not accept this camera",
      text: facts.linkError?.message ?? "",
      action: { label: "Try again" },
    };
  }
  if (link === "interrupted" && !linked) {
    return { tone: "bad", title: "Connection interrupted", text: "Your picture does not arrive. The page tries again in a moment." };
  }
  if (muted) {
    return { tone: "warn", title: "The camera is paused", text: "The system took it, perhaps for a call. It comes back by itself." };
  }
  if (linked && status?.camera === "stalled") {
    return { tone: "warn", title: "No new picture arrives", text: "The network may be too slow. Wait a moment or come closer to the Wi-Fi." };
  }
  if (linked && status?.camera === "frozen") {
    return { tone: "warn", title: "The picture stands still", text: "The camera sends the same moment again and again. Stop it and start it again." };
  }
  if (facts.disclose) {
    return {
      tone: "warn",
      title: "Another machine would get your pictures",
      text: `The engine was changed to one on ${facts.disclose}. Nothing is asked until you agree.`,
      action: { label: "Review" },
    };
  }
  const engine = engineNotice(facts);
  if (engine) return engine;
  // Hints are about the live picture, so they do not apply to a held one.
  if (facts.held) {
    return { tone: "warn", title: "Picture held", text: "Your next questions are about this moment. Press Hold to release it." };
  }
  if (status?.black) return { tone: "warn", title: "The picture is black", text: "Uncover the camera, or switch on a light." };
  if (status?.dark) return { tone: "warn", title: "It is dark", text: "Switch on a light, or the torch." };
  if (status?.blurred) return { tone: "warn", title: "The picture is blurred", text: "Hold still, or move back a little." };
  return null;
}

/** @param {Facts} facts @returns {Notice} */
function lost(facts) {
  const action = { label: "Try now" };
  if (facts.closeCode === 1013) {
    return { tone: "warn", title: "The server restarts", text: "This page comes back by itself.", action };
  }
  if (facts.closeCode === 4429) {
    return { tone: "warn", title: "Too many connections", text: "The server asks for a pause. The page tries again in half a minute.", action };
  }
  if (facts.gone) {
    return {
      tone: "bad",
      title: "The server has stopped",
      text: "It has not come back. This page keeps trying; ask whoever runs the server.",
      action,
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error && error.status > 0) {
    return { tone: "bad", title: "The server is not ready", text: `${error.message} The page tries again by itself.`, action };
  }
  const text = navigator.onLine
    ? "What you typed is kept. The page tries again by itself."
    : "This device is offline. What you typed is kept.";
  return { tone: "bad", title: "Connection lost", text, action };
}

/** @param {Facts} facts */
function engineState(facts) {
  return facts.status?.engine_state ?? facts.ready?.engine_state ?? "ready";
}

/** @param {Facts} facts @returns {Notice|null} */
function engineNotice(facts) {
  const state = engineState(facts);
  const detail = facts.status?.engine_detail || facts.ready?.engine_detail || "";
  switch (state) {
    case "loading":
      return { tone: "warn", title: "The model is loading", text: detail || "Answers begin as soon as it is ready." };
    case "unreachable":
      return { tone: "bad", title: "The engine cannot be reached", text: detail || "Whoever runs this server can start it again." };
    case "misconfigured":
      return { tone: "bad", title: "The engine is misconfigured", text: detail || "Whoever runs this server finds the reason in its log." };
    default:
      return null;
  }
}

/** @param {Facts} facts @returns {{camera: string, connection: string, engine: string, sending: string, data: string}} */
export function details(facts) {
  const { camera, link, socket, status, ready, sent, active } = facts;
  const cameraWords = {
    off: "Off.",
    asking: "Opening. Choose Allow if the browser asks.",
    resting: "Released while this page is hidden.",
    elsewhere: `Another device's. ${serverSees(status)}`,
    on: facts.muted ? "Paused by the system." : serverSees(status),
  };
  const connection = !active
    ? "Not connected."
    : facts.untrusted
      ? "Refused by the browser: this device does not trust the server's certificate."
      : socket === "open" && (link === "connected" || camera === "elsewhere")
        ? "Connected."
        : facts.cut || socket === "waiting" || link === "waiting"
        ? "Lost. The page tries again by itself."
        : link === "interrupted"
          ? "Interrupted. The page tries again in a moment."
          : link === "ended"
            ? (facts.linkError?.message ?? "Refused.")
            : "Connecting.";
  const engine = status?.engine ?? ready?.engine;
  const state = engineState(facts);
  const engineWords = !engine
    ? "Known once connected."
    : [
        `${engine === "local" && ready?.elsewhere ? "Another machine's model" : engineName(engine)}${ready?.model && ready.model !== engine ? ` (${ready.model})` : ""}: ${state}.`,
        status?.engine_detail || ready?.engine_detail || "",
        ready?.elsewhere ? `Pictures go to ${ready.elsewhere}${facts.disclose ? " once you agree" : ""}.` : "",
      ]
        .join(" ")
        .trim();
  return {
    camera: camera in cameraWords ? cameraWords[/** @type {keyof cameraWords} */ (camera)] : NO_CAMERA[camera].title + ".",
    connection,
    engine: engineWords,
    sending: sending(sent),
    data: dataUse(sent),
  };
}

/** @param {Facts["status"]} status */
function serverSees(status) {
  if (!status?.camera) return "On. The server has no picture of it yet.";
  const size = status.width && status.height ? `, ${status.width}×${status.height}` : "";
  const rate = status.fps === undefined ? "" : `, ${status.fps.toFixed(status.fps < 10 ? 1 : 0)} frames a second`;
  const clock = status.clock_doubted ? " Its clock is wrong, so the server's clock decides which picture is new." : "";
  return `On. The server sees it: ${status.camera}${size}${rate}.${clock}`;
}

/** @param {Facts["sent"]} sent */
function sending(sent) {
  if (!sent || sent.width === 0) return "Nothing.";
  /** @type {Record<string, string>} */
  const reasons = { cpu: " Limited: this device is busy.", bandwidth: " Limited: the network is slow.", other: " Limited by the browser." };
  const rate = sent.fps.toFixed(sent.fps < 10 ? 1 : 0);
  return `${sent.width}×${sent.height}, ${rate} frames a second.${reasons[sent.limitation] ?? ""}`;
}

/** @param {Facts["sent"]} sent */
export function dataUse(sent) {
  if (!sent) return "";
  return `${(sent.bytes / 1e6).toFixed(1)} MB · ${Math.round(sent.kbps)} kbit/s`;
}

/** @param {number} ms */
export function duration(ms) {
  // No line may end between a number and its unit.
  if (ms < 10) return `${ms.toFixed(1)}\u00a0ms`;
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)}\u00a0s`;
  return `${Math.round(ms / 60_000)}\u00a0min`;
}

/**
 * The line under an answer.
 * @param {import("../live/messages.js").ResponseMessage} response
 */
export function evidence(response) {
  const { frame, timings } = response;
  const parts = [engineName(response.engine)];
  const looked = lookedAt(response);
  const seen = frame?.held ? "held frame" : frame?.word ? `at “${frame.word}”,` : looked ? `${looked},` : "frame";
  if (frame) parts.push(`${seen} ${duration(Math.max(0, frame.age_ms))}\u00a0old`);
  if (frame?.unchanged_since) parts.push(`unchanged since\u00a0${clock(frame.unchanged_since)}`);
  parts.push(duration(timings.total_ms));
  return parts.join(" · ");
}

/** @param {number} at ms since the epoch */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

/**
 * Remarks that belong to an answer, or to the frame that it will be about.
 * @param {{frame?: import("../live/messages.js").FrameInfo, finish_reason?: string, sound?: string, speech?: string}} response
 */
export function remarks(response) {
  const said = [];
  if (response.frame?.dark) said.push("The picture was dark. Switch on a light, or the torch.");
  if (response.frame?.blurred) said.push("The picture was blurred. Hold still, or move back a little.");
  if (/^(empty|too_long|undecodable|refused)$/.test(response.sound ?? "")) said.push("The sound could not be used; only the words were asked.");
  if (response.speech === "refused") said.push("The model did not speak this answer itself; the voice does.");
  if (response.finish_reason === "length") said.push("Cut off at the length limit.");
  if (response.finish_reason === "content_filter") said.push("The model server's filter cut this answer.");
  if (response.finish_reason === "cancelled") said.push("Cancelled.");
  if (response.finish_reason === "replaced") said.push("Replaced by a newer question.");
  return said.join(" ");
}

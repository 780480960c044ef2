import { fromServer } from "../words/problems.js";
import { key, text } from "../words/text.js";

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

/** @returns {{tone: Tone, label: string}} */
export const live = () => ({ tone: "ok", label: text("Live") });

/** @type {Record<string, string>} */
const ENGINES = { builtin: key("Built-in engine"), vllm: "vLLM", local: key("Local model") };

/** A camera's name; one that nobody gave, such as "Camera 1", is in the page's language. @param {string} [id] @param {string} [name] */
export function cameraName(id, name = "") {
  return name === `Camera ${id}` ? text("Camera {number}", { number: Number(id) }) : name;
}

/** @param {string} engine */
export function engineName(engine) {
  return Object.hasOwn(ENGINES, engine) ? text(ENGINES[engine]) : engine;
}

/** @type {Record<string, Omit<Card, "tone">>} */
const NO_CAMERA = {
  refused: {
    title: key("The camera is not allowed"),
    text: key("The browser does not let this page use the camera. Press the icon left of the address, set Camera to Allow, then press Start Camera again."),
  },
  dismissed: {
    title: key("The camera was not allowed yet"),
    text: key("The browser's prompt was closed. Press Start Camera and choose Allow."),
  },
  missing: {
    title: key("No camera was found"),
    text: key("Plug one in or switch it on, check that the system lets the browser use it, then press Start Camera."),
  },
  busy: {
    title: key("The camera is in use"),
    text: key("Another program or tab holds it. Close that one, then press Start Camera."),
  },
  failed: {
    title: key("The camera did not start"),
    text: key("Plug it in again or reload the page, then press Start Camera."),
  },
  lost: {
    title: key("The camera was disconnected"),
    text: key("It was unplugged, or its permission was withdrawn. Plug it in again, and it continues by itself; or press Start Camera."),
  },
  insecure: {
    title: key("This address is not secure"),
    text: key("Browsers give the camera only to https:// pages and to localhost. On the computer where the server runs, start it with\nbash scripts/run.sh --https\nand scan the code that it shows."),
  },
};

/** @param {Facts["camera"]} camera @returns {Omit<Card, "tone">|null} the failure; null for any other state */
export function noCamera(camera) {
  return NO_CAMERA[camera] ? said(NO_CAMERA[camera]) : null;
}

/** @template {Omit<Card, "tone">} T @param {T} words marked with `key` @returns {T} */
const said = (words) => ({ ...words, title: text(words.title), text: text(words.text) });

/** @type {Record<number, Omit<Card, "tone">>} */
const ENDED = {
  4401: {
    title: key("Access refused"),
    text: key("The server does not accept this page's token. Press Start Camera to request another one."),
  },
  4403: {
    title: key("This address is not allowed"),
    text: key("The server does not accept pages from this address. Ask whoever runs it for the right address."),
  },
  4408: {
    title: key("Ended after a long silence"),
    text: key("No question came for a while, so the camera was released. Press Start Camera to continue."),
  },
  4409: {
    title: key("Opened in another window"),
    text: key("This session continues in another window. Press Start Camera to use it here."),
  },
  4410: {
    title: key("Ended by whoever runs this server"),
    text: key("The camera was released. Press Start Camera to ask for access again."),
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
      title: text("Waiting for the other camera"),
      text: text("Give it the address and the token. This page starts by itself as soon as it sends."),
      busy: true,
    };
  }
  if (facts.camera === "asking") {
    return { tone: "busy", title: text("Opening the camera…"), text: text("If the browser asks, choose Allow."), busy: true };
  }
  if (facts.camera === "resting") {
    return { tone: "busy", title: text("The camera rests"), text: text("It comes back when this page is shown."), busy: true };
  }
  if (facts.camera !== "off") return { tone: "bad", ...said(NO_CAMERA[facts.camera]) };
  const ended = ENDED[facts.closeCode];
  if (ended) return { tone: facts.closeCode === 4403 ? "bad" : "warn", ...said(ended) };
  if (facts.pairingError) {
    return {
      tone: "warn",
      title: text("This code did not work"),
      text: text("{problem} Or press Start Camera and type the access code.", { problem: facts.pairingError.message }),
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error?.code === "cancelled") {
    return {
      tone: "warn",
      title: text("An access code is needed"),
      text: text("Ask whoever runs this server for it, then press Start Camera."),
    };
  }
  if (error) return { tone: "bad", title: text("It did not work"), text: text("{problem} Then press Start Camera.", { problem: error.message }) };
  return {
    tone: "off",
    title: text("Point, ask, and know."),
    text: text("Show something to the camera and ask about it. Only the live picture is looked at. The last minutes stay in memory until you stop; nothing is stored."),
  };
}

/** True while an older connection sends the picture and a newer one is set up. @param {Facts} facts */
function seenMeanwhile({ link, status }) {
  return link !== "closed" && link !== "ended" && status?.camera === "live";
}

/** @param {Facts} facts @returns {{tone: Tone, label: string}} the state of everything, in a word or two */
export function summary(facts) {
  const { active, camera, socket, link, status, muted, ready } = facts;
  if (camera === "asking") return { tone: "busy", label: text("Opening the camera") };
  if (camera === "resting") return { tone: "busy", label: text("Camera resting") };
  if (!active) return { tone: camera === "off" ? "off" : "bad", label: text("Camera is off") };
  if (facts.untrusted) return { tone: "bad", label: text("Not trusted yet") };
  const elsewhere = camera === "elsewhere";
  const linked = elsewhere || link === "connected" || seenMeanwhile(facts);
  if (facts.cut || socket === "waiting" || ((link === "waiting" || link === "interrupted") && !linked)) {
    return { tone: "bad", label: text("Connection lost") };
  }
  if (link === "ended") return { tone: "bad", label: text("Camera refused") };
  if (socket !== "open" || !linked || !ready) return { tone: "busy", label: text("Connecting") };
  if (facts.held) return { tone: "warn", label: text("Picture held") };
  if (muted) return { tone: "warn", label: text("Camera paused") };
  if (status?.camera === "stalled") return { tone: "warn", label: text("Picture stalled") };
  if (status?.camera === "frozen") return { tone: "warn", label: text("Picture frozen") };
  if (elsewhere && status?.camera !== "live") return { tone: "busy", label: text("Waiting for the camera") };
  // Connected is not live: the server has no picture yet.
  if (status?.camera !== "live") return { tone: "busy", label: text("Connecting") };
  if (facts.disclose || (engineState(facts) !== "ready" && engineState(facts) !== "busy")) return { tone: "warn", label: text("Live, no answers") };
  return live();
}

/** @param {Facts} facts @returns {Notice|null} the most important notice now */
export function notice(facts) {
  const { active, camera, socket, link, status, muted } = facts;
  if (!active || !(camera === "on" || farAway(facts))) return null;
  const linked = link === "connected" || camera === "elsewhere" || seenMeanwhile(facts);
  if (facts.untrusted) {
    return {
      tone: "bad",
      title: text("This device does not trust the server yet"),
      text: text("Answers cannot arrive until it does."),
      action: { label: text("What to do") },
    };
  }
  if (facts.cut) return lost(facts);
  if (socket === "open" && !linked && facts.linkError?.status === 0 && (link === "waiting" || link === "connecting")) {
    return {
      tone: "bad",
      title: text("The picture does not get through"),
      text: text("{problem} The page tries again by itself.", { problem: facts.linkError.message }),
      action: { label: text("Try now") },
    };
  }
  if (socket === "waiting" || (link === "waiting" && !linked)) return lost(facts);
  if (link === "ended") {
    return {
      tone: "bad",
      title: text("The server does not accept this camera"),
      text: facts.linkError?.message ?? "",
      action: { label: text("Try again") },
    };
  }
  if (link === "interrupted" && !linked) {
    return { tone: "bad", title: text("Connection interrupted"), text: text("Your picture does not arrive. The page tries again in a moment.") };
  }
  if (muted) {
    return { tone: "warn", title: text("The camera is paused"), text: text("The system took it, perhaps for a call. It comes back by itself.") };
  }
  if (linked && status?.camera === "stalled") {
    return { tone: "warn", title: text("No new picture arrives"), text: text("The network may be too slow. Wait a moment or come closer to the Wi-Fi.") };
  }
  if (linked && status?.camera === "frozen") {
    return { tone: "warn", title: text("The picture stands still"), text: text("The camera sends the same moment again and again. Stop it and start it again.") };
  }
  if (facts.disclose) {
    return {
      tone: "warn",
      title: text("Another machine would get your pictures"),
      text: text("The engine was changed to one on {host}. Nothing is asked until you agree.", { host: facts.disclose }),
      action: { label: text("Review") },
    };
  }
  const engine = engineNotice(facts);
  if (engine) return engine;
  // Hints are about the live picture, so they do not apply to a held one.
  if (facts.held) {
    return { tone: "warn", title: text("Picture held"), text: text("Your next questions are about this moment. Press Hold to release it.") };
  }
  if (status?.black) return { tone: "warn", title: text("The picture is black"), text: text("Uncover the camera, or switch on a light.") };
  if (status?.dark) return { tone: "warn", title: text("It is dark"), text: text("Switch on a light, or the torch.") };
  if (status?.blurred) return { tone: "warn", title: text("The picture is blurred"), text: text("Hold still, or move back a little.") };
  return null;
}

/** @param {Facts} facts @returns {Notice} */
function lost(facts) {
  const action = { label: text("Try now") };
  if (facts.closeCode === 1013) {
    return { tone: "warn", title: text("The server restarts"), text: text("This page comes back by itself."), action };
  }
  if (facts.closeCode === 4429) {
    return { tone: "warn", title: text("Too many connections"), text: text("The server asks for a pause. The page tries again in half a minute."), action };
  }
  if (facts.gone) {
    return {
      tone: "bad",
      title: text("The server has stopped"),
      text: text("It has not come back. This page keeps trying; ask whoever runs the server."),
      action,
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error && error.status > 0) {
    return { tone: "bad", title: text("The server is not ready"), text: text("{problem} The page tries again by itself.", { problem: error.message }), action };
  }
  if (!navigator.onLine) return { tone: "bad", title: text("Connection lost"), text: text("This device is offline. Your words are kept."), action };
  return { tone: "bad", title: text("Connection lost"), text: text("Your words are kept. The page tries again by itself."), action };
}

/** @param {Facts} facts */
export function engineState(facts) {
  return facts.status?.engine_state ?? facts.ready?.engine_state ?? "ready";
}

/** @param {Facts} facts @returns {Notice|null} */
function engineNotice(facts) {
  const state = engineState(facts);
  const detail = facts.status?.engine_detail || facts.ready?.engine_detail || "";
  switch (state) {
    case "loading":
      return { tone: "warn", title: text("The model is loading"), text: fromServer(detail, text("Answers begin as soon as it is ready.")) };
    case "unreachable":
      return { tone: "bad", title: text("The engine cannot be reached"), text: fromServer(detail, text("Whoever runs this server can start it again.")) };
    case "misconfigured":
      return { tone: "bad", title: text("The engine is misconfigured"), text: fromServer(detail, text("Whoever runs this server finds the reason in its log.")) };
    default:
      return null;
  }
}

/**
 * Remarks that belong to an answer, or to the frame that it will be about.
 * @param {{frame?: import("../live/messages.js").FrameInfo, finish_reason?: string, sound?: string, speech?: string}} response
 */
export function remarks(response) {
  const found = [];
  if (response.frame?.dark) found.push(text("The picture was dark. Switch on a light, or the torch."));
  if (response.frame?.blurred) found.push(text("The picture was blurred. Hold still, or move back a little."));
  if (/^(empty|too_long|undecodable|refused)$/.test(response.sound ?? "")) found.push(text("The sound could not be used; only the words were asked."));
  if (response.speech === "refused") found.push(text("The model did not speak this answer itself; the voice does."));
  if (response.finish_reason === "length") found.push(text("Cut off at the length limit."));
  if (response.finish_reason === "content_filter") found.push(text("The model server's filter cut this answer."));
  if (response.finish_reason === "cancelled") found.push(text("Cancelled."));
  if (response.finish_reason === "replaced") found.push(text("Replaced by a newer question."));
  return found.join(" ");
}

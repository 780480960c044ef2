import { ended, fromServer, joined, percent, text } from "../words/text.js";
import { span } from "./routes.js";

/** @typedef {import("../live/facts.js").Facts} Facts */
/** @typedef {"off"|"busy"|"ok"|"warn"|"bad"} Tone */

/**
 * @typedef {{tone: Tone, title: string, text: string, action?: {label: string}, hint?: boolean}} Notice text: the
 *   meaning, and what to do; hint: the next picture may be better
 */

/**
 * The card in place of the picture while there is no camera.
 * @typedef {Object} Card
 * @property {Tone} tone
 * @property {string} title
 * @property {string} text
 * @property {boolean} [busy] it continues by itself, without a button
 */

/** @param {Facts} facts @returns {{tone: Tone, label: string}} */
export const live = ({ screen }) => ({ tone: "ok", label: text(screen ? "page.sharing" : "page.live") });

/** @type {Record<string, string>} */
const ENGINES = { builtin: "page.builtin", vllm: "vLLM", watches: "vLLM", reads: "vLLM", local: "page.local_model" };

/**
 * A camera's name; a default one, such as "Camera 1", is in the page's language.
 * @param {string} [id]
 * @param {string} [name]
 */
export function cameraName(id, name = "") {
  return name === `Camera ${id}` ? text("page.camera_number", { number: Number(id) }) : name;
}

/** @param {string} engine */
export function engineName(engine) {
  return Object.hasOwn(ENGINES, engine) ? text(ENGINES[engine]) : engine;
}

/** The states of engine and camera, as the server names them. @type {Record<string, string>} */
const STATES = {
  ready: "page.state_ready",
  loading: "page.state_loading",
  unreachable: "page.state_unreachable",
  busy: "page.state_busy",
  misconfigured: "page.state_misconfigured",
  starting: "page.state_starting",
  live: "page.state_live",
  stalled: "page.state_stalled",
  frozen: "page.state_frozen",
  ended: "page.state_ended",
};

/** @param {string} state */
export function stateWord(state) {
  return text(STATES[state] ?? state);
}

/** @type {Record<string, Omit<Card, "tone">>} */
const NO_CAMERA = {
  refused: {
    title: "page.camera_denied",
    text: "page.camera_denied_text",
  },
  dismissed: {
    title: "page.camera_dismissed",
    text: "page.camera_dismissed_text",
  },
  missing: {
    title: "page.camera_missing",
    text: "page.camera_missing_text",
  },
  busy: {
    title: "page.camera_in_use",
    text: "page.camera_in_use_text",
  },
  failed: {
    title: "page.camera_failed",
    text: "page.camera_failed_text",
  },
  lost: {
    title: "page.camera_unplugged",
    text: "page.camera_unplugged_text",
  },
  insecure: {
    title: "page.insecure",
    text: "page.insecure_text",
  },
};

/** @param {Facts["camera"]} camera @returns {Omit<Card, "tone">|null} the failure; null for any other state */
export function noCamera(camera) {
  return NO_CAMERA[camera] ? said(NO_CAMERA[camera]) : null;
}

/** @template {Omit<Card, "tone">} T @param {T} words by their ids @returns {T} */
const said = (words) => ({ ...words, title: text(words.title), text: text(words.text) });

/** @type {Record<number, Omit<Card, "tone">>} */
const ENDED = {
  4401: {
    title: "page.access_refused",
    text: "page.access_refused_text",
  },
  4403: {
    title: "page.address_refused",
    text: "page.address_refused_text",
  },
  4408: {
    title: "page.silence_ended",
    text: "page.silence_ended_text",
  },
  4409: {
    title: "page.other_window",
    text: "page.other_window_text",
  },
  4410: {
    title: "page.operator_ended",
    text: "page.operator_ended_text",
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
      title: text("page.waiting_other"),
      text: text("page.waiting_other_text"),
      busy: true,
    };
  }
  if (facts.camera === "asking") {
    return { tone: "busy", title: text("page.opening_camera"), text: text("page.choose_allow"), busy: true };
  }
  if (facts.camera === "resting") {
    return { tone: "busy", title: text("page.camera_rests"), text: text("page.camera_rests_text"), busy: true };
  }
  if (facts.camera !== "off") return { tone: "bad", ...said(NO_CAMERA[facts.camera]) };
  const ended = ENDED[facts.closeCode];
  if (ended) return { tone: facts.closeCode === 4403 ? "bad" : "warn", ...said(ended) };
  if (facts.pairingError) {
    return {
      tone: "warn",
      title: text("page.pairing_failed"),
      text: text("page.or_type_code", { problem: facts.pairingError.message }),
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error?.code === "cancelled") {
    return {
      tone: "warn",
      title: text("page.code_needed"),
      text: text("page.code_needed_text"),
    };
  }
  if (error)
    return { tone: "bad", title: text("page.did_not_work"), text: text("page.then_start", { problem: error.message }) };
  return {
    tone: "off",
    title: text("page.welcome"),
    text: text("page.welcome_text"),
  };
}

/** True while an older connection sends the picture and a newer one is set up. @param {Facts} facts */
function seenMeanwhile({ link, status }) {
  return link !== "closed" && link !== "ended" && status?.camera === "live";
}

/** @param {Facts} facts @returns {{tone: Tone, label: string}} the state of everything, in a word or two */
export function summary(facts) {
  const { active, camera, socket, link, status, muted, ready } = facts;
  if (camera === "asking") return { tone: "busy", label: text("page.opening_camera") };
  if (camera === "resting") return { tone: "busy", label: text("page.camera_resting") };
  if (!active) return { tone: camera === "off" ? "off" : "bad", label: text("page.camera_off") };
  if (facts.untrusted) return { tone: "bad", label: text("page.not_trusted") };
  const elsewhere = camera === "elsewhere";
  const linked = elsewhere || link === "connected" || seenMeanwhile(facts);
  if (facts.cut || socket === "waiting" || ((link === "waiting" || link === "interrupted") && !linked)) {
    return { tone: "bad", label: text("page.connection_lost") };
  }
  if (link === "ended") return { tone: "bad", label: text("page.camera_refused") };
  if (socket !== "open" || !linked || !ready) return { tone: "busy", label: text("page.connecting") };
  if (facts.held) return { tone: "warn", label: text("page.picture_held") };
  if (muted) return { tone: "warn", label: text("page.camera_paused") };
  if (status?.camera === "stalled") return { tone: "warn", label: text("page.picture_stalled") };
  if (status?.camera === "frozen") return { tone: "warn", label: text("page.picture_frozen") };
  if (elsewhere && status?.camera !== "live") return { tone: "busy", label: text("page.waiting_camera") };
  // Connected is not live: the server has no picture yet.
  if (status?.camera !== "live") return { tone: "busy", label: text("page.connecting") };
  if (facts.disclose || (engineState(facts) !== "ready" && engineState(facts) !== "busy"))
    return { tone: "warn", label: text("page.no_answers") };
  return live(facts);
}

/** @param {Facts} facts @returns {Notice|null} the most important notice now */
export function notice(facts) {
  const { active, camera, socket, link, status, muted } = facts;
  if (!active || !(camera === "on" || farAway(facts))) return null;
  const linked = link === "connected" || camera === "elsewhere" || seenMeanwhile(facts);
  if (facts.untrusted) {
    return {
      tone: "bad",
      title: text("page.untrusted"),
      text: text("page.untrusted_text"),
      action: { label: text("page.what_to_do") },
    };
  }
  if (facts.cut) return lost(facts);
  if (socket === "open" && !linked && facts.linkError?.status === 0 && (link === "waiting" || link === "connecting")) {
    return {
      tone: "bad",
      title: text("page.no_way"),
      text: text("page.tries_again", { problem: facts.linkError.message }),
      action: { label: text("page.try_now") },
    };
  }
  if (socket === "waiting" || (link === "waiting" && !linked)) return lost(facts);
  if (link === "ended") {
    return {
      tone: "bad",
      title: text("page.camera_unaccepted"),
      text: facts.linkError?.message ?? "",
      action: { label: text("page.try_again") },
    };
  }
  if (link === "interrupted" && !linked) {
    return { tone: "bad", title: text("page.interrupted"), text: text("page.interrupted_text") };
  }
  if (muted) {
    return { tone: "warn", title: text("page.camera_taken"), text: text("page.camera_taken_text") };
  }
  if (linked && status?.camera === "stalled") {
    return { tone: "warn", title: text("page.no_new_picture"), text: text("page.no_new_picture_text") };
  }
  if (linked && status?.camera === "frozen") {
    return { tone: "warn", title: text("page.picture_still"), text: text("problem.camera_frozen") };
  }
  if (facts.disclose) {
    return {
      tone: "warn",
      title: text("page.other_machine"),
      text: text("page.disclosure_text", { host: facts.disclose }),
      action: { label: text("page.review") },
    };
  }
  const engine = engineNotice(facts);
  if (engine) return engine;
  // Hints are about the live picture, not a held one, which the state names.
  if (facts.held) return null;
  // A light does not help with a shared screen.
  if (facts.screen) return null;
  if (status?.black) return { tone: "warn", title: text("page.black"), text: text("page.black_text") };
  const hint = { tone: /** @type {Tone} */ ("warn"), hint: true };
  if (status?.dark) return { ...hint, title: text("page.dark"), text: text("page.dark_text") };
  if (status?.blurred) return { ...hint, title: text("page.blurred"), text: text("page.blurred_text") };
  return null;
}

/** @param {Facts} facts @returns {Notice} */
function lost(facts) {
  const action = { label: text("page.try_now") };
  if (facts.closeCode === 1013) {
    return { tone: "warn", title: text("page.restarts"), text: text("page.restarts_text"), action };
  }
  if (facts.closeCode === 4429) {
    return {
      tone: "warn",
      title: text("page.too_many_connections"),
      text: text("page.too_many_connections_text"),
      action,
    };
  }
  if (facts.gone) {
    return {
      tone: "bad",
      title: text("page.server_stopped"),
      text: text("page.server_stopped_text"),
      action,
    };
  }
  const error = facts.socketError ?? facts.linkError;
  if (error && error.status > 0) {
    return {
      tone: "bad",
      title: text("page.server_not_ready"),
      text: text("page.tries_again", { problem: error.message }),
      action,
    };
  }
  if (!navigator.onLine)
    return { tone: "bad", title: text("page.connection_lost"), text: text("page.offline_text"), action };
  return { tone: "bad", title: text("page.connection_lost"), text: text("page.connection_lost_text"), action };
}

/** @type {Record<"fetching"|"loading", string>} */
const COMING = { fetching: "page.coming_fetching", loading: "page.coming_loading" };

/**
 * How far the model on its way is, and the time left, as far as they are known.
 * @param {NonNullable<Facts["coming"]>} coming
 * @returns {string[]}
 */
export function progress({ percent: share, seconds_left: left }) {
  const known = share === undefined ? [] : [percent(share / 100)];
  return left === undefined ? known : [...known, text("page.time_left", { time: span(1000 * left) })];
}

/** A sentence on the model on its way; "" without one. @param {Pick<Facts, "coming">} facts */
export function comingWords({ coming }) {
  return coming ? ended(joined([text(COMING[coming.step], { model: coming.model }), ...progress(coming)])) : "";
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
      return {
        tone: "warn",
        title: text("page.engine_loading"),
        text: fromServer(detail, text("page.engine_loading_text")),
      };
    case "unreachable":
      return {
        tone: "bad",
        title: text("page.engine_unreachable"),
        text: fromServer(detail, text("page.engine_unreachable_text")),
      };
    case "misconfigured":
      return {
        tone: "bad",
        title: text("page.engine_misconfigured"),
        text: fromServer(detail, text("page.engine_misconfigured_text")),
      };
    default:
      return null;
  }
}

/**
 * Remarks that belong to an answer, or to the frame that it will be about.
 * @param {{frame?: import("../live/messages.d.ts").FrameInfo, finish_reason?: string, sound?: string, speech?: string}}
 *   response
 */
export function remarks(response) {
  const found = [];
  if (response.frame?.dark) found.push(text("page.was_dark"));
  if (response.frame?.blurred) found.push(text("page.was_blurred"));
  if (/^(empty|too_long|undecodable|refused)$/.test(response.sound ?? "")) found.push(text("page.sound_unused"));
  if (response.speech === "refused") found.push(text("page.voice_instead"));
  if (response.finish_reason === "length") found.push(text("page.cut_off"));
  if (response.finish_reason === "content_filter") found.push(text("page.filtered"));
  if (response.finish_reason === "cancelled") found.push(text("page.cancelled"));
  if (response.finish_reason === "replaced") found.push(text("page.replaced"));
  return found.join(" ");
}

/** Basic mode: the built-in engine, which can do less, answers in place of a model. */

/** @param {Pick<Facts, "ready">} facts @returns {boolean} the built-in engine names things */
export function namesThings({ ready }) {
  return ready?.features?.builtin?.things !== false;
}

/** Describe basic mode in a few words. @param {Pick<Facts, "ready">} facts */
export function simpleWords(facts) {
  return text(namesThings(facts) ? "stage.simple_mode" : "stage.simple_plain");
}

/** @param {Pick<Facts, "ready"|"status">} facts @returns {boolean} the built-in engine answers */
export function inSimpleMode({ ready, status }) {
  return (status?.engine ?? ready?.engine) === "builtin";
}

/** Reports once that the built-in engine has replaced a model, and once that a model answers in its place. */
export class Stand {
  /** @type {boolean|null} null while unknown */
  #simple = null;

  /**
   * @param {string} engine that answers @param {string} model @param {Pick<Facts, "ready">} facts
   * @returns {string} the note for the user; "" for none
   */
  heard(engine, model, facts) {
    const before = this.#simple;
    this.#simple = engine === "builtin";
    if (before === null || before === this.#simple) return "";
    if (this.#simple) return text("stage.model_silent", { simple: simpleWords(facts) });
    return ended(text("stage.model_now", { model }));
  }
}

import { comingWords, engineName, engineState, noCamera, stateWord } from "../page/words.js";
import { ended, fromServer, isolated, joined, number, text } from "../words/text.js";

/** @typedef {import("../live/facts.js").Facts} Facts */

/**
 * A visitor's words first; numbers are in `sending`, `received` and `data`.
 * @param {Facts} facts
 * @returns {{camera: string, connection: string, engine: string, sending: string, received: string, data: string}}
 */
export function details(facts) {
  const { camera, link, socket, status, ready, sent, active } = facts;
  // Without a connection the server's last state may be out of date.
  const known = socket === "open" && !facts.cut;
  const cameraWords = {
    off: text("facts.camera_off"),
    asking: text("facts.camera_opening"),
    resting: text("facts.camera_released"),
    elsewhere: [text("facts.camera_elsewhere"), ...(known ? [serverSees(status)] : [])].join(" "),
    on: facts.muted ? text("facts.camera_paused") : known ? serverSees(status) : text("doctor.camera_on"),
  };
  const connection = !active
    ? text("facts.not_connected")
    : facts.untrusted
      ? text("facts.untrusted")
      : socket === "open" && (link === "connected" || camera === "elsewhere")
        ? quality(facts)
        : facts.cut || socket === "waiting" || link === "waiting"
        ? text("facts.connection_lost")
        : link === "interrupted"
          ? text("facts.interrupted")
          : link === "ended"
            ? (facts.linkError?.message ?? text("facts.refused"))
            : ended(text("page.connecting"));
  const engine = status?.engine ?? ready?.engine;
  const host = ready?.elsewhere ?? "";
  const name = engine === "local" && host ? text("facts.other_machine") : engineName(engine ?? "");
  const model = ready?.model && ready.model !== engine ? ` (${ready.model})` : "";
  const engineWords = !engine || !known
    ? text("facts.once_connected")
    : [
        text("facts.engine_state", { engine: name + model, state: stateWord(engineState(facts)) }),
        engineState(facts) === "ready" ? "" : fromServer(status?.engine_detail || ready?.engine_detail),
        fromServer(ready?.stands_in),
        comingWords(facts),
        !host ? "" : facts.disclose ? text("facts.pictures_go_after", { host }) : text("facts.pictures_go", { host }),
      ]
        .join(" ")
        .trim();
  return {
    camera:
      camera in cameraWords
        ? cameraWords[/** @type {keyof cameraWords} */ (camera)]
        : ended(noCamera(camera)?.title ?? ""),
    connection,
    engine: engineWords,
    sending: sending(sent),
    received: known ? receivedWords(status) : text("facts.once_connected"),
    data: dataUse(sent),
  };
}

/** @param {Facts} facts of one that is connected */
function quality({ status, sent }) {
  if (sent?.limitation === "bandwidth") return text("facts.limited_network");
  return text(status?.camera === "live" ? "facts.good" : "page.connected");
}

/** @param {Facts["status"]} status */
function serverSees(status) {
  return status?.camera ? text("facts.server_sees", { seen: stateWord(status.camera) }) : text("facts.no_picture_yet");
}

/** @param {Facts["status"]} status */
function receivedWords(status) {
  if (!status?.camera) return "";
  const size = status.width && status.height ? `${status.width}×${status.height}` : "";
  const rate = status.fps === undefined ? "" : frameRate(status.fps);
  const clock = status.clock_doubted ? text("facts.clock_wrong") : "";
  return `${ended(joined([size, rate].filter(Boolean)) || stateWord(status.camera))} ${clock}`.trim();
}

/** @param {number} fps */
const frameRate = (fps) => text("facts.frame_rate", { rate: number(fps, fps < 10 ? 1 : 0) });

/** @param {Facts["sent"]} sent */
function sending(sent) {
  if (!sent || sent.width === 0) return text("facts.nothing_sent");
  /** @type {Record<string, string>} */
  const limits = {
    cpu: text("facts.limited_device"),
    bandwidth: text("facts.limited_network"),
    other: text("facts.limited_browser"),
  };
  const size = `${sent.width}×${sent.height}`;
  return `${ended(joined([size, frameRate(sent.fps)]))} ${limits[sent.limitation] ?? ""}`.trim();
}

/** @param {Facts["sent"]} sent */
function dataUse(sent) {
  return sent
    ? `${isolated(`${number(sent.bytes / 1e6, 1)}\u00a0MB`)} · ${isolated(`${number(sent.kbps)}\u00a0kbit/s`)}`
    : "";
}

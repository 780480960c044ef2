import { engineName, engineState, noCamera } from "../page/words.js";
import { fromServer } from "../words/problems.js";
import { ended, isolated, joined, key, number, text } from "../words/text.js";

/** @typedef {import("../live/facts.js").Facts} Facts */

// The states of engine and camera, as the server names them
const STATES = [key("ready"), key("loading"), key("unreachable"), key("busy"), key("misconfigured"), key("starting"), key("live"), key("stalled"), key("frozen"), key("ended")];
/** @param {string} state */
const stateWord = (state) => (STATES.includes(state) ? text(state) : state);

/** @param {Facts} facts @returns {{camera: string, connection: string, engine: string, sending: string, data: string}} */
export function details(facts) {
  const { camera, link, socket, status, ready, sent, active } = facts;
  const cameraWords = {
    off: text("Off."),
    asking: text("Opening. Choose Allow if the browser asks."),
    resting: text("Released while this page is hidden."),
    elsewhere: `${text("Another device's.")} ${serverSees(status)}`,
    on: facts.muted ? text("Paused by the system.") : serverSees(status),
  };
  const connection = !active
    ? text("Not connected.")
    : facts.untrusted
      ? text("Refused by the browser: this device does not trust the server's certificate.")
      : socket === "open" && (link === "connected" || camera === "elsewhere")
        ? text("Connected.")
        : facts.cut || socket === "waiting" || link === "waiting"
        ? text("Lost. The page tries again by itself.")
        : link === "interrupted"
          ? text("Interrupted. The page tries again in a moment.")
          : link === "ended"
            ? (facts.linkError?.message ?? text("Refused."))
            : text("Connecting.");
  const engine = status?.engine ?? ready?.engine;
  const host = ready?.elsewhere ?? "";
  const name = engine === "local" && host ? text("Another machine's model") : engineName(engine ?? "");
  const model = ready?.model && ready.model !== engine ? ` (${ready.model})` : "";
  const engineWords = !engine
    ? text("Known once connected.")
    : [
        text("{engine}: {state}.", { engine: name + model, state: stateWord(engineState(facts)) }),
        fromServer(status?.engine_detail || ready?.engine_detail),
        !host ? "" : facts.disclose ? text("Pictures go to {host} once you agree.", { host }) : text("Pictures go to {host}.", { host }),
      ]
        .join(" ")
        .trim();
  return {
    camera: camera in cameraWords ? cameraWords[/** @type {keyof cameraWords} */ (camera)] : ended(noCamera(camera)?.title ?? ""),
    connection,
    engine: engineWords,
    sending: sending(sent),
    data: dataUse(sent),
  };
}

/** @param {Facts["status"]} status */
function serverSees(status) {
  if (!status?.camera) return text("On. The server has no picture of it yet.");
  const size = status.width && status.height ? `${status.width}×${status.height}` : "";
  const rate = status.fps === undefined ? "" : frameRate(status.fps);
  const seen = joined([stateWord(status.camera), size, rate].filter(Boolean));
  const clock = status.clock_doubted ? ` ${text("Its clock is wrong, so the server's clock decides which picture is new.")}` : "";
  return text("On. The server sees it: {seen}.", { seen }) + clock;
}

/** @param {number} fps */
const frameRate = (fps) => text("{rate} frames a second", { rate: number(fps, fps < 10 ? 1 : 0) });

/** @param {Facts["sent"]} sent */
function sending(sent) {
  if (!sent || sent.width === 0) return text("Nothing.");
  /** @type {Record<string, string>} */
  const limits = { cpu: text("Limited: this device is busy."), bandwidth: text("Limited: the network is slow."), other: text("Limited by the browser.") };
  return `${ended(joined([`${sent.width}×${sent.height}`, frameRate(sent.fps)]))} ${limits[sent.limitation] ?? ""}`.trim();
}

/** @param {Facts["sent"]} sent */
function dataUse(sent) {
  return sent ? `${isolated(`${number(sent.bytes / 1e6, 1)}\u00a0MB`)} · ${isolated(`${number(sent.kbps)}\u00a0kbit/s`)}` : "";
}

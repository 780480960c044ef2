import { ended, isolated, joined, key, list, number, percent as share, text } from "../words/text.js";
import { said } from "./serverwords.js";

/** @typedef {import("./engine.js").EngineFacts} EngineFacts */
/** @typedef {import("./engine.js").Model} Model */
/** @typedef {import("./engine.js").Mode} Mode */

/** @type {Record<string, string>} heading of each type, in this order */
export const TYPES = {
  vision: key("Answers about pictures"),
  omni: key("Pictures, and hears or speaks"),
  speech: key("Reads texts aloud"),
  audio: key("Makes sounds"),
  video: key("Makes videos"),
};

/** @type {Record<Mode, string>} */
export const MODES = {
  in_process: key("In this program"),
  subprocess: key("Its own process"),
  container: key("A container"),
  remote: key("Another server"),
};

// A server whose program is not known, as the report has it
const UNNAMED = key("a model server");

/** @type {Record<string, string>} by mode */
const LOADS = {
  in_process: key("Loading {model} in this program"),
  subprocess: key("Loading {model} in its own process"),
  container: key("Loading {model} in a container"),
};

/** @type {Record<string, string>} by mode */
const RUNS = {
  in_process: key("{model} runs in this program"),
  subprocess: key("{model} runs in its own process"),
  container: key("{model} runs in a container"),
};

/** @param {number} count @returns {string} "7.5 GB" */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at++;
  }
  return isolated(`${number(count, count < 9.95 && at > 0 ? 1 : 0)}\u00a0${units[at]}`);
}

/** The line under a model's name. @param {Model} model */
export function size({ weights_bytes: weights, memory_bytes: memory, here }) {
  const files = weights ? [bytes(weights)] : [];
  const parts = [joined([here ? text("here") : text("not fetched"), ...files]), memory ? text("takes {size} of\u00a0memory", { size: bytes(memory) }) : ""];
  return parts.filter(Boolean).join(" · ");
}

/**
 * A sentence about main memory and GPU memory.
 * @param {number|undefined} memory @param {number|undefined} gpu @param {(taken: string) => string} sentence
 * @returns {string} "" when both are unknown
 */
function held(memory, gpu, sentence) {
  const parts = [memory ? text("{size} of memory", { size: bytes(memory) }) : "", gpu ? text("{size} of GPU memory", { size: bytes(gpu) }) : ""].filter(Boolean);
  return parts.length ? sentence(list(parts)) : "";
}

/** A sentence about the memory freed by the previous model. @param {EngineFacts["report"]} report @returns {string} "" when unknown */
export function givenBack(report) {
  const back = report?.released;
  if (!back) return "";
  const left = back.left_bytes ? ` ${text("{size} are not free yet.", { size: bytes(back.left_bytes) })}` : "";
  return held(back.memory_bytes, back.gpu_bytes, (given) => text("The previous model freed {memory}.", { memory: given }) + left);
}

/**
 * The engine that answers visitors now.
 * @param {EngineFacts["report"]} report
 * @returns {{title: string, detail: string}} both "" when unknown
 */
function answering(report) {
  if (!report || (!report.answering && !report.why)) return { title: "", detail: "" };
  const { engine = "", model = "", server = "", where = "" } = report.answering ?? {};
  const why = said(report.why ?? "");
  if (!engine) return { title: text("Nothing answers"), detail: why };
  if (engine === "builtin") return { title: text("The built-in engine answers"), detail: why };
  const at = where ? text("It is at {host}.", { host: where }) : "";
  const title = server
    ? text("{model} on {host} answers", { model: model || text("A model"), host: server === UNNAMED ? text(UNNAMED) : server })
    : text("{model} answers", { model: model || text("The local model") });
  return { title, detail: [at, why].filter(Boolean).join(" ") };
}

/** A sentence about the engine that answers meanwhile. @param {EngineFacts} facts @returns {string} */
export function meanwhile({ report }) {
  if (!report || report.state === "idle" || (report.state === "ready" && report.answers)) return "";
  const { title, detail } = answering(report);
  const where = report.answering?.where ? ` (${report.answering.where})` : "";
  return report.answering ? ended(`${title}${where}`) : [ended(title), detail].filter(Boolean).join(" ");
}

/**
 * The engine's state in words.
 * @param {EngineFacts} facts
 * @returns {{tone: import("../page/words.js").Tone, title: string, detail: string, percent: number|null, stoppable: boolean}}
 *   percent: progress; null when unknown, NaN without any
 */
export function standing({ report, models }) {
  const none = { percent: NaN, stoppable: false };
  if (!report) return { ...none, tone: "off", title: text("Not known yet"), detail: "" };
  const name = models.find(({ id }) => id === report.model)?.name ?? (said(report.model ?? "") || text("the engine"));
  const far = report.mode === "remote";
  const mode = report.mode ?? "";
  switch (report.state) {
    case "loading": {
      const { phase = "starting", percent, done_bytes: done, total_bytes: total } = report.progress ?? {};
      const parts = [
        said(phase),
        percent === undefined ? "" : share(percent / 100),
        done !== undefined && total ? text("{done} of {total}", { done: bytes(done), total: bytes(total) }) : "",
      ];
      const taken = held(report.memory_bytes, report.gpu_bytes, (so) => text("{memory} so far", { memory: so }));
      const detail = [...parts, taken].filter(Boolean).join(" · ");
      const title = text(far ? key("Connecting to {model}") : (LOADS[mode] ?? key("Loading {model}")), { model: name });
      return { tone: "busy", title, detail, percent: percent ?? null, stoppable: true };
    }
    case "ready": {
      const parts = [
        report.answers ? text("It answers visitors.") : text("Another engine answers visitors."),
        held(report.memory_bytes, report.gpu_bytes, (taken) => text("It uses {memory}.", { memory: taken })),
      ];
      const detail = parts.filter(Boolean).join(" ");
      const title = text(far ? key("Connected to {model}") : (RUNS[mode] ?? key("{model} runs")), { model: name });
      return { ...none, tone: report.answers ? "ok" : "warn", title, detail, stoppable: true };
    }
    case "stopping":
      return { tone: "busy", title: text("Stopping {model}", { model: name }), detail: text("Its memory is being freed."), percent: null, stoppable: false };
    case "failed":
      return { ...none, tone: "bad", title: far ? text("{model} is not used", { model: name }) : text("{model} does not run", { model: name }), detail: "" };
    default: {
      const { title, detail } = answering(report);
      if (!title) {
        return { ...none, tone: "off", title: text("No model is loaded"), detail: text("The server chooses among the engines it has.") };
      }
      const tone = !report.answering ? "bad" : report.answering.engine === "builtin" && report.why ? "warn" : "ok";
      return { ...none, tone, title, detail: [detail, text("Nothing else is loaded from here.")].filter(Boolean).join(" ") };
    }
  }
}

/** Label of the button that starts the choice. @param {EngineFacts} facts @param {string} model @param {Mode|null} mode */
export function startWords({ report, busy }, model, mode) {
  if (busy) return text("A moment…");
  const loaded = report && ["loading", "ready"].includes(report.state);
  if (!loaded) return text("Start");
  return report.model === model && report.mode === mode ? text("Start again") : text("Switch to this");
}

/** True while the server fetches or checks a model. @param {import("./fetching.js").Fetching|null} fetching */
export function underWay(fetching) {
  return fetching?.state === "fetching" || fetching?.state === "checking";
}

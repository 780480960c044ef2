import { number } from "../../../core/operator/words.js";

/** @typedef {import("./desk.js").EngineFacts} EngineFacts */
/** @typedef {import("./desk.js").Model} Model */
/** @typedef {import("./desk.js").Mode} Mode */

/** @type {Record<string, string>} heading of each type, in this order */
export const TYPES = {
  vision: "Answers about pictures",
  omni: "Pictures, and hears or speaks",
  speech: "Reads texts aloud",
  audio: "Makes sounds",
  video: "Makes videos",
};

/** @type {Record<Mode, string>} */
export const MODES = {
  in_process: "In this program",
  subprocess: "Its own process",
  container: "A container",
  remote: "Another server",
};

/** @type {Record<string, string>} by mode */
const HOW = { in_process: " in this program", subprocess: " in its own process", container: " in a container" };

/** @param {number} count @returns {string} "7.5 GB" */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at++;
  }
  return `${number(count, count < 9.95 && at > 0 ? 1 : 0)}\u00a0${units[at]}`;
}

/** The line under a model's name. @param {Model} model */
export function size({ weights_bytes: weights, memory_bytes: memory, here }) {
  const files = weights ? [bytes(weights)] : [];
  const parts = [
    [here ? "here" : "not fetched", ...files].join(", "),
    memory ? `takes ${bytes(memory)} of\u00a0memory` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

/**
 * The engine that answers visitors now.
 * @param {EngineFacts["report"]} report
 * @returns {{title: string, detail: string}} both "" when unknown
 */
function answering(report) {
  if (!report || (!report.answering && !report.why)) return { title: "", detail: "" };
  const { engine = "", model = "", server = "", where = "" } = report.answering ?? {};
  const why = report.why ?? "";
  if (!engine) return { title: "Nothing answers", detail: why };
  if (engine === "builtin") return { title: "The built-in engine answers", detail: why };
  const at = where ? `It is at ${where}.` : "";
  const title = server
    ? `${model || "A model"} on ${server} answers`
    : `${model || "The local model"} answers`;
  return { title, detail: [at, why].filter(Boolean).join(" ") };
}

/** Sentences about the engines that do other work than answering. @param {NonNullable<EngineFacts["report"]>} report */
function others({ roles }) {
  const does = { watches: "watches", reads: "reads texts" };
  return Object.entries(does).map(([role, words]) => {
    const one = roles?.[role];
    if (!one) return "";
    const name = one.engine === "builtin" ? "The built-in engine" : one.model || one.engine;
    return `${name}${one.where ? ` at ${one.where}` : ""} ${words}.`;
  });
}

/** A sentence about the engine that answers meanwhile. @param {EngineFacts} facts @returns {string} */
export function meanwhile({ report }) {
  if (!report || report.state === "idle" || (report.state === "ready" && report.answers)) return "";
  const { title, detail } = answering(report);
  const where = report.answering?.where ? ` (${report.answering.where})` : "";
  return report.answering ? `${title}${where}.` : [`${title}.`, detail].filter(Boolean).join(" ");
}

/**
 * The engine's state in words.
 * @param {EngineFacts} facts
 * @returns
 *   {{tone: import("../../../core/page/words.js").Tone, title: string, detail: string, percent: number|null,
 *   stoppable: boolean}}
 *   percent: progress; null when unknown, NaN without any
 */
export function standing({ report, models }) {
  const none = { percent: NaN, stoppable: false };
  if (!report) return { ...none, tone: "off", title: "Not known yet", detail: "" };
  const name = models.find(({ id }) => id === report.model)?.name ?? (report.model || "the engine");
  const far = report.mode === "remote";
  const mode = report.mode ?? "";
  switch (report.state) {
    case "loading": {
      const { phase = "starting", percent, done_bytes: done, total_bytes: total } = report.progress ?? {};
      const parts = [
        phase,
        percent === undefined ? "" : `${Math.round(percent)}\u00a0%`,
        done !== undefined && total ? `${bytes(done)} of ${bytes(total)}` : "",
      ];
      const detail = parts.filter(Boolean).join(" · ");
      const title = far ? `Connecting to ${name}` : `Loading ${name}${HOW[mode] ?? ""}`;
      return { tone: "busy", title, detail, percent: percent ?? null, stoppable: true };
    }
    case "ready": {
      const parts = [
        report.answers ? "It answers visitors." : "Another engine answers visitors.",
        ...others(report),
      ];
      const detail = parts.filter(Boolean).join(" ");
      const title = far ? `Connected to ${name}` : `${name} runs${HOW[mode] ?? ""}`;
      return { ...none, tone: report.answers ? "ok" : "warn", title, detail, stoppable: true };
    }
    case "stopping":
      return {
        tone: "busy",
        title: `Stopping ${name}`,
        detail: "Its memory is being freed.",
        percent: null,
        stoppable: false,
      };
    case "failed":
      return { ...none, tone: "bad", title: far ? `${name} is not used` : `${name} does not run`, detail: "" };
    default: {
      const { title, detail } = answering(report);
      if (!title) {
        return {
          ...none,
          tone: "off",
          title: "No model is loaded",
          detail: "The server chooses among the engines it has.",
        };
      }
      const tone = !report.answering ? "bad" : report.answering.engine === "builtin" && report.why ? "warn" : "ok";
      return {
        ...none,
        tone,
        title,
        detail: [detail, ...others(report), "Nothing else is loaded from here."].filter(Boolean).join(" "),
      };
    }
  }
}

/**
 * Label of the button that starts the choice.
 * @param {EngineFacts} facts
 * @param {string} model
 * @param {Mode|null} mode
 */
export function startWords({ report, busy }, model, mode) {
  if (busy) return "A moment…";
  const loaded = report && ["loading", "ready"].includes(report.state);
  if (!loaded) return "Start";
  return report.model === model && report.mode === mode ? "Start again" : "Switch to this";
}

/** True while the server fetches or checks a model. @param {import("./fetching.js").Fetching|null} fetching */
export function underWay(fetching) {
  return fetching?.state === "fetching" || fetching?.state === "checking";
}

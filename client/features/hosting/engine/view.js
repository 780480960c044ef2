import { byId, made, say, show, tell } from "../../../core/page/dom.js";
import { MODES, TYPES, meanwhile, size, standing, startWords } from "./words.js";

/** @typedef {import("./desk.js").EngineFacts} EngineFacts */
/** @typedef {import("./desk.js").Model} Model */
/** @typedef {import("./desk.js").Mode} Mode */
/** @typedef {import("./desk.js").Choice} Choice */

/** A remote server with any model. @type {Model} */
const ANY = {
  id: "",
  name: "Any OpenAI-compatible server",
  aliases: [],
  type: "",
  abilities: [],
  weights_bytes: 0,
  memory_bytes: 0,
  context_length: null,
  licence: "",
  note: "vLLM, llama.cpp, Ollama and the like: questions go to the first model that it lists.",
  here: false,
  recommended: false,
  fetch: "",
  modes: [{ mode: "remote", ok: true, reason: "" }],
};

/** In the operator's panel: the running model, the possible ones, and the exact command. Uses no connection. */
export class EngineView {
  #now = byId("engine-now", HTMLElement);
  #panel = byId("operator-panel", HTMLElement);
  #state = byId("engine-state", HTMLElement);
  #detail = byId("engine-detail", HTMLElement);
  #answers = byId("engine-answers", HTMLElement);
  #key = byId("engine-key", HTMLInputElement);
  #stale = byId("engine-stale", HTMLElement);
  #error = byId("engine-error", HTMLElement);
  #bar = byId("engine-bar", HTMLProgressElement);
  #stop = byId("engine-stop", HTMLButtonElement);
  #machine = byId("engine-machine", HTMLElement);
  #troubles = byId("engine-troubles", HTMLElement);
  #list = byId("engine-models", HTMLElement);
  #name = byId("engine-name", HTMLElement);
  #note = byId("engine-note", HTMLElement);
  #modes = byId("engine-modes", HTMLElement);
  #fields = byId("engine-fields", HTMLFormElement);
  #command = byId("engine-command", HTMLElement);
  #warnings = byId("engine-warnings", HTMLElement);
  #problem = byId("engine-problem", HTMLElement);
  #start = byId("engine-start", HTMLButtonElement);
  #copy = byId("engine-copy", HTMLButtonElement);
  #log = byId("engine-log", HTMLDetailsElement);
  #logCount = byId("engine-log-count", HTMLElement);
  #lines = byId("engine-lines", HTMLElement);
  #said = byId("engine-said", HTMLElement);

  /** @type {EngineFacts|null} */
  #facts = null;
  /** @type {Model|null} */
  #chosen = null;
  /** @type {Mode|null} */
  #mode = null;
  /** @type {Model[]} drawn last */
  #drawn = [];
  /** State of the last drawn report */
  #was = "";
  #onModel;
  #onChoice;

  /**
   * @param {{onModel: (model: Model|null) => void, onChoice: (choice: Choice|null) => void,
   * onStart: (choice: Choice) => void, onStop: () => void}} hooks
   */
  constructor({ onModel, onChoice, onStart, onStop }) {
    this.#onModel = onModel;
    this.#onChoice = onChoice;
    // The token's field has just disappeared.
    if (document.activeElement === this.#panel) this.#now.focus();
    this.#list.addEventListener("change", (event) => {
      const { value } = /** @type {HTMLInputElement} */ (event.target);
      this.#choose([...this.#drawn, ANY].find(({ id }) => id === value) ?? null);
    });
    this.#modes.addEventListener("change", (event) => {
      this.#mode = /** @type {Mode} */ (/** @type {HTMLInputElement} */ (event.target).value);
      this.#changed();
    });
    this.#fields.addEventListener("input", () => this.#changed());
    this.#fields.addEventListener("submit", (event) => event.preventDefault());
    this.#start.addEventListener("click", () => {
      const choice = this.#choice();
      if (!choice) return;
      // On a phone the state is far above the button.
      this.#panel.scrollTo({ top: 0 });
      onStart(choice);
      // Only the server keeps the key.
      this.#key.value = "";
    });
    this.#stop.addEventListener("click", onStop);
    this.#copy.addEventListener("click", () => void this.#copied());
  }

  /** @param {EngineFacts} facts */
  render(facts) {
    this.#facts = facts;
    this.#renderState(facts);
    this.#renderList(facts.models);
    // Drawing the list may have changed the choice.
    this.#renderChoice(this.#facts);
    this.#renderLog(facts);
  }

  /** @param {EngineFacts} facts */
  #renderState(facts) {
    const { tone, title, detail, percent, stoppable } = standing(facts);
    const first = meanwhile(facts);
    tell(this.#answers, first);
    this.#now.dataset.tone = tone;
    say(this.#state, title);
    tell(this.#detail, detail);
    show(this.#stale, facts.stale);
    say(this.#error, facts.report?.error ?? "");
    show(this.#error, Boolean(facts.report?.error));
    show(this.#bar, !Number.isNaN(percent));
    if (percent === null) this.#bar.removeAttribute("value");
    else if (!Number.isNaN(percent)) this.#bar.value = percent;
    show(this.#stop, stoppable);
    say(this.#machine, facts.machine);
    say(this.#troubles, facts.troubles.join("\n"));
    show(this.#troubles, facts.troubles.length > 0);
    // The log opens when loading begins; closed by the user, it stays closed until the next model.
    const state = facts.report?.state ?? "";
    if (state === "loading" && this.#was !== "loading") this.#log.open = true;
    this.#was = state;
  }

  /** @param {Model[]} models */
  #renderList(models) {
    if (models === this.#drawn) return;
    const same = JSON.stringify(models) === JSON.stringify(this.#drawn);
    this.#drawn = models;
    if (same) return;
    const focused = document.activeElement?.getAttribute("name") ?? "";
    const groups = Object.entries(TYPES).map(([type, title]) => group(title, models.filter((m) => m.type === type)));
    this.#list.replaceChildren(...groups.flat(), ...group("Elsewhere", [ANY]));
    // The running model, else the first that can run here.
    const { report } = this.#facts ?? {};
    const wanted =
      models.find(({ id }) => id === (this.#chosen?.id ?? report?.model)) ??
      (this.#chosen === ANY ? ANY : null) ??
      models.find(({ recommended, modes }) => recommended && modes.some(({ mode, ok }) => ok && mode !== "remote")) ??
      models.find((model) => model.modes.some(({ mode, ok }) => ok && mode !== "remote")) ??
      models[0] ??
      ANY;
    for (const input of this.#list.querySelectorAll("input")) input.checked = input.value === wanted.id;
    this.#choose(wanted);
    // The rows were replaced: restore the focus to the chosen one.
    if (["engine-model", "engine-mode"].includes(focused)) {
      const again = this.#panel.querySelector(`input[name="${focused}"]:checked`);
      if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    }
  }

  /** @param {Model|null} model */
  #choose(model) {
    const again = model?.id === this.#chosen?.id;
    this.#chosen = model;
    this.#onModel(model);
    if (!model) return;
    say(this.#name, model.name);
    const about = [model.note, model.licence ? `Licence: ${model.licence}.` : ""].filter(Boolean).join(" ");
    tell(this.#note, about);
    const running = this.#facts?.report?.model === model.id ? this.#facts.report.mode : null;
    const possible = model.modes.filter(({ ok }) => ok).map(({ mode }) => mode);
    // A remote address belongs to one model only.
    const kept = possible.find((mode) => mode === this.#mode && (again || mode !== "remote"));
    this.#mode = (again ? kept : null) ?? possible.find((mode) => mode === running) ?? kept ?? possible[0] ?? null;
    this.#modes.replaceChildren(...model.modes.map((one) => modeRow(one, one.mode === this.#mode)));
    this.#changed();
  }

  #changed() {
    for (const row of this.#fields.querySelectorAll("[data-modes]")) {
      const { modes = "", types } = /** @type {HTMLElement} */ (row).dataset;
      const fits = !types || types.split(" ").includes(this.#chosen?.type ?? "");
      show(/** @type {HTMLElement} */ (row), fits && this.#mode !== null && modes.split(" ").includes(this.#mode));
    }
    byId("engine-flow", HTMLInputElement).disabled = byId("engine-flow-own", HTMLInputElement).checked;
    show(this.#fields, this.#mode !== null);
    this.#onChoice(this.#choice());
  }

  /** @returns {Choice|null} null while something is missing */
  #choice() {
    if (!this.#chosen || !this.#mode) return null;
    /** @type {Choice} */
    const choice = { model: this.#chosen.id, mode: this.#mode };
    for (const field of this.#fields.querySelectorAll("input, select")) {
      const { name, value, type } = /** @type {HTMLInputElement|HTMLSelectElement} */ (field);
      const row = field.closest("[data-modes]");
      if (value.trim() === "" || (row instanceof HTMLElement && row.hidden)) continue;
      if (field instanceof HTMLInputElement && type === "checkbox") {
        if (field.checked) choice[name] = "own" in field.dataset ? null : true;
        continue;
      }
      choice[name] = type === "number" ? Number(value) : value.trim();
    }
    return this.#mode === "remote" && !choice.url ? null : choice;
  }

  /** @param {EngineFacts} facts */
  #renderChoice(facts) {
    const { preview, problem, busy } = facts;
    const missing = this.#mode === "remote" && !this.#choice() ? "Give the address of the server." : "";
    const none = this.#mode === null ? "It cannot run here: each way says what is missing." : missing;
    say(this.#command, preview?.command ?? "");
    show(byId("engine-what", HTMLElement), preview !== null);
    const warnings = [
      preview?.elsewhere
        ? `Pictures of all visitors would go to ${preview.elsewhere}. Each of them is asked before the first one goes.`
        : "",
      ...(preview?.warnings ?? []),
    ].filter(Boolean);
    say(this.#warnings, warnings.join(" "));
    show(this.#warnings, warnings.length > 0);
    say(this.#problem, problem || none);
    this.#problem.classList.toggle("problem", problem !== "");
    show(this.#problem, problem !== "" || none !== "");
    this.#start.disabled = busy || preview === null;
    say(this.#start, startWords(facts, this.#chosen?.id ?? "", this.#mode));
    this.#stop.disabled = busy;
  }

  /** @param {EngineFacts} facts */
  #renderLog({ lines, dropped }) {
    show(this.#log, lines.length > 0);
    say(
      this.#logCount,
      dropped ? `Its log (${lines.length}, ${dropped} older ones left out)` : `Its log (${lines.length})`,
    );
    const written = lines.join("\n");
    if (this.#lines.textContent === written) return;
    const atEnd = this.#lines.scrollHeight - this.#lines.scrollTop - this.#lines.clientHeight < 24;
    this.#lines.textContent = written;
    if (atEnd) this.#lines.scrollTop = this.#lines.scrollHeight;
  }

  async #copied() {
    try {
      await navigator.clipboard.writeText(this.#command.textContent ?? "");
      say(this.#said, "Copied.");
    } catch {
      // Select the text when the browser does not allow copying.
      getSelection()?.selectAllChildren(this.#command);
      say(this.#said, "It is marked: press Ctrl+C.");
    }
    setTimeout(() => say(this.#said, ""), 4000);
  }
}

/** @param {string} title @param {Model[]} models @returns {HTMLElement[]} nothing for an empty group */
function group(title, models) {
  if (models.length === 0) return [];
  return [made("h4", {}, title), ...models.map(modelRow)];
}

/** @param {Model} model */
function modelRow(model) {
  const possible = model.modes.some(({ mode, ok }) => ok && mode !== "remote") || model === ANY;
  const best = model.recommended ? " · recommended for this machine" : "";
  const about = model === ANY ? "Give its address" : `${size(model)}${best}`;
  return choiceRow("engine-model", model.id, model.name, about, { faint: !possible });
}

/** @param {Model["modes"][number]} one @param {boolean} checked */
function modeRow({ mode, ok, reason }, checked) {
  return choiceRow("engine-mode", mode, MODES[mode] ?? mode, reason.replaceAll("`", ""), { checked, disabled: !ok });
}

/**
 * @param {string} name @param {string} value @param {string} title @param {string} text
 * @param {{checked?: boolean, disabled?: boolean, faint?: boolean}} [state]
 */
function choiceRow(name, value, title, text, { checked = false, disabled = false, faint = false } = {}) {
  const input = made("input", { type: "radio", name, value, checked, disabled });
  // Some of the server's own words are English.
  const words = made("span", {}, made("strong", {}, title), ...(text ? [made("small", { dir: "auto" }, text)] : []));
  return made("label", { className: faint ? "choice faint" : "choice" }, input, words);
}

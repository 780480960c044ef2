import { byId, say, show } from "../page/dom.js";
import { ended, text } from "../words/text.js";

/** @typedef {import("./doctor.js").Result} Result */

/** @type {Record<Result["state"], [mark: string, words: string]>} */
const STATES = {
  ok: ["✓", "doctor.works"],
  warn: ["!", "doctor.doubtful"],
  failed: ["✕", "doctor.broken"],
  skipped: ["–", "doctor.not_checked"],
  running: ["", "doctor.checking"],
};

/** The connection doctor's dialog. It only shows results; the hooks make the checks. */
export class DoctorView {
  #dialog = byId("doctor", HTMLDialogElement);
  #verdict = byId("doctor-verdict", HTMLElement);
  #list = byId("doctor-list", HTMLElement);
  #copy = byId("doctor-copy", HTMLButtonElement);
  #again = byId("doctor-again", HTMLButtonElement);
  #report = byId("doctor-report", HTMLTextAreaElement);
  #said = byId("doctor-said", HTMLElement);
  /** @type {Map<string, Result>} in the order of the first results */
  #results = new Map();
  /** @type {AbortController|null} null while no check runs */
  #run = null;
  #times = { began: new Date(), took: 0 };
  #hooks;

  /**
   * @param {{examine: (onResult: (result: Result) => void, signal: AbortSignal) => Promise<void>,
   *   verdict: (results: Result[]) => {tone: string, text: string},
   *   report: (results: Result[], times: {began: Date, took: number}) => string}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    byId("doctor-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#again.addEventListener("click", () => void this.#examine());
    this.#copy.addEventListener("click", () => void this.#copyReport());
    // Also by the Escape key
    this.#dialog.addEventListener("close", () => this.#run?.abort());
  }

  open() {
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    void this.#examine();
  }

  async #examine() {
    this.#run?.abort();
    const run = (this.#run = new AbortController());
    this.#results.clear();
    this.#list.replaceChildren();
    show(this.#report, false);
    say(this.#said, "");
    this.#again.disabled = this.#copy.disabled = true;
    this.#times = { began: new Date(), took: 0 };
    const start = performance.now();
    await this.#hooks.examine((result) => {
      this.#results.set(result.id, result);
      this.#render(result);
    }, run.signal);
    if (run !== this.#run || run.signal.aborted) return;
    this.#times.took = performance.now() - start;
    this.#again.disabled = this.#copy.disabled = false;
    // Scroll to the first failure if not all results fit.
    this.#list.querySelector('[data-state="failed"], [data-state="warn"]')?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Result} result */
  #render(result) {
    const row = byKey(this.#list, result.id) ?? this.#list.appendChild(emptyRow(result.id));
    const [mark, words] = STATES[result.state];
    row.dataset.state = result.state;
    say(part(row, "mark"), mark);
    say(part(row, "title"), result.title);
    say(part(row, "said"), ` ${ended(text(words))}`);
    for (const name of /** @type {const} */ (["text", "cause", "todo"])) {
      const line = part(row, name);
      say(line, result[name] ?? "");
      show(line, Boolean(result[name]));
    }
    const { tone, text: summary } = this.#hooks.verdict([...this.#results.values()]);
    this.#dialog.dataset.tone = tone;
    say(this.#verdict, summary);
  }

  async #copyReport() {
    const written = this.#hooks.report([...this.#results.values()], this.#times);
    try {
      await navigator.clipboard.writeText(written);
      say(this.#said, text("page.copied"));
    } catch {
      // Copying needs a secure address and permission; otherwise show the text.
      this.#report.value = written;
      show(this.#report, true);
      this.#report.select();
      say(this.#said, text("doctor.copy_from_box"));
    }
  }
}

/** @param {HTMLElement} list @param {string} id */
function byKey(list, id) {
  return /** @type {HTMLElement|undefined} */ (
    [...list.children].find((row) => row instanceof HTMLElement && row.dataset.check === id)
  );
}

/** @param {string} id */
function emptyRow(id) {
  const template = byId("doctor-row", HTMLTemplateElement);
  const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  row.dataset.check = id;
  return row;
}

/** @param {HTMLElement} row @param {string} name */
function part(row, name) {
  return /** @type {HTMLElement} */ (row.querySelector(`.${name}`));
}

import { byId, say, show } from "../../core/page/dom.js";
import { ended, list, onLanguage, text } from "../../core/words/text.js";
import { CLIENTS, rate, state } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").ProgramInfo} ProgramInfo */
/** @typedef {import("./words.js").Made} Made */

// Interval between updates of the remaining time (ms)
const EVERY = 15_000;

/** The dialog in which a person gives other programs access, sees it, and ends it. Knows no connection. */
export class ProgramsDialog {
  #dialog = byId("programs-dialog", HTMLDialogElement);
  #list = byId("programs-list", HTMLElement);
  #form = byId("programs-form", HTMLFormElement);
  #name = byId("programs-name", HTMLInputElement);
  #scopes = ["look", "watch", "events", "listen", "speak"].map((scope) =>
    byId(`programs-${scope}`, HTMLInputElement),
  );
  #made = byId("programs-made", HTMLElement);
  #client = byId("programs-client", HTMLSelectElement);
  #config = byId("programs-config", HTMLTextAreaElement);
  #said = byId("programs-said", HTMLElement);
  #hooks;
  /** @type {ProgramInfo[]} */
  #programs = [];
  #perMinute = 0;
  /** The access that is shown with its token. @type {Made|null} */
  #shown = null;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #timer;

  /**
   * @param {{give: (name: string, scopes: string[], seconds: number) => void, end: (id: string) => void,
   *   endAll: () => void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#client.append(...Object.entries(CLIENTS).map(([id, { name }]) => new Option(name, id)));
    this.#client.addEventListener("change", () => this.#configure());
    byId("programs-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("programs-end-all", HTMLButtonElement).addEventListener("click", hooks.endAll);
    this.#dialog.addEventListener("close", () => {
      clearInterval(this.#timer);
      this.#forget();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const scopes = this.#scopes.filter((one) => one.checked).map((one) => one.value);
      if (scopes.length === 0) return this.say(text("programs.choose"));
      hooks.give(this.#name.value.trim(), scopes, Number(byId("programs-time", HTMLSelectElement).value));
    });
    for (const id of ["programs-address", "programs-token"])
      byId(`${id}-copy`, HTMLButtonElement).addEventListener(
        "click",
        () => void this.#copy(byId(id, HTMLInputElement)),
      );
    byId("programs-config-copy", HTMLButtonElement).addEventListener("click", () => void this.#copy(this.#config));
    onLanguage(() => this.#again());
  }

  open() {
    if (this.#dialog.open) return;
    this.say("");
    this.#name.value ||= text("programs.assistant");
    this.#dialog.showModal();
    byId("programs-title", HTMLElement).focus();
    this.#timer = setInterval(() => this.#again(), EVERY);
    this.#again();
  }

  /** @param {string} words what happened */
  say(words) {
    say(this.#said, words);
  }

  /** @param {boolean} busy access is being given */
  wait(busy) {
    byId("programs-give", HTMLButtonElement).disabled = busy;
  }

  /** Show what the program needs, with its token. @param {Made} made with whole addresses */
  give(made) {
    this.#shown = made;
    byId("programs-address", HTMLInputElement).value = made.mcp;
    byId("programs-token", HTMLInputElement).value = made.token;
    this.#configure();
    show(this.#made, true);
    show(this.#form, false);
    this.#made.scrollIntoView({ block: "nearest" });
    byId("programs-token-copy", HTMLButtonElement).focus({ preventScroll: true });
  }

  /** @param {ProgramInfo[]} programs @param {number} perMinute looks of each one, at most */
  render(programs, perMinute) {
    this.#programs = programs;
    this.#perMinute = perMinute;
    const focused = this.#list.contains(document.activeElement) || document.activeElement?.id === "programs-end-all";
    const ids = programs.map(({ id }) => id).join();
    if (this.#list.dataset.ids !== ids) {
      this.#list.dataset.ids = ids;
      this.#list.replaceChildren(...programs.map((program) => this.#row(program)));
      // A keyboard user stays in the dialog.
      if (focused) byId("programs-title", HTMLElement).focus();
    }
    for (const [at, program] of programs.entries()) {
      const row = this.#list.children[at];
      say(part(row, ".fine"), state(program, Date.now()));
      part(row, ".end").setAttribute("aria-label", text("programs.end_access", { name: program.name }));
    }
    say(byId("programs-rate", HTMLElement), rate(perMinute));
    show(byId("programs-now", HTMLElement), programs.length > 0);
    show(byId("programs-end-all", HTMLElement), programs.length > 1);
    if (this.#shown) this.#configure();
  }

  #again() {
    this.render(this.#programs, this.#perMinute);
  }

  /** @param {ProgramInfo} program */
  #row({ id, name }) {
    const row = part(
      /** @type {DocumentFragment} */ (byId("programs-row-template", HTMLTemplateElement).content.cloneNode(true)),
      "li",
    );
    say(part(row, ".name"), name);
    const end = part(row, ".end");
    say(end, text("page.end"));
    end.addEventListener("click", () => this.#hooks.end(id));
    return row;
  }

  #configure() {
    const client = CLIENTS[this.#client.value];
    say(byId("programs-where", HTMLElement), client.where());
    this.#config.value = this.#shown ? client.config(this.#shown) : "";
  }

  /** Take the secrets away. */
  #forget() {
    this.#shown = null;
    show(this.#made, false);
    show(this.#form, true);
    for (const id of ["programs-address", "programs-token"]) byId(id, HTMLInputElement).value = "";
    this.#config.value = "";
  }

  /** @param {HTMLInputElement|HTMLTextAreaElement} field */
  async #copy(field) {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      this.say(text("page.copied"));
    } catch {
      this.say(text("page.copy_marked"));
    }
  }
}

/** The light on the picture while other programs have access, and beside it the sign that some listen. */
export class ProgramsLight {
  #button;
  #names;
  #listening;
  /** @type {ProgramInfo[]} */
  #listeners = [];

  /** @param {() => void} onTap @param {(ids: string[]) => void} end ends the access of those that listen */
  constructor(onTap, end) {
    const added = /** @type {DocumentFragment} */ (
      byId("programs-light-template", HTMLTemplateElement).content.cloneNode(true)
    );
    this.#button = part(added, "button");
    this.#names = part(added, "span");
    this.#button.addEventListener("click", onTap);
    this.#listening = part(added, "#programs-listening");
    this.#listening.addEventListener("click", () => end(this.#listeners.map(({ id }) => id)));
    byId("menu-open", HTMLElement).before(added);
  }

  /** @param {ProgramInfo[]} programs @param {boolean} looking one looks now */
  render(programs, looking) {
    const names = programs.map(({ name }) => name);
    this.#listeners = programs.filter(({ listening }) => listening);
    const listeners = list(this.#listeners.map(({ name }) => name));
    show(this.#listening, this.#listeners.length > 0);
    const said = listeners && text("programs.is_listening", { name: listeners });
    const label = listeners && `${ended(said)} ${text("programs.end_access", { name: listeners })}`;
    this.#listening.setAttribute("aria-label", label);
    this.#listening.title = label;
    say(part(this.#listening, "span"), said);
    show(this.#button, names.length > 0);
    const others = names.length > 0 ? text("programs.others_may_look", { names: list(names) }) : "";
    this.#button.setAttribute("aria-label", others);
    this.#button.title = others;
    this.#button.toggleAttribute("data-looking", looking);
    say(this.#names, names.length > 0 ? list(names) : "");
  }
}

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement} */
function part(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`A template of the programs has no ${selector}.`);
  return found;
}

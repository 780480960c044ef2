import { button, made } from "../page/dom.js";
import { asTurn } from "../chat/conversation.js";
import { text } from "../words/text.js";
import { FORMATS, fileName, fileOf } from "./keep.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("../chat/conversation.js").Aside} Aside */
/** @typedef {import("./keep.js").Kept} Kept */
/** @typedef {import("./keep.js").Format} Format */

// The server keeps so many pictures of a session; others are there as small copies.
const MOST_FETCHED = 12;
// Milliseconds that a browser lets pass between a tap and the sharing
const SOON = 2500;
// Milliseconds for the second tap, which deletes
const CONFIRM_TIME = 6000;

/** Saves the conversation where the person says, shares an answer, and deletes all when asked twice. */
export class Keeping {
  #dialog = made("dialog", { id: "keep-dialog" });
  #said = made("p", { className: "fine" });
  #formats = made("fieldset");
  #later = made("button");
  #all = made("button");
  // While it runs, a tap on "Delete all" deletes.
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #confirming;
  #load;
  #marked;
  #onDelete;
  /** @type {Turn[]} */
  #turns = [];
  /** @type {Aside[]} */
  #asides = [];

  /**
   * @param {(id: string) => Promise<Blob>} load fetches a picture @param {(turn: Turn) => boolean} marked see
   *   `ChatActions`
   * @param {() => void} onDelete delete all answers
   */
  constructor(load, marked, onDelete) {
    this.#load = load;
    this.#marked = marked;
    this.#onDelete = onDelete;
    this.#dialog.addEventListener("close", () => this.#askAnew());
    this.#said.setAttribute("role", "status");
    document.body.append(this.#dialog);
  }

  /** @param {Turn[]} turns @param {Aside[]} asides */
  open(turns, asides) {
    this.#turns = turns.filter((turn) => turn.text || turn.problem);
    this.#asides = asides;
    this.#said.textContent = this.#turns.length + asides.length === 0 ? text("answer.none_yet") : "";
    // Each time, in the page's language of then
    const title = made("h2", { id: "keep-title", textContent: text("facts.keep") });
    this.#dialog.setAttribute("aria-labelledby", title.id);
    this.#formats.replaceChildren(
      made("legend", {}, text("answer.save_as")),
      ...Object.entries(FORMATS).map(([format, { name }]) => choice(format, text(name))),
    );
    const hint = made("p", { className: "fine" }, text("answer.made_here"));
    this.#all = button((event) => this.#askOrDelete(event), {
      className: "danger",
      textContent: text("answer.delete_all"),
    });
    this.#all.addEventListener("blur", () => this.#askAnew());
    this.#later = button(() => this.#dialog.close(), { textContent: text("page.not_now") });
    const save = button(() => void this.#save(), { className: "primary", textContent: text("answer.save") });
    const row = made("div", { className: "row" }, this.#all, this.#later, save);
    this.#dialog.replaceChildren(title, this.#formats, hint, this.#said, row);
    this.#dialog.showModal();
    save.focus();
  }

  /** Share an answer with its picture. @param {Turn} turn @param {string} words of it @throws {DOMException} */
  async share(turn, words) {
    const picture = await Promise.race([this.#pictureOf(turn), new Promise((done) => setTimeout(done, SOON, ""))]);
    const blob = blobOf(picture || (turn.frame?.thumbnail ?? ""));
    const files = blob ? [new File([blob], "picture.jpg", { type: "image/jpeg" })] : [];
    const all = { text: `${turn.question}\n\n${words}`, files };
    await navigator.share(files.length > 0 && navigator.canShare?.(all) ? all : { text: all.text });
  }

  /**
   * Save one answer with its picture, where the browser cannot share it.
   * @param {Turn} turn
   * @returns {Promise<string>} how it went
   */
  saveOne(turn) {
    return this.#write("html", [turn], []);
  }

  async #save() {
    const format = /** @type {Format} */ (
      this.#formats.querySelector("input:checked")?.getAttribute("value") ?? "markdown"
    );
    this.#said.textContent = await this.#write(
      format,
      this.#turns,
      this.#asides,
      () => (this.#said.textContent = text("answer.making_file")),
    );
    if (this.#said.textContent === text("answer.saved")) this.#later.textContent = text("page.done");
  }

  /**
   * @param {Format} format
   * @param {Turn[]} turns
   * @param {Aside[]} asides
   * @param {() => void} [onPlace] the place is chosen
   * @returns {Promise<string>} how it went; "" when it was called off
   */
  async #write(format, turns, asides, onPlace) {
    const now = new Date();
    const name = fileName(format, now);
    const { type, extension } = FORMATS[format];
    try {
      // First, because it needs the tap
      const place = await /** @type {any} */ (window).showSaveFilePicker?.({
        suggestedName: name,
        types: [{ accept: { [type]: [extension] } }],
      });
      onPlace?.();
      const blob = new Blob([fileOf(format, merge(await this.#kept(format, turns), asides), now)], { type });
      if (place) {
        const file = await place.createWritable();
        await file.write(blob);
        await file.close();
      } else download(blob, name);
      return text("answer.saved");
    } catch (error) {
      const closed = error instanceof DOMException && error.name === "AbortError";
      return closed ? "" : text("answer.not_saved", { reason: error instanceof Error ? error.message : "" });
    }
  }

  /** @param {Format} format @param {Turn[]} turns @returns {Promise<Kept[]>} */
  async #kept(format, turns) {
    const kept = turns.map((turn) => ({ turn, picture: turn.frame?.thumbnail ?? "", marked: this.#marked(turn) }));
    if (format === "markdown") return kept;
    for (const one of kept.filter(({ turn }) => turn.frame?.picture).slice(-MOST_FETCHED)) {
      one.picture = (await this.#pictureOf(one.turn)) || one.picture;
    }
    return kept;
  }

  /** The picture as it was sent, as a data URL; "" when the server has it no more. @param {Turn} turn */
  async #pictureOf({ frame }) {
    if (!frame?.picture) return "";
    try {
      const bytes = new Uint8Array(await (await this.#load(frame.picture)).arrayBuffer());
      let binary = "";
      // In parts: a call takes so many arguments at most.
      for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
      return `data:image/jpeg;base64,${btoa(binary)}`;
    } catch {
      return "";
    }
  }

  /** Ask at the first tap, and delete at the second. @param {MouseEvent} event */
  #askOrDelete({ detail }) {
    // The second half of a double click is no answer.
    if (detail > 1) return;
    if (this.#confirming !== undefined) return this.#delete();
    this.#all.textContent = text("answer.really_delete");
    this.#said.textContent = text("answer.press_again");
    this.#confirming = setTimeout(() => this.#askAnew(), CONFIRM_TIME);
  }

  /** Take the question back: the next tap asks again. */
  #askAnew() {
    if (this.#confirming === undefined) return;
    clearTimeout(this.#confirming);
    this.#confirming = undefined;
    this.#all.textContent = text("answer.delete_all");
    this.#said.textContent = "";
  }

  #delete() {
    this.#onDelete();
    this.#turns = [];
    this.#asides = [];
    this.#dialog.close();
  }
}

/**
 * Put other programs' questions where they stood on the page.
 * @param {Kept[]} kept
 * @param {Aside[]} asides
 * @returns {Kept[]}
 */
function merge(kept, asides) {
  // The number of a turn; some that stood above are deleted by now.
  const place = (/** @type {string} */ key) => Number(key.split("-")[1] ?? 0);
  const theirs = asides.map((aside) => ({
    turn: asTurn(aside),
    picture: aside.picture,
    marked: false,
    program: { name: aside.by, at: aside.at },
  }));
  const all = [
    ...kept.map((one) => ({ one, at: place(one.turn.key) })),
    ...theirs.map((one, index) => ({ one, at: place(asides[index].after) + 0.5 })),
  ];
  return all.sort((first, second) => first.at - second.at).map(({ one }) => one);
}

/** @param {string} picture a data URL @returns {Blob|null} */
function blobOf(picture) {
  const [, data] = picture.split(";base64,");
  if (!data) return null;
  return new Blob([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], { type: "image/jpeg" });
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = made("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  // After the browser has begun to read it
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {string} format @param {string} name */
function choice(format, name) {
  const input = made("input", { type: "radio", name: "keep-format", value: format, checked: format === "html" });
  return made("label", {}, input, ` ${name}`);
}

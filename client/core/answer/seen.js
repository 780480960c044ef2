import { button, made } from "../page/dom.js";
import { clock, ended, number, percent, plural, text } from "../words/text.js";
import { Zoom } from "./zoom.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("../live/messages.d.ts").FrameInfo} FrameInfo */

/** Shows the very picture that a model got with an answer, and another answer's beside it. */
export class SeenDialog {
  #dialog = made("dialog", { id: "seen-dialog" });
  #title = made("h2", { id: "seen-title" });
  #views = made("div", { className: "views" });
  #other = made("select");
  #compared = document.createTextNode("");
  #compare = made("label", {}, this.#compared, " ", this.#other);
  #scale = made("output", { ariaLive: "off" });
  #zoom = new Zoom((scale) => (this.#scale.value = percent(scale)));
  // Of the part that was looked at again: another picture, so it moves by itself
  #closer = new Zoom(() => {});
  // Of that part, and its place in the whole; nothing else is in the way of two pictures side by side
  /** @type {Element[]} */
  #parts = [];
  // The figure of the picture beside it
  /** @type {Element|undefined} */
  #second;
  /** @type {Turn[]} those that can stand beside it */
  #others = [];
  // Addresses of the pictures that are shown, to be given back
  /** @type {string[]} */
  #addresses = [];
  #load;
  // Zoom out, zoom in, done
  /** @type {HTMLButtonElement[]} */
  #buttons;

  /**
   * @param {(id: string) => Promise<Blob>} load fetches a picture from the server; throws when it is not there any more
   */
  constructor(load) {
    this.#load = load;
    this.#dialog.setAttribute("aria-labelledby", this.#title.id);
    this.#other.addEventListener("change", () => this.#beside(this.#others[this.#other.selectedIndex - 1]));
    const by = (/** @type {number} */ factor) => () => [this.#zoom, this.#closer].forEach((zoom) => zoom.by(factor));
    const done = button(() => this.#dialog.close(), { className: "primary" });
    const [out, closer] = [button(by(1 / 1.5), { textContent: "−" }), button(by(1.5), { textContent: "+" })];
    this.#buttons = [out, closer, done];
    this.#dialog.append(
      this.#title,
      this.#views,
      made("div", { className: "row" }, out, this.#scale, closer, this.#compare, done),
    );
    this.#dialog.addEventListener("close", () => this.#clear());
    document.body.append(this.#dialog);
  }

  /** @param {Turn} turn @param {Turn[]} turns all that there are */
  open(turn, turns) {
    if (!turn.frame) return;
    this.#clear();
    this.#title.textContent = text("page.model_saw");
    this.#compared.textContent = text("answer.compare");
    this.#buttons[0].setAttribute("aria-label", text("answer.zoom_out"));
    this.#buttons[1].setAttribute("aria-label", text("answer.zoom_in"));
    this.#buttons[2].textContent = text("page.done");
    this.#zoom.reset();
    this.#closer.reset();
    this.#others = turns.filter((other) => other !== turn && other.frame?.thumbnail).reverse();
    this.#compare.hidden = this.#others.length === 0;
    const option = (/** @type {string} */ words) => made("option", {}, words);
    this.#other.replaceChildren(
      option(text("answer.no_other")),
      ...this.#others.map(({ question, frame }) =>
        option(`${clock(frame?.captured_at ?? 0)} ${question}`.slice(0, 60)),
      ),
    );
    this.#show(turn.question, turn.frame);
    const closer = turn.response?.closer;
    if (closer) {
      const words = turn.frame.part ? text("answer.pointed_part") : text("answer.looked_again_part");
      this.#parts = [this.#mark(turn.frame, closer), this.#show(turn.question, closer, words)];
    }
    this.#dialog.showModal();
  }

  /** @param {Turn|undefined} turn */
  #beside(turn) {
    this.#second?.remove();
    for (const part of this.#parts) part.toggleAttribute("hidden", turn !== undefined);
    if (turn?.frame) this.#second = this.#show(turn.question, turn.frame);
  }

  #clear() {
    for (const address of this.#addresses.splice(0)) URL.revokeObjectURL(address);
    for (const zoom of [this.#zoom, this.#closer]) zoom.clear();
    this.#views.replaceChildren();
    this.#parts = [];
  }

  /** Show where the part is in the whole picture. @param {FrameInfo} frame @param {FrameInfo} closer */
  #mark({ source_width: width, source_height: height, crop = [0, 0, width, height] }, closer) {
    const [left, top, right, bottom] = crop;
    const [x1, y1, x2, y2] = closer.crop ?? crop;
    const [mark, part] = ["svg", "rect"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
    mark.setAttribute("class", "mark");
    mark.setAttribute("aria-hidden", "true"); // the words below the part have its place
    mark.setAttribute("viewBox", `${left} ${top} ${right - left} ${bottom - top}`);
    for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 }))
      part.setAttribute(name, String(value));
    mark.append(part);
    this.#views.querySelector(".place")?.append(mark);
    this.#zoom.follow(/** @type {SVGElement} */ (mark));
    return mark;
  }

  /**
   * @param {string} question
   * @param {FrameInfo} frame
   * @param {string} [part] words for a part that was looked at again
   */
  #show(question, frame, part = "") {
    const picture = made("img", { alt: part || text("answer.saw_for", { question }) });
    // The small one, until the other is here
    if (frame.thumbnail?.startsWith("data:image/jpeg;base64,")) picture.src = frame.thumbnail;
    const place = made("div", { className: "place", tabIndex: 0 }, picture);
    place.setAttribute("role", "group");
    const label = text("answer.picture_of", { question });
    place.setAttribute("aria-label", part ? `${ended(part)} ${label}` : label);
    place.style.setProperty("--ratio", String(frame.width / frame.height));
    const words = made("p", { textContent: text("answer.fetching") });
    words.setAttribute("role", "status"); // a caption may have no such role itself
    const caption = made("figcaption", {}, ...(part ? [made("strong", {}, part)] : []), words);
    const view = made("figure", { className: frame.width < frame.height ? "upright" : "" }, place, caption);
    this.#views.append(view);
    (part ? this.#closer : this.#zoom).add(place, picture);
    void this.#bring(frame, picture, words);
    return view;
  }

  /** @param {FrameInfo} frame @param {HTMLImageElement} picture @param {HTMLElement} words */
  async #bring(frame, picture, words) {
    const facts = [text("answer.pixels", { size: `${frame.width}×${frame.height}` })];
    if (frame.visual_tokens > 0) facts.push(plural("answer.visual_tokens", frame.visual_tokens));
    facts.push(part(frame));
    let trouble = "";
    try {
      if (frame.picture === undefined) throw new Error("Not kept");
      const blob = await this.#load(frame.picture);
      if (!picture.isConnected) return;
      const address = URL.createObjectURL(blob);
      this.#addresses.push(address);
      picture.src = address;
      facts.splice(1, 0, text("answer.kilobytes", { number: number(blob.size / 1000) }));
    } catch (error) {
      const gone = frame.picture === undefined || /** @type {any} */ (error)?.status === 404;
      trouble = gone ? text("answer.picture_gone") : text("answer.picture_missing");
    }
    words.textContent = `${ended(facts.join(" · "))} ${trouble}`.trim();
  }
}

/** The part of the camera's picture, in words. @param {FrameInfo} frame */
function part({ crop, source_width: width, source_height: height }) {
  if (!crop) return text("answer.whole_of", { size: `${width}×${height}` });
  const [left, top, right, bottom] = crop;
  return text("answer.part_of", {
    size: `${width}×${height}`,
    part: `${right - left}×${bottom - top}`,
    place: `${left}, ${top}`,
  });
}

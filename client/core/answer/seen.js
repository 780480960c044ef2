import { clock, ended, number, percent, plural, text } from "../words/text.js";
import { Zoom } from "./zoom.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("../live/messages.d.ts").FrameInfo} FrameInfo */

/** Shows the very picture that a model got with an answer, and another answer's beside it. */
export class SeenDialog {
  #dialog = document.createElement("dialog");
  #title = document.createElement("h2");
  #views = document.createElement("div");
  #other = document.createElement("select");
  #compare = document.createElement("label");
  #compared = document.createTextNode("");
  #scale = document.createElement("output");
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

  /** @param {(id: string) => Promise<Blob>} load fetches a picture from the server; throws when it is not there any more */
  constructor(load) {
    this.#load = load;
    this.#dialog.id = "seen-dialog";
    const title = this.#title;
    title.id = "seen-title";
    this.#dialog.setAttribute("aria-labelledby", title.id);
    this.#views.className = "views";
    this.#compare.append(this.#compared, " ", this.#other);
    this.#other.addEventListener("change", () => this.#beside(this.#others[this.#other.selectedIndex - 1]));
    const row = document.createElement("div");
    row.className = "row";
    const by = (/** @type {number} */ factor) => () => [this.#zoom, this.#closer].forEach((zoom) => zoom.by(factor));
    this.#buttons = [button(by(1 / 1.5)), button(by(1.5)), button(() => this.#dialog.close())];
    [this.#buttons[0].textContent, this.#buttons[1].textContent] = ["−", "+"];
    this.#buttons[2].className = "primary";
    row.append(this.#buttons[0], this.#scale, this.#buttons[1], this.#compare, this.#buttons[2]);
    this.#dialog.append(title, this.#views, row);
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
    const option = (/** @type {string} */ words) => {
      const one = document.createElement("option");
      one.textContent = words;
      return one;
    };
    this.#other.replaceChildren(
      option(text("answer.no_other")),
      ...this.#others.map(({ question, frame }) => option(`${clock(frame?.captured_at ?? 0)} ${question}`.slice(0, 60))),
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
    for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) part.setAttribute(name, String(value));
    mark.append(part);
    this.#views.querySelector(".place")?.append(mark);
    this.#zoom.follow(/** @type {SVGElement} */ (mark));
    return mark;
  }

  /** @param {string} question @param {FrameInfo} frame @param {string} [part] words for a part that was looked at again */
  #show(question, frame, part = "") {
    const view = document.createElement("figure");
    view.classList.toggle("upright", frame.width < frame.height);
    const place = document.createElement("div");
    place.className = "place";
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    const label = text("answer.picture_of", { question });
    place.setAttribute("aria-label", part ? `${ended(part)} ${label}` : label);
    place.style.setProperty("--ratio", String(frame.width / frame.height));
    const picture = document.createElement("img");
    picture.alt = part || text("answer.saw_for", { question });
    // The small one, until the other is here
    if (frame.thumbnail?.startsWith("data:image/jpeg;base64,")) picture.src = frame.thumbnail;
    place.append(picture);
    const caption = document.createElement("figcaption");
    const words = document.createElement("p");
    words.textContent = text("answer.fetching");
    words.setAttribute("role", "status"); // a caption may have no such role itself
    if (part) {
      const name = document.createElement("strong");
      name.textContent = part;
      caption.append(name);
    }
    caption.append(words);
    view.append(place, caption);
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

/** @param {() => void} does */
function button(does) {
  const one = document.createElement("button");
  one.type = "button";
  one.addEventListener("click", does);
  return one;
}

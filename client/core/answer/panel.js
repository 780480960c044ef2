import { request } from "../live/api.js";
import { fillCard } from "./cards.js";
import { fillCodes, MOST_OF_CODE } from "./codes.js";
import { fillQuestion } from "./correcting.js";
import { Keeping } from "./keepview.js";
import { LinkDialog } from "./link.js";
import { fillAge, fillLooked } from "./looked.js";
import { plain } from "./markdown.js";
import { Menu } from "./menu.js";
import { Rich } from "./rich.js";
import { SeenDialog } from "./seen.js";
import { SlowModelLine } from "./slow.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("../chat/conversation.js").Aside} Aside */

/** The actions on answers. Loaded when needed, not with the page. */
export class Answers {
  plain = plain;
  question = fillQuestion;
  age = fillAge;
  #link = new LinkDialog();
  #rich = new Rich((address) => this.#link.ask(address));
  #seen;
  #keeping;
  #slow;
  #menu;

  /**
   * @param {import("../live/visit.js").Visit} visit
   * @param {Pick<import("./menu.js").MenuHooks, "conversation"|"speech"> & {view:
   *   import("../chat/chatview.js").ChatView}} chat
   * @param {() => void} onDeleted all answers will be deleted
   * @param {(turn: Turn) => boolean} marked see `ChatActions`
   */
  constructor(visit, { conversation, speech, view }, onDeleted, marked) {
    const load = (/** @type {string} */ id) => {
      const { id: session, token } = visit.session;
      return request("GET", `/api/pictures/${id}?session=${encodeURIComponent(session ?? "")}`, { token, as: "blob" });
    };
    this.#seen = new SeenDialog(load);
    const keeping = new Keeping(load, marked, () => {
      onDeleted();
      this.#menu.remove([...conversation.turns]);
    });
    this.#keeping = keeping;
    this.#menu = new Menu(view, {
      conversation,
      speech,
      drop: (id) => visit.handover.drop(id),
      share: (turn, words) => keeping.share(turn, words),
      save: (turn) => keeping.saveOne(turn),
    });
    this.#slow = new SlowModelLine(view, marked);
  }

  /**
   * @param {HTMLElement} element
   * @param {string} text
   * @param {boolean} marked false: no model wrote it, so a mark in it is one that was read
   */
  fill(element, text, marked) {
    if (marked) this.#rich.fill(element, text);
    else this.#rich.fillPlain(element, text);
  }

  /** See `fillLooked`, `fillCodes` and `fillCard`. @type {typeof fillLooked} */
  looked(article, turn, ways, choose) {
    fillCodes(article, turn, (address) => this.#link.ask(address, MOST_OF_CODE));
    this.#menu.fill(/** @type {HTMLDetailsElement} */ (article.querySelector(".evidence")), turn);
    fillLooked(article, turn, ways, choose);
    fillCard(article, turn);
    this.#slow.update(article, turn);
  }

  /** See `Rich.range`. @param {Element} element @param {number} start @param {number} end */
  range(element, start, end) {
    return this.#rich.range(element, start, end);
  }

  /** Save or delete the conversation. @param {Turn[]} turns all that there are @param {Aside[]} asides */
  keep(turns, asides) {
    this.#keeping.open(turns, asides);
  }

  /** See `Menu.speaking`. @param {string|null} key */
  speaking(key) {
    this.#menu.speaking(key);
  }

  /** Show the picture of an answer. @param {Turn} turn @param {Turn[]} turns all that there are */
  see(turn, turns) {
    this.#seen.open(turn, turns);
  }
}

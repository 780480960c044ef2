import { asking, finished } from "./conversation.js";
import { button, byId, made, say, show, tell } from "../page/dom.js";
import { languageOf } from "./language.js";
import { places } from "../page/picture.js";
import { cameraName, remarks } from "../page/words.js";
import { clock, text } from "../words/text.js";

/** @typedef {import("./conversation.js").Turn} Turn */
/** @typedef {import("../page/routes.js").Route} Route */

/**
 * @typedef {Object} ChatActions
 * @property {(turn: Turn, held?: boolean) => void} again held: about the picture that there is
 * @property {(turn: Turn, text: string) => void} correct its words were heard wrongly
 * @property {() => [Route, string][]} ways where a question can look now
 * @property {(turn: Turn, route: Route) => void} lookAgain
 * @property {() => Turn["meanwhile"]} coming the model on its way
 * @property {(turn: Turn) => boolean} marked a model wrote it, and perhaps with Markdown's marks
 * @property {(turn: Turn, picture: HTMLElement) => void} see show the picture that the model got
 * @property {(open: boolean) => void} opened the user opens what there is below an answer, or closes it
 * @property {(open: boolean) => void} watching the details of a running description are open, or not any more
 */

// While a question waits for a picture captured after it
const FRESH = "chat.waiting_picture";
// A description is announced at most this often (ms): a screen reader has other things to say.
const SPEAK_DESCRIPTION_EVERY = 8000;
// Only what's new is news for so long (ms).
const MATTERS_FOR = 5000;

/** The part that shows marks, as far as this module knows it. @typedef {Object} RichText
 * @property {(element: HTMLElement, text: string, marked: boolean) => void} fill
 * @property {(text: string) => string} plain
 * @property {(asked: HTMLElement, turn: Turn, onCorrect: (text: string) => void) => void} question shows its words,
 *   which may be corrected
 * @property {(article: HTMLElement, turn: Turn, ways: [Route, string][], choose: (route: Route) => void) => void}
 *   looked shows what the answer is based on
 * @property {(article: HTMLElement, turn: Turn, coming: Turn["meanwhile"]) => void} age shows the line below it anew
 */

// More characters than this are folded when a newer answer comes.
const LONG = 900;

/**
 * The answers: as plain text, until the part is here that shows marks and what they are based on. Knows no connection.
 */
export class ChatView {
  log = byId("log", HTMLElement);
  // Entries that are no answers, and lines between them
  entries = 0;
  // Answers are spoken: a screen reader does not read them, too.
  spoken = false;
  /** Speaks a remark; matters: it waits for the end of an answer. False when it is not spoken. */
  say = (/** @type {string} */ _text, /** @type {boolean|number} */ _matters) => false;

  #empty = byId("empty", HTMLElement);
  #template = byId("turn-template", HTMLTemplateElement);
  #announcer = byId("announcer", HTMLElement);
  #actions;
  /** @type {Map<string, HTMLElement>} by the turn's key */
  #turns = new Map();
  /** @type {Map<string, string>} the state that was seen last, by key */
  #announced = new Map();
  /** @type {Map<string, number>} characters that were announced of a text that is read, by the turn's key */
  #readTo = new Map();
  #describedAt = -Infinity;
  #spoken = "";
  #following = new Following(
    this.log,
    () => this.#newestWords(),
    () => this.#fit(),
  );
  /** @type {HTMLElement|null} */
  #last = null;
  /** @type {RichText|null} */
  #rich = null;

  /** The slider for the size of a change, in the details of the running description. @type {HTMLElement|null} */
  changes = null;

  /** @param {ChatActions} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  /** @param {Iterable<Turn>} turns */
  render(turns) {
    for (const turn of turns) {
      let article = this.#turns.get(turn.key);
      if (!article) {
        article = this.#make(turn);
        this.#turns.set(turn.key, article);
        show(this.#empty, false);
        this.log.append(article);
        if (this.#last) this.#settle(this.#last);
        this.#following.sizes.observe((this.#last = article));
        this.#following.expect();
      }
      this.#fill(article, turn);
      this.#announce(turn);
      if (turn.kind === "describe") this.#steady(article, turn);
    }
    this.#following.follow(); // last and once: it needs the layout
  }

  /** Show marks from now on. @param {RichText} rich @param {Iterable<Turn>} turns */
  enrich(rich, turns) {
    this.#rich = rich;
    this.render(turns);
  }

  /** Show how old the answers are by now. @param {Iterable<Turn>} turns */
  age(turns) {
    for (const turn of turns) {
      const article = this.#turns.get(turn.key);
      if (article) this.#rich?.age(article, turn, this.#actions.coming());
    }
  }

  /** The words of a turn, without marks. @param {Turn} turn */
  words(turn) {
    return this.#rich && this.#actions.marked(turn) ? this.#rich.plain(turn.text) : turn.text;
  }

  /** A newer answer comes below this one: a long one is folded. @param {HTMLElement} article */
  #settle(article) {
    this.#following.sizes.unobserve(article);
    const said = part(article, ".text", HTMLElement);
    if ((said.textContent ?? "").length < LONG) return;
    article.classList.add("folded");
    const open = () => {
      article.classList.remove("folded");
      unfold.remove();
      said.tabIndex = -1;
      said.focus({ preventScroll: true });
    };
    const unfold = button(open, { className: "unfold", textContent: text("page.show_all") });
    part(article, ".said", HTMLElement).after(unfold);
  }

  /**
   * Keep a running description from shrinking, so that the page does not jump with each update.
   * @param {HTMLElement} article
   * @param {Turn} turn
   */
  #steady(article, turn) {
    const said = part(article, ".said", HTMLElement);
    if (finished(turn)) said.style.minHeight = "";
    else if (turn.response) said.style.minHeight = `${said.offsetHeight}px`;
  }

  /** @param {Turn} turn */
  remove(turn) {
    this.#turns.get(turn.key)?.remove();
    this.#turns.delete(turn.key);
    this.#announced.delete(turn.key);
    this.#readTo.delete(turn.key);
    show(this.#empty, this.#turns.size + this.entries === 0);
  }

  /** Add a line between the answers. @param {string} text @param {Turn|null} [before] null: below all of them */
  note(text, before = null) {
    show(this.#empty, false);
    const line = made("p", { className: "note" });
    line.textContent = text;
    this.entries += 1;
    this.log.insertBefore(line, (before && this.#turns.get(before.key)) ?? null);
    this.announce(text);
    this.#following.follow();
  }

  /**
   * Put an entry of another kind below the answers.
   * @param {HTMLElement} entry
   * @param {boolean} [loud] bring it into sight
   */
  add(entry, loud = true) {
    this.entries += 1;
    show(this.#empty, false);
    this.log.append(entry);
    if (loud) this.#following.expect();
    this.#following.sizes.observe(entry); // its picture and words come later
    this.#following.follow();
  }

  /** @param {HTMLElement} entry that was added */
  drop(entry) {
    this.#following.sizes.unobserve(entry);
    entry.remove();
    this.#fit();
    this.entries -= 1;
    show(this.#empty, this.#turns.size + this.entries === 0);
  }

  /** @param {string} text spoken by a screen reader, shown nowhere */
  announce(text) {
    // Screen readers skip unchanged text.
    const again = text !== "" && this.#announcer.textContent === text;
    say(this.#announcer, again ? `${text}\u00a0` : text);
  }

  /** @param {Turn} turn */
  #make(turn) {
    const fragment = /** @type {DocumentFragment} */ (this.#template.content.cloneNode(true));
    const article = part(fragment, ".turn", HTMLElement);
    article.id = turn.key;
    article.dataset.kind = turn.kind;
    for (const name of ["again", "hold"])
      part(article, `.${name}`, HTMLElement).addEventListener("click", () =>
        this.#actions.again(turn, name === "hold"),
      );
    const asked = part(article, ".asked", HTMLElement);
    const open = () => {
      if (asked.tabIndex < 0 || asked.matches(".whole")) return;
      this.#following.end();
      asked.classList.add("whole");
      asked.scrollIntoView({ block: "start" });
    };
    asked.addEventListener("click", open);
    asked.addEventListener("keydown", ({ key }) => key === "Enter" && open());
    const shot = part(article, ".shot", HTMLElement);
    shot.addEventListener("click", () => this.#actions.see(turn, shot));
    const proof = part(article, ".evidence", HTMLDetailsElement);
    proof.addEventListener("toggle", () => {
      article.classList.toggle("open", proof.open);
      if (this.changes && proof.contains(this.changes)) this.#actions.watching(proof.open);
      if (proof.hidden) return;
      this.#actions.opened(proof.open);
      if (!proof.open) return;
      this.#following.end();
      part(article, ".said", HTMLElement).style.minHeight = "";
      const room = this.log.clientHeight;
      const answer = part(article, ".answer", HTMLElement);
      const shown = answer.offsetHeight <= room ? answer : proof;
      shown.scrollIntoView({ block: shown.offsetHeight <= room ? "end" : "start" });
    });
    proof.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !proof.open) return;
      proof.open = false;
      part(proof, "summary", HTMLElement).focus();
    });
    return article;
  }

  /** @param {HTMLElement} article @param {Turn} turn */
  #fill(article, turn) {
    article.dataset.state = turn.state;
    article.dataset.id = turn.id;
    const asked = part(article, ".asked", HTMLElement);
    if (this.#rich) this.#rich.question(asked, turn, (text) => this.#actions.correct(turn, text));
    else say(asked, asking(turn));
    const shown = part(article, ".text", HTMLElement);
    if (turn.text && this.#rich) this.#rich.fill(shown, turn.text, this.#actions.marked(turn));
    else say(shown, turn.text || waitingWords(turn));
    article.classList.toggle("wordless", turn.text === "");
    if (turn.response) shown.lang = languageOfTurn(turn);

    const shot = part(article, ".shot", HTMLElement);
    const thumb = part(article, ".thumb", HTMLImageElement);
    const picture = turn.frame?.thumbnail ?? "";
    if (turn.frame && thumb.getAttribute("src") !== picture) {
      const fine = picture.startsWith("data:image/jpeg;base64,");
      if (fine) thumb.src = picture;
      else thumb.removeAttribute("src");
      shot.style.setProperty("--ratio", String(turn.frame.width / turn.frame.height));
      show(thumb, fine);
      show(shot, fine);
    }
    if (turn.frame) {
      const { word, camera, camera_name: named } = turn.frame;
      if (word || named) shot.dataset.word = named ? cameraName(camera, named) : `“${word}”`;
      else delete shot.dataset.word;
      thumb.alt = word ? text("chat.there_when_said", { word }) : text("chat.frame");
    }
    tell(part(article, ".places", HTMLElement), whereOf(turn));

    const remark = part(article, ".remark", HTMLElement);
    const said =
      turn.problem || remarks(turn.response ?? (turn.frame && turn.kind === "chat" ? { frame: turn.frame } : {}));
    tell(remark, said);
    remark.classList.toggle("problem", turn.problem !== "");
    remark.classList.toggle("hint", Boolean(turn.frame?.dark || turn.frame?.blurred));

    this.#fillThoughts(article, turn);
    if (turn.kind === "describe") this.#fillMoments(article, turn);
    this.#rich?.looked(article, turn, this.#actions.ways(), (route) => this.#actions.lookAgain(turn, route));
    this.#rich?.age(article, turn, this.#actions.coming());
    const failed = turn.state === "failed" && turn.retryable;
    show(part(article, ".again", HTMLElement), failed);
    show(part(article, ".hold", HTMLElement), failed && turn.cause?.code === "camera_frozen");
  }

  /** Show the model's reasoning as one line that can be opened. @param {HTMLElement} article @param {Turn} turn */
  #fillThoughts(article, turn) {
    const thoughts = part(article, ".thoughts", HTMLDetailsElement);
    show(thoughts, turn.thoughts !== "");
    if (turn.thoughts === "") return;
    say(part(thoughts, "summary", HTMLElement), text(turn.state === "thinking" ? "chat.thinking" : "chat.thoughts"));
    say(part(thoughts, "p", HTMLElement), turn.thoughts);
  }

  /** Show since when a description holds, and what it said before. @param {HTMLElement} article @param {Turn} turn */
  #fillMoments(article, turn) {
    const since = part(article, ".since", HTMLElement);
    const at = turn.frame?.captured_at;
    show(since, turn.response !== null && at !== undefined);
    if (at !== undefined)
      say(
        since,
        turn.looked
          ? text("chat.since_still", { time: clock(at), looked: clock(turn.looked) })
          : text("chat.since", { time: clock(at) }),
      );
    const proof = part(article, ".evidence", HTMLDetailsElement);
    if (finished(turn)) {
      if (proof.contains(this.changes)) this.changes?.remove();
    } else if (this.changes && !proof.contains(this.changes)) {
      proof.append(this.changes);
      if (proof.open) this.#actions.watching(true);
    }

    const earlier = part(article, ".earlier", HTMLDetailsElement);
    show(earlier, turn.earlier.length > 0);
    const list = part(earlier, "ol", HTMLElement);
    const newest = turn.earlier[0];
    if (
      !newest ||
      (list.firstElementChild instanceof HTMLElement && list.firstElementChild.dataset.at === String(newest.at))
    )
      return;
    say(part(earlier, "summary", HTMLElement), text("chat.earlier_count", { count: turn.earlier.length }));
    list.replaceChildren(
      ...turn.earlier.map(({ at, text }) => {
        const item = made("li", {}, made("time", {}, clock(at)), ` ${text}`);
        item.dataset.at = String(at);
        return item;
      }),
    );
  }

  /** @param {Turn} turn */
  #announce(turn) {
    const news = this.#announced.get(turn.key) !== turn.state;
    this.#announced.set(turn.key, turn.state);
    if (turn.kind === "describe") {
      const now = performance.now();
      const text = turn.response?.text ?? "";
      if (!text || turn.state !== "thinking" || text === this.#spoken) return;
      if (!turn.notable && now - this.#describedAt < SPEAK_DESCRIPTION_EVERY) return;
      this.#describedAt = now;
      this.#spoken = text;
      if (!this.spoken || !this.say(text, turn.notable && MATTERS_FOR)) this.announce(text);
    } else if (news && turn.state === "delayed") this.announce(text(FRESH));
    else if (turn.reads && turn.state === "answering" && !this.spoken) {
      // Piece by piece, as it is read
      const from = this.#readTo.get(turn.key) ?? 0;
      if (turn.text.length > from) this.announce(turn.text.slice(from).trim());
      this.#readTo.set(turn.key, turn.text.length);
    } else if (news && finished(turn)) {
      if (this.spoken && (turn.state === "done" || this.say(turn.problem, true))) return;
      const text = this.#readTo.has(turn.key) ? "" : this.words(turn);
      this.announce(
        [text, whereOf(turn), turn.problem || (turn.response ? remarks(turn.response) : "")].join(" ").trim(),
      );
    }
  }

  /** Make the sheet as high as its newest entry; the style sheet limits it. */
  #fit() {
    if (this.#last) this.#pin(this.#last);
    const height = /** @type {HTMLElement|null} */ (this.log.lastElementChild)?.offsetHeight ?? 0;
    requestAnimationFrame(() => this.log.style.setProperty("--newest", `${height}px`));
  }

  /**
   * Keep a question in sight above words longer than the log beside it. Others are seen whole: it would lie on them.
   * A long question is opened by keys, too.
   * @param {HTMLElement} article
   */
  #pin(article) {
    const question = part(article, ".asked", HTMLElement);
    if (question.scrollHeight > question.clientHeight + 1) question.tabIndex = 0;
    const [room, asked] = [this.log.clientHeight, question.offsetHeight];
    const words = part(article, ".text", HTMLElement).offsetHeight;
    const long = article.offsetHeight - asked > room && asked + words > room && asked * MOST_ASKED < room;
    article.classList.toggle("pinned", article.dataset.kind !== "describe" && long);
  }

  /** The newest entry, and its words. @returns {[HTMLElement, HTMLElement]|null} */
  #newestWords() {
    const last = /** @type {HTMLElement|null} */ (this.log.lastElementChild);
    return last && [last, last === this.#last ? part(last, ".said", HTMLElement) : last];
  }
}

// The marks around what may run the other way, which an answer's text has not
const DIRECTIONS = /[\u061c\u200e\u200f\u2066-\u2069]/g;

/**
 * Where the things are that the question asked for, in words, unless the answer says just this, or the engine words it
 * itself.
 * @param {Turn} turn
 */
function whereOf({ response, text }) {
  if (!response?.boxes || !response.frame || response.engine === "builtin") return "";
  const words = places(response.boxes, response.frame).join(" ");
  return words.replace(DIRECTIONS, "") === text.trim() ? "" : words;
}

/** The language of a turn's answer, or of its question when the answer is too short. @param {Turn} turn */
export function languageOfTurn(turn) {
  return languageOf(turn.text) || (turn.kind === "chat" ? languageOf(turn.question) : "");
}

/** @param {Turn} turn */
function waitingWords(turn) {
  if (turn.state === "waiting") return text("page.waiting_connection");
  if (turn.state === "sent") return text("page.looking");
  if (turn.state === "delayed") return text(FRESH);
  if (turn.state === "thinking" && turn.thoughts) return ""; // its own line says so
  if (turn.state === "thinking") return text(turn.kind === "describe" ? "page.looking" : "chat.thinking");
  return "";
}

/**
 * @template {Element} T
 * @param {ParentNode} inside @param {string} selector @param {new () => T} type
 * @returns {T}
 */
function part(inside, selector, type) {
  const found = inside.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`The template has no ${selector}.`);
  return found;
}

// Within this distance (px) from its newest words the log scrolls with them.
const NEAR_END = 48;
// Above the words of an answer that the log is scrolled to (px): the gap of a turn
const WORDS_ROOM = 4;
// Without words at the end of the log (px)
const BELOW = 17;
// A question is seen above them where the log is higher than so many of it.
const MOST_ASKED = 3;

/** Keeps a reader at the newest words of the log, until the reader scrolls up. */
export class Following {
  // Keeps the reader there when any height changes
  sizes;

  #log;
  #newest = byId("newest", HTMLButtonElement);
  #words;
  // True while the reader is there
  #on = true;
  // The distance by which the log was scrolled to them last (px)
  #scrolled = 0;
  // Of the log, when it was last known
  #size = "";

  /**
   * @param {HTMLElement} log
   * @param {() => [HTMLElement, HTMLElement]|null} words the newest entry, and its words as a whole
   * @param {() => void} resized called when any height has changed
   */
  constructor(log, words, resized) {
    this.#log = log;
    this.#words = words;
    const size = () => `${log.clientWidth}×${log.clientHeight}`;
    log.addEventListener("scroll", () => {
      this.#fade();
      // A window of another size has moved it, not the reader.
      if (size() !== this.#size) return;
      this.#on = this.#goal() - log.scrollTop < NEAR_END;
      show(this.#newest, !this.#on);
    });
    this.#newest.addEventListener("click", () => this.begin());
    this.sizes = new ResizeObserver(() => {
      this.#size = size();
      resized();
      if (this.#on) this.follow();
      this.#fade();
    });
    this.sizes.observe(log);
  }

  /** Bring the newest words into sight. */
  begin() {
    this.expect();
    this.follow();
  }

  /** Go to the newest words with the next change. */
  expect() {
    this.#on = true;
  }

  /** Leave the reader where the reader is. */
  end() {
    this.#on = false;
  }

  follow() {
    if (!this.#on) {
      show(this.#newest, true);
      return;
    }
    const goal = this.#goal();
    // Further down the reader has scrolled, to the places or pictures below the words.
    if (this.#log.scrollTop > Math.max(goal, this.#scrolled) + 1) return;
    this.#log.scrollTop = goal;
    this.#scrolled = this.#log.scrollTop;
  }

  /** Mark the ends of the log behind which there are more words; a question or an answer that begins there is whole. */
  #fade() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const top = this.#log.getBoundingClientRect().top;
    const starts = (this.#words() ?? []).map((one) => one.getBoundingClientRect().top - top);
    const pinned = starts[0] < 0 && this.#log.lastElementChild?.matches(".pinned");
    const whole = pinned || starts.some((start) => Math.abs(start) <= 2 * WORDS_ROOM);
    this.#log.toggleAttribute("data-above", scrollTop > 1 && !whole);
    this.#log.toggleAttribute("data-below", scrollHeight - clientHeight - scrollTop > BELOW);
  }

  /**
   * The distance by which the log scrolls (px): to its end, but not so far that the newest words begin above it. Their
   * question is seen whole, or not at all where they would have little room below it.
   */
  #goal() {
    const log = this.#log;
    const end = log.scrollHeight - log.clientHeight;
    const newest = this.#words();
    if (!newest) return end;
    const [turn, words] = newest.map((one) => one.getBoundingClientRect().top);
    const above = log.getBoundingClientRect().top + log.clientTop - log.scrollTop;
    const whole = (words - turn) * MOST_ASKED < log.clientHeight;
    const pinned = newest[0].matches(".pinned") ? part(newest[0], ".asked", HTMLElement).offsetHeight : 0;
    return Math.floor(Math.min(end, (whole ? turn : words - WORDS_ROOM - pinned) - above));
  }
}

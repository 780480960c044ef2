import { AnswerEntry } from "./chat/answerentry.js";
import { ChatView } from "./chat/chatview.js";
import { Composer } from "./chat/composer.js";
import { Conversation } from "./chat/conversation.js";
import { Speech, SpokenMark } from "./chat/speech.js";
import { show } from "./page/dom.js";
import { onceLater } from "./page/part.js";
import { settings } from "./page/settings.js";
import { Stand } from "./page/words.js";
import { fromServer, text } from "./words/text.js";

// Milliseconds after the camera is live
const ANSWERS_AHEAD = 500;
// Between two looks at the ages of the answers (ms)
const AGES_EVERY = 30_000;
// Within this time (ms) the same question is the second half of a double press.
const DOUBLE = 1000;
const OURS = ["waiting", "started", "delta", "thinking", "response", "error", "unchanged", "transcript"];

/** @typedef {import("./chat/conversation.js").Turn} Turn */

/** The questions and their answers: joins what was said with what shows it. */
export class Chat {
  #page;
  #answers;
  #tools;
  #stand = new Stand();
  #instead = "";
  // A model answers in the built-in engine's place, and none of its answers has come.
  #news = false;
  // performance.now() of the last question
  #askedAt = -Infinity;

  conversation = new Conversation({
    onTurn: (turn) => this.#drawing.changed(turn),
    onGone: (turn) => {
      this.#drawing.gone(turn);
      this.view.remove(turn);
      this.renderRunning();
    },
  });

  #drawing = new Drawing((turns) => {
    this.view.render(turns);
    this.marks.draw();
    this.renderRunning();
  });

  /**
   * The part of the picture that questions are about, as shares of it; null: all of it.
   * @type {() => import("./page/picture.js").Edges|null}
   */
  part = () => null;

  /**
   * Ask a spoken question with the right words. Set by the feature that listens.
   * @type {(turn: Turn, words: string) => void}
   */
  correct = () => {};

  speech = new Speech((key) => {
    this.#answers.speaking(key);
    this.renderRunning();
  });
  marks = new SpokenMark();

  /** @param {import("./page.js").Page} page */
  constructor(page) {
    this.#page = page;
    page.chat = this;
    const { visit } = page;
    this.#answers = new AnswerEntry(
      page.part(import.meta.url, "./answer/panel.js", {
        load: async () => {
          const { Answers } = await import("./answer/panel.js");
          return new Answers(visit, this, () => page.emit("deleted", undefined), this.#answers.actions.marked);
        },
        sheets: ["./answer/answer.css"],
        elements: "./answer/answer.html",
      }),
      {
        conversation: this.conversation,
        engine: () => visit.facts.status?.engine ?? visit.facts.ready?.engine,
        others: () => page.others,
      },
    );
    this.view = new ChatView({
      ...this.#answers.actions,
      again: (turn, held) => {
        if (held && visit.hold(true)) page.stage.takeStill();
        this.ask(turn.question, turn.detail, turn.wish);
      },
      correct: (turn, words) => this.correct(turn, words),
      ways: () => page.ways,
      coming: () => visit.facts.coming,
      lookAgain: (turn, route) => this.ask(turn.question, "auto", route),
      opened: (open) => page.sheet.grow(open),
      watching: (open) => visit.description.prefer({ changes: open }),
    });
    this.#answers.join(this.view, this.marks);
    this.#tools = page.part(import.meta.url, "./chat/tools.js", {
      load: async () => new (await import("./chat/tools.js")).Tools(page),
    });
    this.composer = new Composer({
      onAsk: (words) => this.ask(words),
      onTyping: () => visit.typing(),
      announce: (words) => this.view.announce(words),
    });
    this.composer.cancel.addEventListener("click", () => this.cancel());
    page.take(OURS, (message) => this.#receive(message));
    const fetchAhead = onceLater(ANSWERS_AHEAD, () => void this.#answers.ahead());
    page.when("facts", ({ active, camera, coming, ready, socket }) => {
      const news = coming !== this.conversation.coming;
      this.conversation.coming = coming;
      if (news) this.view.age(this.conversation.turns);
      if (ready) this.composer.limit = ready.limits.question_chars;
      const instead = ready?.stands_in ?? this.#instead;
      if (instead !== this.#instead) this.note(fromServer((this.#instead = instead), text("stage.models_back")));
      if (camera === "off" || !active) this.speech.stop();
      if (socket === "open" && ["on", "resting", "elsewhere"].includes(camera)) fetchAhead();
    });
    page.when("stop", () => this.conversation.interrupt("page.stopped"));
    setInterval(() => !document.hidden && this.view.age(this.conversation.turns), AGES_EVERY);
  }

  /**
   * @param {string} question
   * @param {"auto"|"low"|"high"} [detail]
   * @param {import("./page/routes.js").Route} [route]
   */
  ask(question, detail = "auto", route) {
    const { visit, dialogs, stage } = this.#page;
    const waited = this.conversation.running;
    const before = this.#askedAt;
    this.#askedAt = performance.now();
    if (waited?.question === question && this.#askedAt - before < DOUBLE) return;
    const { id, sent } = visit.ask(question, detail, route, this.part());
    if (waited?.state === "waiting") this.conversation.end(waited.id, "page.replaced", false);
    this.conversation.ask(id, question, detail, sent, route);
    void this.#answers.ahead();
    this.#page.emit("asked", id);
    if (visit.facts.disclose) dialogs.review(stage.noticeAction);
  }

  cancel() {
    this.#page.emit("cancel", undefined);
    const turn = this.conversation.running;
    if (turn) this.conversation.cancelling(turn);
    if (turn && this.#page.visit.cancel(turn.id)) this.conversation.end(turn.id, "page.cancelled");
  }

  /** @param {any} message */
  #receive(message) {
    // Neither light nor a steady hand helps with a shared screen.
    if (message.frame && this.#page.visit.facts.screen) Object.assign(message.frame, { dark: false, blurred: false });
    this.conversation.receive(message);
    const { type, id, engine, model } = message;
    if (type === "response") {
      const turn = this.conversation.byId(id);
      this.answersNow(engine, model, turn);
      if (turn?.kind === "chat" && turn.response === message) void this.#called(turn, message);
      if (turn?.kind === "chat" && this.#news && engine !== "builtin") {
        this.#news = false;
        this.conversation.isNews(turn);
      }
    }
    if (type !== "error" || id) return;
    const refused = message.code === "handover_refused";
    this.note(message.message, refused ? this.conversation.open : null);
  }

  /**
   * Do what a model has called for, or ask whether it may.
   * @param {Turn} turn
   * @param {import("./live/messages.d.ts").Response} message
   */
  async #called(turn, { calls, engine }) {
    const asked = settings().toolsAsked || engine === "builtin" || !this.#page.visit.facts.ready?.capabilities.tools;
    if (!calls && asked) return;
    await this.#tools.ahead();
    this.#tools.here?.take(turn, calls);
  }

  /**
   * Say that another kind of engine answers.
   * @param {string} engine
   * @param {string} model
   * @param {Turn|null} [before]
   */
  answersNow(engine, model, before = this.conversation.open) {
    const news = this.#stand.heard(engine, model, this.#page.visit.facts);
    if (news) this.note(news, before);
    if (news) this.#news = engine !== "builtin";
  }

  /** Say that another session began, which does not have these turns. */
  lost() {
    if (this.conversation.turns.length > 0) this.note(text("problem.handover_refused"), this.conversation.open);
  }

  /** Show a line. @param {string} words @param {Turn|null} [before] null: below all turns */
  note(words, before = null) {
    this.#drawing.flush();
    this.view.note(words, before);
    this.renderRunning();
  }

  /**
   * Put an entry of another kind below the answers.
   * @param {HTMLElement} entry
   * @param {boolean} [loud] bring it into sight
   */
  add(entry, loud) {
    this.#drawing.flush();
    this.view.add(entry, loud);
    this.renderRunning();
  }

  /** Take one away again. @param {HTMLElement} entry */
  drop(entry) {
    this.view.drop(entry);
    this.renderRunning();
  }

  /** Draw all answers in another language. */
  translate() {
    this.view.render(this.conversation.turns);
    this.renderRunning();
  }

  renderRunning() {
    const { running, turns } = this.conversation;
    const { stage, sheet, voice } = this.#page;
    this.composer.renderRunning(running !== null || Boolean(voice?.speaking));
    stage.renderBusy(running !== null && running.state !== "answering");
    const talking = turns.length > 0 || this.view.entries > 0;
    stage.app.classList.toggle("talking", talking);
    show(sheet.handle, talking);
    this.#page.emit("running", running);
  }
}

/**
 * Draws each changed turn once per animation frame: words may arrive faster than the screen shows them, and a question
 * is sent before it is drawn.
 */
export class Drawing {
  #draw;
  /** @type {Set<Turn>} in the order of their first change; at most all turns of the conversation */
  #changed = new Set();
  #frame = 0;

  /** @param {(turns: Iterable<Turn>) => void} draw */
  constructor(draw) {
    this.#draw = draw;
  }

  /** @param {Turn} turn */
  changed(turn) {
    this.#changed.add(turn);
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Do not draw this turn any more. @param {Turn} turn */
  gone(turn) {
    this.#changed.delete(turn);
  }

  /** Draw the changed turns at once, before something is added below them. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const turns = [...this.#changed];
    this.#changed.clear();
    if (turns.length > 0) this.#draw(turns);
  }
}

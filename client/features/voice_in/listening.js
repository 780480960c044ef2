import { change, onSettings, oneOf, settings, within } from "../../core/page/settings.js";
import { Microphone, MicrophoneProblem } from "./microphone.js";
import { Meter } from "./meter.js";
import { ListeningView } from "./view.js";
import { Earcons } from "../../core/page/earcons.js";
import { Orders } from "./orders.js";
import { LOST, NO_MICROPHONE, talkState } from "./words.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("./view.js").TalkWish} TalkWish */
/** @typedef {import("../../core/live/messages.d.ts").Listening["state"]} State */

// Words that take longer (ms) are said to be on their way; and how long it is said that there were none
const SLOW = 2000;
const UNCLEAR = 5000;
/** @type {["hands_free", "push"]} */
const MODES = ["hands_free", "push"];

/** The microphone of the page: opens it, sends it, and shows the transcript. Loaded when needed, not with the page. */
export class Listening {
  #visit;
  #button;
  #note;
  #announce;
  #view;
  #earcons;
  #orders;
  #microphone = new Microphone(() => {
    this.off();
    this.#note(text(LOST));
  });
  #wish = talkWish();
  #on = false;
  #open;
  #held = false;
  /** @type {State} */
  #state = "off";
  /** @type {"slow"|"unclear"|""} */
  #news = "";
  #answering = false;
  #meter = new Meter((level) => this.#view.level(level));
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /**
   * @param {import("../../core/live/visit.js").Visit} visit
   * @param {Object} hooks
   * @param {HTMLButtonElement} hooks.button
   * @param {(text: string) => void} hooks.note among the answers
   * @param {(text: string) => void} hooks.announce to a screen reader
   * @param {() => boolean} hooks.tones the user wants them
   * @param {() => boolean} hooks.hears an answer is heard
   * @param {(condition: string) => void} hooks.watch see `Orders`, as with the next two
   * @param {() => void} hooks.again
   * @param {(text: string) => void} hooks.tell
   */
  constructor(visit, { button, note, announce, tones, hears, ...page }) {
    this.#visit = visit;
    this.#button = button;
    this.#note = note;
    this.#announce = announce;
    this.#earcons = new Earcons({ wanted: tones, hears });
    this.#orders = new Orders(page);
    this.#open = visit.facts.socket === "open";
    this.#view = new ListeningView({
      onWish: ({ mode = this.#wish.mode, silence = this.#wish.silence }) => change({ talk: mode, silence }),
      onHold: (down) => this.#push(down),
    });
    onSettings(() => {
      const { mode, silence } = talkWish();
      if (mode !== this.#wish.mode || silence !== this.#wish.silence) this.#changed();
    });
    this.#render();
  }

  toggle() {
    this.#earcons.prepare();
    if (!this.#on) return void this.#begin();
    this.off();
    this.#announce(text("voice.off"));
  }

  /** Close the microphone at once. @returns {boolean} true when it was on */
  off() {
    this.#meter.follow(null);
    this.#microphone.close();
    if (!this.#on) return false;
    this.#on = this.#held = false;
    this.#state = "off";
    void this.#visit.peer.setMicrophone(null);
    this.#send();
    this.#render();
    return true;
  }

  /** @param {boolean} open the socket is */
  connected(open) {
    if (open === this.#open) return;
    this.#open = open;
    // The session may be new, or have missed a change.
    if (open && this.#on) this.#send();
    else if (!open) this.#state = "off";
    this.#render();
  }

  /** @param {boolean} answering an answer is on its way or heard */
  answers(answering) {
    if (answering === this.#answering) return;
    this.#answering = answering;
    this.#render();
  }

  /** @param {import("../../core/live/messages.d.ts").Listening} message */
  receive({ state }) {
    if (state === "waiting" && this.#state === "off" && this.#wish.mode === "hands_free")
      this.#earcons.play("listening");
    if (state === "recognising") this.#earcons.play("heard");
    if (state === "recognising") this.#tell("", SLOW, "slow");
    else if (state !== "waiting" || this.#news !== "unclear") this.#tell("");
    this.#state = state;
    this.#render();
  }

  /** @param {"slow"|"unclear"|""} news for now @param {number} [after] milliseconds @param {"slow"|""} [then] */
  #tell(news, after, then = "") {
    clearTimeout(this.#timer);
    this.#news = news;
    if (after) {
      this.#timer = setTimeout(() => {
        this.#tell(then);
        this.#render();
      }, after);
    }
  }

  /** @param {import("../../core/live/messages.d.ts").Transcript} heard */
  obey(heard) {
    this.#orders.obey(heard);
    if (heard.lost === "replaced") this.#note(text("voice.question_lost"));
    if (heard.lost !== "unclear") return;
    this.#tell("unclear", UNCLEAR);
    this.#announce(text("voice.unclear"));
    this.#render();
  }

  async #begin() {
    this.#button.setAttribute("aria-busy", "true");
    try {
      if (!(await this.#microphone.open())) return;
      this.#on = true;
      this.#microphone.hear(this.#wish.mode === "hands_free");
      await this.#visit.peer.setMicrophone(this.#microphone.track);
      if (!this.#on) return; // muted in the meantime
      this.#meter.follow(this.#microphone.track);
      this.#send();
      this.#announce(text("voice.on"));
    } catch (error) {
      this.#microphone.close();
      this.#on = false;
      this.#note(text(NO_MICROPHONE[error instanceof MicrophoneProblem ? error.kind : "failed"]));
    } finally {
      this.#button.removeAttribute("aria-busy");
      this.#render();
    }
  }

  #changed() {
    this.#push(false);
    this.#wish = talkWish();
    // Send nothing between two holds of the button.
    this.#microphone.hear(this.#wish.mode === "hands_free");
    if (this.#on) this.#send();
    this.#render();
  }

  /** @param {boolean} down */
  #push(down) {
    if (!this.#on || this.#wish.mode !== "push" || down === this.#held) return;
    this.#held = down;
    if (down) this.#earcons.play("listening");
    this.#microphone.hear(down);
    this.#visit.wake();
    this.#visit.socket.send({ type: "push_to_talk", down });
    this.#render();
  }

  #send() {
    const { mode, silence } = this.#wish;
    this.#visit.socket.send({ type: "settings", microphone: this.#on ? mode : "off", silence_ms: silence });
  }

  #render() {
    this.#button.setAttribute("aria-pressed", String(this.#on));
    const [on, held, { mode }] = [this.#on, this.#held, this.#wish];
    const facts = { on, mode, held, state: this.#state, news: this.#news, answering: this.#answering };
    this.#view.render(talkState(facts), on && (mode === "hands_free" || held), this.#wish);
  }
}

/** @returns {TalkWish} as the settings have it; not that the microphone is on: it is switched on by a tap alone */
function talkWish() {
  const { talk, silence } = settings();
  return { mode: oneOf(talk, MODES), silence: within(silence, 200, 2000, 500) };
}

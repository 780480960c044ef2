import { pageTime } from "../../core/live/api.js";
import { partsOf } from "../../core/page/picture.js";
import { Boxes } from "./boxes.js";
import { Overlay } from "./overlay.js";
import { Readback } from "./readback.js";
import { Recent } from "./recent.js";
import { StillMarks } from "./stillmarks.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").FrameInfo} FrameInfo */
/** @typedef {import("../../core/live/messages.d.ts").ServerMessage} ServerMessage */
/** @typedef {import("./tracker.js").Carried} Carried */

// A box that has not caught up with the live picture, ms behind it, is not shown yet.
const BEHIND_MS = 600;
// Frame and live picture may differ in shape by this much: scaled to whole pixels.
const SHAPE = 0.03;
// Clocks of one machine, ms
const CLOCKS_MS = 100;
// A box that nothing has moved is still about a past picture.
const LONGEST_MS = 300_000;

/**
 * Where the things are that a question asked for, on the live picture. Small pictures of the camera are taken only from
 * a question on until the server says that it does not ask where something is, until its answer, and while boxes are
 * shown.
 */
export class Marks {
  #overlay;
  #readback;
  #recent = new Recent();
  #video;
  #stills;
  /** @type {Boxes|null} made for the first box */
  #boxes = null;
  #hooks;
  /**
   * @type {{id: string, askedAt: number, frameAt: number}|null} the question under way; frameAt: 0 before there is a
   *   frame
   */
  #waiting = null;
  /**
   * The boxes that are carried.
   * @type {Map<number, {label: string, unsure: boolean, capturedAt: number, lost: boolean}>}
   */
  #carried = new Map();

  /**
   * @param {HTMLVideoElement} video @param {HTMLImageElement} far the stills of another device's camera
   * @param {{onAsk: (text: string) => void, announce: (text: string) => void}} hooks onAsk: a question about a box
   */
  constructor(video, far, hooks) {
    this.#hooks = hooks;
    this.#video = video;
    this.#stills = new StillMarks(far, {
      onAsk: ({ label }, where) => hooks.onAsk(text("track.tell_more", { thing: label, place: where })),
      onGone: (label) => hooks.announce(text("track.gone", { thing: label })),
      onClear: () => this.clear(),
    });
    this.#readback = new Readback(video, (luma, width, height, at) => this.#picture(luma, width, height, at));
    this.#overlay = new Overlay(video, {
      onAsk: ({ label }, where) => hooks.onAsk(text("track.tell_more", { thing: label, place: where })),
      onClear: () => this.clear(),
    });
  }

  /** A question was asked: its frame is among the next ones. @param {string} id */
  asked(id) {
    this.#recent.clear();
    this.#waiting = { id, askedAt: pageTime(), frameAt: 0 };
    this.#settle();
  }

  /** @param {ServerMessage} message */
  receive(message) {
    const waiting = this.#waiting;
    // A spoken question, or a program's
    if (message.type === "started" && message.kind === "chat" && message.id !== waiting?.id) this.clear();
    if (!waiting || !("id" in message) || message.id !== waiting.id) return;
    if (message.type === "started") {
      if (message.route !== "where" || message.frame.held) this.#waiting = null;
      else if (waiting.frameAt === 0) {
        waiting.frameAt = frameTime(message.frame, waiting.askedAt, pageTime());
        this.#recent.from(waiting.frameAt);
      }
    } else if (message.type === "response") {
      this.#waiting = null;
      const { boxes, frame } = message;
      if (boxes?.length && frame && !frame.held && waiting.frameAt) this.#show(boxes, frame, waiting.frameAt);
    } else if (message.type === "error") this.#waiting = null;
    this.#settle();
  }

  /** No question is under way, for whatever reason. */
  ended() {
    this.#waiting = null;
    this.#settle();
  }

  /** Take all boxes away: another camera, none, or somebody wants them gone. */
  clear() {
    this.#waiting = null;
    this.#carried.clear();
    this.#boxes?.clear();
    this.#stills.clear();
    this.#overlay.render([]);
    this.#settle();
  }

  /**
   * @param {import("../../core/live/messages.d.ts").FoundBox[]} found
   * @param {FrameInfo} frame
   * @param {number} frameAt
   */
  #show(found, frame, frameAt) {
    if (!this.#video.srcObject) return this.#stills.show(found, frame, frameAt);
    const { width, height } = this.#recent;
    const pictures = this.#recent.take(frameAt);
    const shape = (width / height) * (frame.source_height / frame.source_width);
    const boxes = partsOf(found, frame);
    // The answer has it in words, and on its own picture.
    if (pictures.length === 0 || Math.abs(shape - 1) > SHAPE || boxes.length === 0) return;
    if (this.#boxes?.failed) return;
    this.#boxes ??= this.#begin();
    const ids = this.#boxes.begin({ pictures, width, height, capturedAt: frameAt, boxes });
    this.#carried = new Map(
      ids.map((id, n) => [id, { label: boxes[n].label, unsure: boxes[n].unsure, capturedAt: frameAt, lost: false }]),
    );
    this.#overlay.render([]);
  }

  #begin() {
    const boxes = new Boxes();
    boxes.on((list) => this.#heard(list));
    return boxes;
  }

  /** @param {Carried[]} list */
  #heard(list) {
    if (this.#boxes?.failed) return this.clear();
    const now = pageTime();
    const marks = [];
    for (const { id, box, state, at, capturedAt } of list) {
      const carried = this.#carried.get(id);
      if (!carried) continue;
      const gone = state === "gone" || now - capturedAt > LONGEST_MS;
      if (gone) {
        this.#carried.delete(id);
        this.#boxes?.removeBox(id);
        this.#hooks.announce(text("track.gone", { thing: carried.label }));
      } else if (now - at < BEHIND_MS) {
        marks.push({ id, label: carried.label, unsure: carried.unsure, box, state, age: now - capturedAt });
      }
    }
    this.#overlay.render(marks);
    this.#settle();
  }

  /** @param {Uint8Array} luma @param {number} width @param {number} height @param {number} at */
  #picture(luma, width, height, at) {
    if (this.#waiting) this.#recent.put(luma, width, height, at);
    if (this.#carried.size > 0) this.#boxes?.frame(luma, at, width, height);
  }

  /** Take pictures only while they are of use. */
  #settle() {
    if (!this.#waiting) this.#recent.clear();
    if (this.#video.srcObject && (this.#waiting || this.#carried.size > 0)) this.#readback.start();
    else this.#readback.stop();
  }
}

/**
 * When a frame was captured, by the page's clock: as the server says where that lies between the question and the
 * answer's begin, else by its age.
 * @param {FrameInfo} frame @param {number} askedAt @param {number} startedAt when the page heard of it
 */
export function frameTime(frame, askedAt, startedAt) {
  const { captured_at: captured, age_ms: age } = frame;
  const fits = captured >= askedAt - CLOCKS_MS && captured <= startedAt + CLOCKS_MS;
  return fits ? captured : startedAt - age;
}

/** The worker that carries boxes: takes small pictures and boxes, returns where the boxes are. */
import { Tracker } from "./tracker.js";

// Between two messages: about 20 ms of a laptop
const STEPS_A_TURN = 64;

/** @type {Tracker|null} created for the first picture, and again for one of another size */
let tracker = null;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let turn;

/** Carry for one turn; the next one comes after the messages that wait. */
function work() {
  clearTimeout(turn);
  turn = undefined;
  if (!tracker) return;
  if (tracker.advance(STEPS_A_TURN)) turn = setTimeout(work, 0);
  postMessage({ type: "boxes", boxes: tracker.boxes() });
}

/** @param {{luma: Uint8Array, width: number, height: number, capturedAt: number}} given */
function frame({ luma, width, height, capturedAt }) {
  if (tracker && (tracker.ring.width !== width || tracker.ring.height !== height)) {
    // The device was turned, or another camera chosen.
    tracker.clear();
    postMessage({ type: "boxes", boxes: tracker.boxes() });
    tracker = null;
  }
  tracker ??= new Tracker(width, height);
  const taken = tracker.frame(luma, capturedAt);
  if (taken) work();
  // Its memory goes back for the next one.
  postMessage({ type: "frame", luma, taken }, { transfer: [luma.buffer] });
}

addEventListener("message", ({ data }) => {
  if (data.type === "frame") frame(data);
  else if (data.type === "add") {
    tracker ??= new Tracker();
    tracker.addBox(data);
    work();
  } else if (data.type === "remove" && tracker) {
    tracker.removeBox(data.id);
    work();
  } else if (data.type === "clear") {
    clearTimeout(turn);
    tracker = null;
  }
});

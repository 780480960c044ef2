/**
 * The page's half of benchmarks/guidance.py: the real tracker and the real course, on simulated time. Each line is a JSON
 * message; a `cue` is answered. Needs Node 22 or newer, or 20 with --experimental-detect-module.
 */
import { createInterface } from "node:readline";

import { Course } from "../client/features/guidance/course.js";
import { Tracker } from "../client/features/pointing/tracker.js";

const [WIDTH, HEIGHT] = [320, 180];
let course = new Course();
let tracker = new Tracker(WIDTH, HEIGHT);
let id = 0;

function follow() {
  while (tracker.advance(64));
  for (const { id: number, state, box, at } of tracker.boxes()) {
    if (number === id && (state === "shown" || state === "fading")) course.moved(box, at, number);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.type === "begin") {
    course = new Course();
    tracker = new Tracker(WIDTH, HEIGHT);
    id = 0;
  } else if (message.type === "frame") {
    tracker.frame(new Uint8Array(Buffer.from(message.luma, "base64")), message.at);
    follow();
  } else if (message.type === "target") {
    course.target(message, message.at, message.now);
    const before = id;
    id = 0;
    if (["found", "maybe"].includes(message.state) && message.box) {
      id = before + 1;
      tracker.addBox({ id, box: message.box, capturedAt: message.at, label: "" });
    }
    if (before) tracker.removeBox(before);
    follow();
  } else if (message.type === "cue") console.log(JSON.stringify(course.cue(message.now)));
}

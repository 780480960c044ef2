/** Orders that somebody speaks: which buttons they press, and what the page tells. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** A button of the page, which each click turns on or off */
class Button {
  hidden = false;
  disabled = false;
  pressed = false;
  clicks = 0;
  getAttribute() {
    return String(this.pressed);
  }
  click() {
    if (this.disabled) return;
    this.clicks += 1;
    this.pressed = !this.pressed;
  }
}

const buttons = {};
globalThis.HTMLButtonElement = Button;
globalThis.window = { addEventListener() {} };
globalThis.localStorage = { getItem: () => null, setItem() {} };
globalThis.document = { getElementById: (id) => buttons[id], documentElement: { dataset: {} } };
const { Orders } = await import("../../../../client/features/voice_in/orders.js");
const { text } = await import("../../../../client/core/words/text.js");
const { change, settings } = await import("../../../../client/core/page/settings.js");

let told, done, orders;
beforeEach(() => {
  for (const id of ["hold", "describe", "guide", "stop"]) buttons[id] = new Button();
  [told, done] = [[], []];
  change({ verbosity: "normal" });
  orders = new Orders({
    watch: (condition) => done.push(condition),
    again: () => done.push("again"),
    tell: (words) => told.push(words),
  });
});
const clicks = () => Object.entries(buttons).flatMap(([id, { clicks }]) => (clicks ? [[id, clicks]] : []));

for (const [id, on, off] of [["hold", "hold", "release"], ["guide", "guide", "guide_off"], ["describe", "describe", "describe_off"]])
  test(`${on} and ${off} press their button once`, () => {
    orders.obey({ order: on });
    orders.obey({ order: on });
    assert.deepEqual([clicks(), buttons[id].pressed], [[[id, 1]], true]);
    orders.obey({ order: off });
    orders.obey({ order: off });
    assert.deepEqual([clicks(), buttons[id].pressed], [[[id, 2]], false]);
    // A description is heard by itself.
    assert.equal(told.length, on === "describe" ? 2 : 4);
  });

test("stop ends a description, and nothing else", () => {
  orders.obey({ order: "stop" });
  assert.deepEqual(clicks(), []);
  buttons.describe.pressed = buttons.hold.pressed = true;
  orders.obey({ order: "stop" });
  assert.deepEqual([clicks(), buttons.hold.pressed, told], [[["describe", 1]], true, []]);
});

test("it says what cannot be done", () => {
  buttons.hold.disabled = true;
  buttons.guide.hidden = true;
  orders.obey({ order: "hold" });
  orders.obey({ order: "guide" });
  assert.deepEqual([clicks(), told], [[], [text("voice.impossible"), text("voice.impossible")]]);
});

test("answers become longer and shorter by a step, as far as it goes", () => {
  const lengths = ["longer", "longer", "shorter", "shorter", "shorter"].map((order) => {
    orders.obey({ order });
    return settings().verbosity;
  });
  assert.deepEqual(lengths, ["full", "full", "normal", "short", "short"]);
  assert.deepEqual(told.slice(1, 4), ["long", "normal", "short"].map((length) => text(`voice.answers_${length}`)));
});

test("the camera goes off", () => {
  orders.obey({ order: "camera_off" });
  assert.deepEqual([clicks(), told], [[["stop", 1]], [text("server.camera_off")]]);
});

test("an answer again, and a watch", () => {
  orders.obey({ order: "again" });
  orders.obey({ order: "watch", condition: "it boils" });
  assert.deepEqual([done, clicks(), told], [["again", "it boils"], [], []]);
});

test("words that are no order, and orders of a newer server, do nothing", () => {
  buttons.describe.pressed = true;
  for (const order of [undefined, "", "dance", "toString"]) orders.obey({ order, text: "", final: true });
  assert.deepEqual([clicks(), told, done, settings().verbosity], [[], [], [], "normal"]);
});

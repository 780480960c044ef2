// Time that a test lets pass: timers, dates and performance.now stand still until then.
import { setImmediate as turn } from "node:timers/promises";

/** @param {import("node:test").TestContext} t @returns {(ms: number) => Promise<void>} lets so much time pass, in steps of 5 ms */
export function still(t) {
  let passed = 0;
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  t.mock.method(performance, "now", () => passed);
  return async (ms) => {
    for (const end = passed + ms; passed < end; ) {
      passed += 5;
      t.mock.timers.tick(5);
      await turn();
    }
  };
}

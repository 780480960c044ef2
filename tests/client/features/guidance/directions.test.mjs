/** The words for what is around somebody: by direction, in the order of the turn, in each language. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import { LANGUAGES, use } from "../../../../client/core/words/text.js";
import { aroundLines, bearingWords } from "../../../../client/features/guidance/directions.js";
import "../../english.mjs";

/** @param {number} degrees @param {string} label @param {"thing"|"text"|"code"} [kind] */
const at = (degrees, label, kind = "thing") => ({ kind, label, degrees, width: 10 });

/** @param {ReturnType<typeof at>[]} things @param {object} [more] */
const ended = (things, more = {}) => aroundLines({ type: "scanned", turned: 355, count: things.length, end: "whole", things, ...more });

test("each direction is named once, in the order of the things", () => {
  const things = [at(4, "a chair"), at(-10, "a chair"), at(12, "a cup"), at(88, "EXIT", "text"), at(-178, "a person"), at(-95, "", "code")];
  assert.deepEqual(ended(things), [
    "In front: a chair (2) and a cup.",
    "A quarter turn to the right: “EXIT”.",
    "Behind you: a person.",
    "A quarter turn to the left: a code.",
  ]);
});

test("the eight directions meet half-way", () => {
  const words = [0, 22, 23, 67, 68, 112, 113, 157, 158, 180, -180, -158, -157, -113, -112, -68, -67, -23, -22].map((degrees) => ended([at(degrees, "x")])[0]);
  const fronts = words.map((line) => line.split(":")[0]);
  assert.deepEqual([...new Set(fronts)], [
    "In front",
    "Half right",
    "A quarter turn to the right",
    "Behind you on the right",
    "Behind you",
    "Behind you on the left",
    "A quarter turn to the left",
    "Half left",
  ]);
  assert.equal(fronts[0], fronts.at(-1));
});

test("less than a turn, nothing, and a lost way are said", () => {
  assert.deepEqual(ended([at(0, "a cup")], { turned: -120, end: "rest" }).at(-1), "You turned only about 120°.");
  assert.deepEqual(ended([]), ["I saw nothing that I can name with certainty."]);
  assert.match(ended([at(0, "a cup")], { end: "lost" }).at(-1) ?? "", /lost track/);
});

test("where something was has its direction, or why there is none", () => {
  const bearing = { type: /** @type {const} */ ("bearing"), thing: "the cup", count: 1, lost: false };
  assert.equal(bearingWords({ ...bearing, found: at(-80, "a cup") }), "A quarter turn to the left: a cup.");
  assert.equal(bearingWords({ ...bearing, count: 2, found: at(3, "a cup") }), "In front: a cup. The nearest of 2.");
  assert.equal(bearingWords({ ...bearing, count: 0 }), "Not seen while turning: the cup.");
  assert.match(bearingWords({ ...bearing, lost: true }), /lost track/);
});

test("each language has its own words for each direction", () => {
  const folder = new URL("../../../../client/languages/", import.meta.url);
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
    use(file.slice(0, 2), JSON.parse(readFileSync(new URL(file, folder), "utf8")));
    const lines = ended([0, 45, 90, 135, 180, -135, -90, -45].map((degrees) => at(degrees, "x")));
    assert.equal(new Set(lines).size, 8, file);
    assert.ok(lines.every((line) => !/scan\.|\{/.test(line)), file);
  }
  use("en", {});
  assert.equal(Object.keys(LANGUAGES).length, 16);
});

// Sentences with counts, numbers, times and lists as each language writes them; a missing translation is the English sentence.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { clock, direction, ended, joined, list, number, percent, plural, text, use } from "../../../client/words/text.js";

const words = (code) => JSON.parse(readFileSync(new URL(`../../../client/languages/${code}.json`, import.meta.url), "utf8"));
const pictures = (count) => plural("{count} pictures", "1 picture", count);
const bare = (said) => said.replaceAll(/[\u2066-\u2069]/gu, "");

test("a count has the form of its language", () => {
  const forms = { one: "{count} картинка", few: "{count} картинки", many: "{count} картинок", other: "{count} картинки" };
  use("ru", { "{count} pictures": forms });
  assert.deepEqual([1, 2, 5, 11, 21, 22, 25].map(pictures), ["1 картинка", "2 картинки", "5 картинок", "11 картинок", "21 картинка", "22 картинки", "25 картинок"]);
  use("ar", { "{count} pictures": { zero: "لا صور", one: "صورة", two: "صورتان", few: "{count} صور", many: "{count} صورة", other: "{count} من الصور" } });
  assert.deepEqual([0, 1, 2, 3, 11, 100].map(pictures).map(bare), ["لا صور", "صورة", "صورتان", "3 صور", "11 صورة", "100 من الصور"]);
  use("en", {});
  assert.deepEqual([0, 1, 2].map(pictures), ["0 pictures", "1 picture", "2 pictures"]);
});

test("every language has the forms that its own counts need", () => {
  for (const code of ["de", "es", "fr", "it", "pt", "nl", "pl", "tr", "uk", "ru", "ar", "hi", "zh", "ja", "ko"]) {
    const table = words(code);
    const rules = new Intl.PluralRules(code);
    for (const [english, forms] of Object.entries(table).filter(([, forms]) => typeof forms === "object"))
      for (let count = 0; count < 200; count++) assert.ok(forms[rules.select(count)] ?? forms.other, `${code}: ${english}: ${count}`);
  }
});

test("numbers, shares, times and lists are those of the language and its region", () => {
  const said = () => [number(1234.5, 1), percent(0.5), list(["a", "b", "c"]), clock(new Date(2026, 0, 2, 15, 4, 5).getTime())];
  use("en", {});
  assert.deepEqual(said(), ["1,234.5", "50\u00a0%", "a, b, and c", "15:04:05"]);
  use("de", {});
  assert.deepEqual(said(), ["1.234,5", "50\u00a0%", "a, b und c", "15:04:05"]);
  use("de", {}, "de-CH");
  assert.match(number(1234.5, 1), /^1['’]234\.5$/);
  // Digits are those of the page's pictures and codes.
  use("ar", {});
  assert.deepEqual([number(12, 0), direction()], ["12", "rtl"]);
  // In a sentence from right to left the first name comes first, whatever its own direction.
  assert.equal(list(["hall", "Home"]), "\u200f\u2068hall\u2069 و\u2068Home\u2069");
});

test("no line breaks between a number and its unit, in any sentence", () => {
  use("en", {});
  assert.equal(text("A GPU with 80 GB, or 48 GB with CPU offload."), "A GPU with 80\u00a0GB, or 48\u00a0GB with CPU offload.");
  assert.equal(text("2 seconds, 3 sheets"), "2 seconds, 3 sheets");
  // Arabic and Hindi have words for their units.
  for (const code of ["de", "es", "fr", "it", "pt", "nl", "pl", "tr", "uk", "ru", "zh", "ja", "ko"]) {
    use(code, words(code));
    for (const english of ["{number} %", "{number} kB", "{number} ms there and back", "{size}, {seconds} s, seed {seed}."])
      assert.doesNotMatch(text(english, { number: 7, seconds: 7, size: "9", seed: 1 }), /7 /, `${code}: ${english}`);
  }
});

test("full stops, commas and semicolons are those of the language, and a sentence that has its end gets no other", () => {
  const said = () => [ended("a"), ended("a."), ended("a?"), bare(joined(["a", "b"])), bare(joined(["a", "b"], "; "))];
  use("de", {});
  assert.deepEqual(said(), ["a.", "a.", "a?", "a, b", "a; b"]);
  use("ja", {});
  assert.deepEqual(said(), ["a。", "a.", "a?", "a、b", "a；b"]);
  use("hi", {});
  assert.deepEqual(said(), ["a।", "a.", "a?", "a, b", "a; b"]);
  use("ar", {});
  assert.deepEqual(said(), ["a.", "a.", "a?", "\u200fa، b", "\u200fa؛ b"]);
});

test("a name stands where it belongs, and what has no translation is English", () => {
  use("de", { "Loading {model}": "{model} wird geladen" });
  assert.equal(text("Loading {model}", { model: "Qwen" }), "Qwen wird geladen");
  assert.equal(text("{number} kB", { number: 1234 }), "1.234\u00a0kB");
  // In a sentence from right to left a name of the other direction is held together.
  use("ar", { "Loading {model}": "جارٍ تحميل {model}" });
  assert.equal(text("Loading {model}", { model: "Qwen" }), "جارٍ تحميل \u2068Qwen\u2069");
});

// Words with counts, numbers, times and lists as each language writes them; a missing translation is English.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromServer, problem } from "../../../../client/core/words/text.js";
import { ENGLISH } from "../../../../client/languages/en.js";
import { clock, direction, ended, joined, list, number, percent, plural, text, use } from "../../../../client/core/words/text.js";
import "../../english.mjs";

const words = (code) => JSON.parse(readFileSync(new URL(`../../../../client/languages/${code}.json`, import.meta.url), "utf8"));
const pictures = (count) => plural("facts.pictures", count);
const bare = (said) => said.replaceAll(/[\u2066-\u2069]/gu, "");

test("a count has the form of its language", () => {
  const forms = { one: "{count} картинка", few: "{count} картинки", many: "{count} картинок", other: "{count} картинки" };
  use("ru", { "facts.pictures": forms });
  assert.deepEqual([1, 2, 5, 11, 21, 22, 25].map(pictures), ["1 картинка", "2 картинки", "5 картинок", "11 картинок", "21 картинка", "22 картинки", "25 картинок"]);
  use("ar", { "facts.pictures": { zero: "لا صور", one: "صورة", two: "صورتان", few: "{count} صور", many: "{count} صورة", other: "{count} من الصور" } });
  assert.deepEqual([0, 1, 2, 3, 11, 100].map(pictures).map(bare), ["لا صور", "صورة", "صورتان", "3 صور", "11 صورة", "100 من الصور"]);
  use("en", {});
  assert.deepEqual([0, 1, 2].map(pictures), ["0 pictures", "1 picture", "2 pictures"]);
});

test("every language has the forms that its own counts need", () => {
  for (const code of ["de", "es", "fr", "it", "pt", "nl", "pl", "tr", "uk", "ru", "ar", "hi", "zh", "ja", "ko"]) {
    const table = words(code);
    const rules = new Intl.PluralRules(code);
    for (const [id, forms] of Object.entries(table).filter(([, forms]) => typeof forms === "object"))
      for (let count = 0; count < 200; count++) assert.ok(forms[rules.select(count)] ?? forms.other, `${code}: ${id}: ${count}`);
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
    for (const id of ["words.percent", "answer.kilobytes", "doctor.round_trip", "page.seconds", "page.minutes", "page.milliseconds"])
      assert.doesNotMatch(text(id, { number: 7 }), /7 /, `${code}: ${id}`);
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

test("a name stands where it belongs, what has no translation is English, and an unknown id shows itself", () => {
  use("de", { "stage.model_now": "{model} antwortet wieder" });
  assert.equal(text("stage.model_now", { model: "Qwen" }), "Qwen antwortet wieder");
  assert.equal(text("answer.kilobytes", { number: 1234 }), "1.234\u00a0kB");
  assert.deepEqual([text("stage.nobody"), plural("stage.nobody", 2), text("toString")], ["stage.nobody", "stage.nobody", "toString"]);
  // In a sentence from right to left a name of the other direction is held together.
  use("ar", { "stage.model_now": "جارٍ تحميل {model}" });
  assert.equal(text("stage.model_now", { model: "Qwen" }), "جارٍ تحميل \u2068Qwen\u2069");
});

test("a sentence of the server has its translation, else that of its error's code, else it is English", () => {
  use("en", {});
  const off = ENGLISH["server.camera_off"];
  const said = () => [problem("conflict", off), problem("conflict", "A cup is missing."), problem("a_new_code", "A cup is missing."), problem("", "page.stopped")];
  assert.deepEqual(said(), [off, "A cup is missing.", "A cup is missing.", text("page.stopped")]);
  assert.deepEqual([fromServer("A cup.", "else"), fromServer("", "else"), fromServer(off)], ["A cup.", "else", off]);
  use("de", { "server.camera_off": "Aus.", "problem.conflict": "Passt nicht.", "page.stopped": "Beendet." });
  assert.deepEqual(said(), ["Aus.", "Passt nicht.", "A cup is missing.", "Beendet."]);
  assert.deepEqual([fromServer("A cup.", "else"), fromServer("", "else"), fromServer(off)], ["else", "else", "Aus."]);
  use("en", {});
});

/** Files of a conversation: what is in them, and that nothing in them does anything. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fileName, fileOf } from "../../../../client/core/answer/keep.js";
import { use } from "../../../../client/core/words/text.js";
import "../../english.mjs";

// Times are those of the device.
process.env.TZ = "Asia/Kolkata";
const NOW = new Date("2027-03-14T15:09:26Z");
const PICTURE = "data:image/jpeg;base64,/9j/AAAA";
const kept = (change = {}, more = {}) => ({
  turn: {
    kind: "chat", question: "What is this?", text: "A **cup**.", thoughts: "", problem: "", earlier: [],
    frame: { captured_at: NOW.getTime(), width: 840, height: 448, thumbnail: PICTURE, picture: "secret" },
    response: { engine: "vllm", model: "m", timings: { total_ms: 840 }, usage: {} },
    ...change,
  },
  picture: PICTURE,
  marked: true,
  ...more,
});

test("each format has the words, and pictures where it says so", () => {
  const markdown = fileOf("markdown", [kept()], NOW);
  assert.match(markdown, /## What is this\?\n\nA \*\*cup\*\*\.\n/);
  assert.ok(!markdown.includes("base64"));
  const html = fileOf("html", [kept()], NOW);
  assert.ok(html.includes(`<img src="${PICTURE}"`) && html.includes("<p>A <strong>cup</strong>.</p>"));
  const { turns } = JSON.parse(fileOf("json", [kept()], NOW));
  assert.deepEqual([turns[0].question, turns[0].answer, turns[0].picture, turns[0].model], ["What is this?", "A **cup**.", PICTURE, "m"]);
  // Ids at the server are no part of it.
  assert.ok(!JSON.stringify(turns).includes("secret"));
  assert.equal(fileName("html", NOW), "qwen-camera-2027-03-14T20-39.html");
});

test("the part that a question points at is kept with it", () => {
  const frame = { captured_at: NOW.getTime(), width: 840, height: 448, part: [0, 0.4, 0.2, 0.6] };
  const response = { ...kept().turn.response, closer: { crop: [0, 100, 200, 300], thumbnail: PICTURE, picture: "secret" } };
  const asked = [kept({ frame, response })];
  assert.ok(fileOf("html", asked, NOW).includes("0.8 s · Marked part: left, halfway up."));
  const [turn] = JSON.parse(fileOf("json", asked, NOW)).turns;
  assert.deepEqual([turn.frame.part, turn.closer], [[0, 0.4, 0.2, 0.6], { crop: [0, 100, 200, 300] }]);
});

test("a description is kept with all that it said", () => {
  const turn = kept({ kind: "describe", earlier: [{ at: NOW.getTime() - 60_000, text: "A desk." }] });
  assert.match(fileOf("markdown", [turn], NOW), /- 20:38:26 A desk\.\n- 20:39:26/);
  assert.ok(fileOf("html", [turn], NOW).includes("<li>20:38:26 A desk.</li>"));
});

test("the file's own words and times are in the page's language", () => {
  use("de", { "answer.conversation_of": "Chat vom {time}", "page.model_saw": "Verwendetes Bild" });
  assert.match(fileOf("markdown", [kept()], NOW), /^# Chat vom 14\. März 2027 um 20:39:26\n/);
  const html = fileOf("html", [kept()], NOW);
  use("en", {});
  assert.match(html, /<html lang="de" dir="ltr">\n[^]*<title>Chat vom 14\. März 2027 um 20:39:26<\/title>/);
  assert.match(html, /alt="Verwendetes Bild">[^]*<p class="about">14\. März 2027 um 20:39:26 · vllm, m · 0\.8 s<\/p>/);
});

const WICKED = [
  "<script>alert(1)</script>", "</title><script>1</script>", "<img src=x onerror=alert(1)>", "</style><svg onload=1>",
  '" onload="alert(1)', "' onfocus='1", "**<b>** `<i>` [<u>](https://x.example/<s>)", "```\n</pre><script>\n```", "> <x>", "| <a> | b |\n|---|---|\n| <c> | d |",
  "# <h1>", "- <li onclick=1>", "<!--", "&lt;script&gt;", "\0<scr\0ipt>", "javascript:alert(1)", "[x](javascript:alert(1))",
];

test("exported HTML is inert, whatever people, scenes and models wrote", () => {
  const own = /<\/?(?:head|body|section|h1|h2|h3|p|div|ul|li|pre|code|table|tr|td|th|strong|em|s|hr|blockquote|title)(?: class="(?:text|about)")?(?: dir="auto"| style="margin-left:[\d.]+em;list-style:(?:disc|none)")?>|<\/html>|<!doctype html>|<html lang="en" dir="ltr">|<meta [^<>]+>|<style>[^<]*<\/style>|<img src="data:image\/jpeg;base64,[A-Za-z0-9+/=]+" alt="[^"<]*">/g;
  for (const text of WICKED) {
    for (const marked of [true, false]) {
      const turns = [
        kept({ question: text, text, problem: text, response: { engine: text, model: text, timings: { total_ms: 1 }, usage: {} } }, { marked }),
        kept({ earlier: [{ at: 1, text }], text }, { marked, picture: `data:image/jpeg;base64,AA"${text}` }),
        kept({ text }, { marked, picture: `https://x.example/${text}` }),
      ];
      const html = fileOf("html", turns, NOW);
      assert.match(html, /<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;/);
      // Behind our own tags no other one is left, and no quote that could end an attribute.
      assert.ok(!/[<>]/.test(html.replace(own, "")), `${text}: ${html.replace(own, "").match(/.{0,60}[<>].{0,60}/)}`);
      assert.ok(!/ href=| src="(?!data:image\/jpeg;base64,)/.test(html));
    }
  }
});

test("a question cannot become markup of a Markdown file", () => {
  const markdown = fileOf("markdown", [kept({ question: "a\n# b <img> [x](y)" })], NOW);
  assert.ok(markdown.includes("## a  \n\\# b \\<img\\> \\[x\\](y)"));
});

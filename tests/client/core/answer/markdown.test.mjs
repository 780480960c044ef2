/** Markdown as models write it, and as an attacker would: pieces, properties, and time. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { hostOf, linksIn } from "../../../../client/core/answer/inline.js";
import { Markdown, MOST_BLOCK, plain } from "../../../../client/core/answer/markdown.js";

const read = (text) => {
  const reader = new Markdown();
  reader.read(text);
  return reader.blocks;
};
// The tree in short: kinds and words, without positions
const short = (spans) => spans.map((one) => (one.kind === "text" ? one.text : [one.kind, ...(one.spans ? short(one.spans) : [one.text]), ...(one.address ? [one.address] : [])]));
const inside = (text) => short(read(text)[0].spans);

test("blocks that models write", () => {
  const blocks = read("## Parts\nThere are **two**:\n1. a *cap*\n   - red\n2. a `rod`\n\n| n | mm |\n|---|--:|\n| M4 | 10 |\n\n```js\nlet *a* = 1;\n```\n> old\n---\nDone.");
  assert.deepEqual(blocks.map(({ kind }) => kind), ["heading", "paragraph", "list", "table", "code", "quote", "rule", "paragraph"]);
  const [heading, , list, table, code] = blocks;
  assert.equal(heading.level, 2);
  assert.deepEqual(list.items.map(({ depth, number }) => [depth, number]), [[0, 1], [1, null], [0, 2]]);
  assert.deepEqual([table.align, short(table.head[1]), short(table.rows[0][0])], [["", "right"], ["mm"], ["M4"]]);
  assert.deepEqual([code.language, code.text], ["js", "let *a* = 1;"]);
});

test("marks inside a line, and what is none", () => {
  assert.deepEqual(inside("a **b *c* d** ~~e~~ ***f***"), ["a ", ["strong", "b ", ["emphasis", "c"], " d"], " ", ["struck", "e"], " ", ["strong", ["emphasis", "f"]]]);
  for (const text of ["2*3*4 = 24", "snake_case_name", "5 * 3 * 2", "a ** b", "<b>x</b>", "[x](javascript:alert(1))", "[x](/path)", "1984 was"]) {
    assert.equal(inside(text).join(""), text);
  }
  assert.deepEqual(inside("\\*no\\* `a*b`"), ["*no", "* ", ["code", "a*b"]]);
  assert.equal(read("1984. A book")[0].kind, "paragraph");
});

test("links are http and https, and say their host", () => {
  assert.deepEqual(inside("[shop](https://a.example/x(1)), http://b.example."), [["link", "shop", "https://a.example/x(1)"], ", ", ["link", "http://b.example", "http://b.example"], "."]);
  assert.equal(hostOf("https://bank.example@evil.example/"), "");
  assert.equal(hostOf("javascript:alert(1)"), "");
  assert.equal(hostOf("https://münchen.example:8443/x"), "xn--mnchen-3ya.example:8443");
});

test("of a long address all is a link, or nothing", () => {
  const long = `https://a.example/${"x".repeat(600)}`;
  assert.equal(hostOf(long), "");
  assert.equal(hostOf(long, 2000), "a.example");
  assert.deepEqual(linksIn(`It leads to ${long.slice(0, 400)}…`).map(({ kind }) => kind), ["text"]);
  assert.deepEqual(linksIn(`It leads to ${long.slice(0, 400)}`).map(({ kind }) => kind), ["text", "link"]);
});

test("words without marks, for voices and the clipboard", () => {
  assert.equal(plain("**A** `b`\n\n- c\n- *d*\n\n[e](https://f.example)"), "A b\n• c\n• d\ne (https://f.example)");
});

test("positions point into the source", () => {
  const text = "## Two **bold** words\n- an *item* \\* x\n\n| a | b |\n|---|---|\n| `c` | d |\n> q\n> r";
  const check = (spans) => spans.forEach((one) => {
    if (one.spans) check(one.spans);
    else if (one.at >= 0) assert.equal(text.slice(one.at, one.at + one.text.length), one.text);
  });
  for (const block of read(text)) {
    for (const spans of [block.spans ?? [], ...(block.items ?? []).map((item) => item.spans), ...(block.rows ?? []).flat()]) check(spans);
  }
});

// A small generator, so that each run tries the same texts.
let seed = 7;
const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
const PIECES = ["**", "*", "`", "```\n", "\n", "\n\n", "- ", "1. ", "\n2. ", "# ", "> ", "|", "|---|---|\n", "a | b\n", "word ", "x", "[a](http", "s://e.example)", "](", "\\", "_", "~~", "---\n", "  ", "https://x.example ", "<br>", "é", "***", "``"];

test("a text in pieces becomes what it is in whole, and settled blocks are not touched", () => {
  for (let run = 0; run < 1000; run += 1) {
    let text = "";
    for (let count = 1 + random() * 40; count > 0; count -= 1) text += PIECES[Math.floor(random() * PIECES.length)].repeat(random() < 0.01 ? 900 : 1);
    const reader = new Markdown();
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + Math.floor(random() * (text.length > 500 ? 300 : 9)));
      const before = reader.blocks;
      const kept = reader.read(text.slice(0, at));
      for (let index = 0; index < kept; index += 1) assert.equal(reader.blocks[index], before[index]);
    }
    assert.deepEqual(reader.blocks, read(text), JSON.stringify(text));
  }
});

test("a piece costs no more at the end of a long text", () => {
  for (const unit of ["word ", "- item\n", "| a | b |\n", "> q\n", "let a = 1;\n"]) {
    const head = unit.startsWith("let") ? "```js\n" : unit.startsWith("|") ? "|a|b|\n|-|-|\n" : "";
    const reader = new Markdown();
    reader.read(head + unit.repeat(20 * MOST_BLOCK / unit.length));
    const kept = reader.read(head + unit.repeat(20 * MOST_BLOCK / unit.length) + unit);
    assert.ok(kept >= 18 && reader.blocks.length - kept <= 3, `${unit}: ${kept} of ${reader.blocks.length}`);
  }
});

test("time is linear in a hostile text", () => {
  const cost = (unit, size, enough = 0) => {
    const text = unit.repeat(size / unit.length);
    let least = Infinity;
    // Processor time, the least of a few: other programs do not count.
    for (let run = 0; run < 2 && least > enough; run += 1) {
      const before = process.cpuUsage().user;
      read(text);
      least = Math.min(least, process.cpuUsage().user - before);
    }
    return least;
  };
  // Of the same length, so that memory costs the same: a quadratic parser takes thousands of times as long.
  const plainly = cost("word ", 800_000);
  for (const unit of ["**a ", "[a](http://", "`` ` ", "*a_", "|a|\n", "(((("]) {
    const took = cost(unit, 800_000, 40 * plainly);
    assert.ok(took < 40 * plainly, `${JSON.stringify(unit)}: ${took} µs, and ${plainly} µs for words`);
  }
});

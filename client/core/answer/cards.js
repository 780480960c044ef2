import { made, say } from "../page/dom.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */

// A list of fewer is a sentence.
const FEWEST = 2;
// Characters of the line that introduces one
const LINE = 160;

/**
 * Make an answer a card where it is a date, a price, a code or a list: the server's facts, or the words' own marks, say
 * so.
 * @param {HTMLElement} article @param {Turn} turn
 */
export function fillCard(article, turn) {
  const fact = turn.response?.fact;
  const code = turn.response?.codes ? "code" : "";
  const list = turn.state === "done" && isList(article.querySelector(".text.rich")) ? "list" : "";
  const kind = fact?.kind || code || list;
  if (kind) article.dataset.card = kind;
  else delete article.dataset.card;
  let figure = article.querySelector(".fact");
  if (!fact) return figure?.remove();
  if (!figure) {
    // The words below have it, too.
    figure = made("p", { className: "fact", dir: "auto", ariaHidden: "true" });
    article.querySelector(".text")?.before(figure);
  }
  figure.classList.toggle("over", (fact.days ?? 0) < 0);
  say(figure, fact.text);
}

/** True for a list, and at most a line that introduces it. @param {Element|null} words */
function isList(words) {
  const blocks = [...(words?.children ?? [])];
  const list = blocks.at(-1);
  const before = blocks.length < 2 || (blocks.length === 2 && (blocks[0].textContent ?? "").length <= LINE);
  return before && list?.matches("ul, ol") === true && list.childElementCount >= FEWEST;
}

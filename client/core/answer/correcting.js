import { button, made } from "../page/dom.js";
import { asking } from "../chat/conversation.js";
import { text } from "../words/text.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */

/**
 * Show a question's words; transcribed ones can be corrected while `turn.correctable`.
 * @param {HTMLElement} asked @param {Turn} turn @param {(text: string) => void} onCorrect
 */
export function fillQuestion(asked, turn, onCorrect) {
  const form = asked.querySelector("form");
  if (form && turn.correctable) return; // somebody is typing
  if (form) form.remove();
  const words = asking(turn);
  const same =
    asked.firstChild?.textContent === words &&
    (asked.querySelector("button")?.textContent ?? "") === (turn.correctable ? text("answer.correct") : "");
  if (!same) {
    asked.replaceChildren(words, ...(turn.correctable ? [edit(asked, turn, onCorrect)] : []));
  }
}

/** @param {HTMLElement} asked @param {Turn} turn @param {(text: string) => void} onCorrect */
function edit(asked, turn, onCorrect) {
  const one = button(() => open(asked, turn, onCorrect), { className: "correct", textContent: text("answer.correct") });
  one.setAttribute("aria-label", text("answer.correct_question"));
  return one;
}

/** @param {HTMLElement} asked @param {Turn} turn @param {(text: string) => void} onCorrect */
function open(asked, turn, onCorrect) {
  const field = made("textarea", { value: turn.question, rows: 2, maxLength: 4000 });
  field.setAttribute("aria-label", text("answer.question_words"));
  const form = made("form", {}, field, made("button", { className: "correct" }, text("answer.ask")));
  const close = (/** @type {string} */ words) => {
    form.remove();
    if (words && words !== turn.question) onCorrect(words);
    fillQuestion(asked, turn, onCorrect);
    asked.querySelector("button")?.focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    close(field.value.trim());
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close("");
    }
  });
  asked.replaceChildren(form);
  field.focus();
  field.select();
}

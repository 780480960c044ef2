import { button, byId, made, say } from "../page/dom.js";
import { language, text } from "../words/text.js";
import { hostOf } from "./inline.js";

/** @typedef {import("../live/messages.d.ts").FoundCode} FoundCode */

// Characters of an address in a code, and milliseconds for which a button says that it has copied
export const MOST_OF_CODE = 2000;
const SAYS_COPIED = 2000;
const COPIES = {
  open: "answer.copy_text",
  password: "answer.copy_password",
  phone: "answer.copy_phone",
  email: "answer.copy_email",
  contact: "answer.copy_contact",
  event: "answer.copy_event",
  text: "answer.copy_text",
};
// Characters that tell two buttons of a kind apart
const BEGINNING = 24;

/**
 * Show buttons for the codes in an answer's picture below its words, and values that they do not have. Only a press
 * opens or copies anything.
 * @param {HTMLElement} article @param {import("../chat/conversation.js").Turn} turn @param {(address: string) => void}
 *   open
 */
export function fillCodes(article, turn, open) {
  const codes = turn.response?.codes ?? [];
  const key = `${language()} ${JSON.stringify(codes)}`;
  const shown = article.querySelector(".codes");
  if (shown instanceof HTMLElement && shown.dataset.codes === key) return;
  shown?.remove();
  if (codes.length === 0) return;
  const rows = codes.map((code) => {
    const does = code.use === "open" && hostOf(code.value, MOST_OF_CODE) ? opening(code, open) : copying(code, codes);
    const words = turn.text.includes(code.value) ? [] : [made("code", { dir: "auto" }, code.value)];
    return made("div", {}, ...words, ...(does ? [does] : []));
  });
  const group = made("div", { className: "codes" }, ...rows);
  group.dataset.codes = key;
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", text("answer.codes"));
  article.querySelector(".said")?.append(group);
}

/** @param {FoundCode} code @param {(address: string) => void} open */
function opening({ value }, open) {
  return button(() => open(value), { textContent: text("answer.open_host", { host: hostOf(value, MOST_OF_CODE) }) });
}

/**
 * @param {FoundCode} code
 * @param {FoundCode[]} codes all of them
 * @returns {HTMLButtonElement|null} null where a page may not copy
 */
function copying({ use, value }, codes) {
  if (!navigator.clipboard) return null;
  const words = text(COPIES[use]);
  const several = codes.filter((other) => other.use === use).length > 1;
  const label = several ? `${words}: ${value.slice(0, BEGINNING)}` : words;
  const copy = async () => {
    let said = text("page.copied");
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      said = text("chat.copy_refused");
    }
    say(byId("announcer", HTMLElement), said);
    one.textContent = said;
    setTimeout(() => (one.textContent = label), SAYS_COPIED);
  };
  const one = button(() => void copy(), { textContent: label });
  return one;
}

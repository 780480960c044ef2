/** The server's sentences and errors in the page's words. Uses no DOM. */

import { ENGLISH } from "../../languages/en.js";
import { language, text } from "./text.js";

/** By each English sentence that the server sends, the id of its translations. @type {Map<unknown, string>} */
const IDS = new Map(Object.entries(ENGLISH).flatMap(([id, words]) => (id.startsWith("server.") ? [[words, id]] : [])));

/**
 * An error's words: the server's own where they are English or have a translation, else the page's for its code.
 * @param {string} code "": the page's own error @param {string} message the server's English, or an id of the page's own words
 */
export function problem(code, message) {
  const id = IDS.get(message);
  const general = `problem.${code}`;
  return text(!id && language() !== "en" && Object.hasOwn(ENGLISH, general) ? general : (id ?? message));
}

/** The server's sentence if it can be shown in the page's language, else other words. @param {string} [sentence] @param {string} [else_] */
export function fromServer(sentence = "", else_ = "") {
  const id = IDS.get(sentence);
  return id || (sentence && language() === "en") ? text(id ?? sentence) : else_;
}

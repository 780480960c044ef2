import { text } from "../words/text.js";

/** @param {string} text @returns {Promise<string>} what to tell the person */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return text("Copied.");
  } catch {
    return text("The browser did not allow copying.");
  }
}

/** @param {string} text */
export async function share(text) {
  try {
    await navigator.share({ text });
  } catch {
    // The user closed the dialog without sharing.
  }
}

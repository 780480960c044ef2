import { text } from "../words/text.js";

/** @param {string} words @returns {Promise<string>} what to tell the person */
export async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
    return text("Copied.");
  } catch {
    return text("The browser did not allow copying.");
  }
}

/** @param {string} words */
export async function share(words) {
  try {
    await navigator.share({ text: words });
  } catch {
    // The user closed the dialog without sharing.
  }
}

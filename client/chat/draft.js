const KEY = "qwen-camera.draft";

/** Keeps the typed question over a reload of this tab, and no longer. */
export const draft = {
  /** @returns {string} */
  load() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return ""; // storage may be switched off; then only the box has the text
    }
  },

  /** @param {string} text */
  save(text) {
    try {
      if (text) sessionStorage.setItem(KEY, text);
      else sessionStorage.removeItem(KEY);
    } catch {
      // as above
    }
  },
};

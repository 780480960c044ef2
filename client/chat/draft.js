const KEY = "qwen-camera.draft";

/** The question being typed outlives a reload of this tab, and nothing else. */
export const draft = {
  /** @returns {string} */
  load() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return ""; // storage may be switched off; then only the box itself remembers
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

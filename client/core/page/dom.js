/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`The page has no ${type.name} with the id ${id}.`);
  return element;
}

/**
 * Set a text only if it differs, because screen readers and layout react to every change.
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Show a text, and nothing where there is none. @param {HTMLElement} element @param {string} text */
export function tell(element, text) {
  say(element, text);
  show(element, text !== "");
}

/**
 * Make an element with these properties and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name @param {Partial<HTMLElementTagNameMap[K]>} [given] @param {(Node|string)[]} children
 */
export function made(name, given = {}, ...children) {
  const element = Object.assign(document.createElement(name), given);
  element.append(...children);
  return element;
}

/**
 * Make a button that does something.
 * @param {(event: MouseEvent) => void} does
 * @param {Partial<HTMLButtonElement>} [given] its properties
 */
export function button(does, given = {}) {
  const one = made("button", { type: "button", ...given });
  one.addEventListener("click", does);
  return one;
}

/**
 * The button that stays in sight after a press on this one, which may be in something that closes.
 * @param {HTMLElement} button
 */
export function stays(button) {
  const fold = button.closest("[data-fold]");
  return /** @type {HTMLElement|null} */ (fold && document.querySelector(`[aria-controls="${fold.id}"]`)) ?? button;
}

/** Something that a button opens. The button, Escape, a press elsewhere and a choice in it (`data-closes`) close it. */
export class Fold {
  /** Called when it was opened. */
  onOpen = () => {};

  #opener;
  #content;

  /** @param {HTMLButtonElement} opener @param {HTMLElement} content */
  constructor(opener, content) {
    this.#opener = opener;
    this.#content = content;
    content.dataset.fold = "";
    opener.addEventListener("click", () => this.set(!this.open));
    // Before the choice is carried out: a dialog gives the focus back to what had it.
    const choose = (/** @type {Event} */ event) => {
      if (/** @type {Element} */ (event.target).closest("[data-closes]")) this.set(false);
    };
    content.addEventListener("click", choose, { capture: true });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.open) this.set(false);
    });
    document.addEventListener("pointerdown", (event) => {
      const at = /** @type {Node} */ (event.target);
      if (this.open && !content.contains(at) && !opener.contains(at)) this.set(false, false);
    });
  }

  get open() {
    return !this.#content.hidden;
  }

  /**
   * @param {boolean} open
   * @param {boolean} [focus] closed, the button that opens it has the focus: dialogs give it back
   */
  set(open, focus = true) {
    if (open === this.open) return;
    if (!open && focus) this.#opener.focus();
    show(this.#content, open);
    this.#opener.setAttribute("aria-expanded", String(open));
    if (open) this.onOpen();
  }
}

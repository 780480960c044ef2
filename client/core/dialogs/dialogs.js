import { byId, say, show } from "../page/dom.js";
import { span } from "../page/routes.js";
import { change } from "../page/settings.js";
import { comingWords, namesThings } from "../page/words.js";
import { isolated, number, text } from "../words/text.js";

const ASK_FOR_CODE = "dialogs.enter_code";
const WRONG_CODE = "dialogs.wrong_code";

/** Asks for the server's access code. */
class CodeDialog {
  #dialog = byId("code-dialog", HTMLDialogElement);
  #input = byId("code", HTMLInputElement);
  #text = byId("code-text", HTMLElement);
  /** @type {((code: string|null) => void)|null} */
  #answer = null;

  constructor() {
    byId("code-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("code-form", HTMLFormElement).addEventListener("submit", () => this.#settle(this.#input.value));
    // Also after the Escape key; after a submit it is settled already.
    this.#dialog.addEventListener("close", () => this.#settle(null));
  }

  /**
   * @param {boolean} wrong the previous code was refused
   * @param {string} [why] the server's text about the code, or about the refusal
   * @returns {Promise<string|null>} null: not now
   */
  ask(wrong, why = "") {
    say(this.#text, text(wrong ? WRONG_CODE : why || ASK_FOR_CODE));
    this.#text.classList.toggle("problem", wrong);
    this.#dialog.showModal();
    this.#input.focus();
    return new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  /** @param {string|null} code */
  #settle(code) {
    this.#input.value = "";
    this.#answer?.(code);
    this.#answer = null;
  }
}

/** Asks for consent before pictures, or what a feature sends, go to another machine. */
class DisclosureDialog {
  #dialog = byId("disclosure-dialog", HTMLDialogElement);
  #title = byId("disclosure-title", HTMLElement);
  #text = byId("disclosure-text", HTMLElement);
  #host = byId("disclosure-host", HTMLElement);
  #once = byId("disclosure-once", HTMLElement);
  #agree = byId("disclosure-agree", HTMLButtonElement);
  #onAgree;
  // The last host shown for pictures; the dialog does not open for it again by itself.
  #shown = "";
  #pictures = false;
  /** @type {(agreed: boolean) => void} */
  #answer = () => {};

  /** @param {{onAgree: (host: string) => void}} hooks onAgree: to the machine that gets pictures */
  constructor({ onAgree }) {
    this.#onAgree = onAgree;
    byId("disclosure-later", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#agree.addEventListener("click", () => {
      this.#settle(true);
      this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      // The event comes later: the next question may be open by then.
      if (!this.#dialog.open) this.#settle(false);
    });
  }

  /** @param {string} host "" for none; it waits while a feature asks, until it is told again */
  render(host) {
    if (host === this.#shown || (this.#dialog.open && !this.#pictures)) return;
    this.#shown = host;
    if (host) this.open();
    else if (this.#pictures) this.#dialog.close();
  }

  /** Ask about pictures. */
  open() {
    const host = this.#shown;
    say(this.#host, host);
    this.#open(text("page.other_machine"), true, (agreed) => agreed && this.#onAgree(host));
  }

  /**
   * Ask about what a feature sends.
   * @param {string} words what goes where
   * @param {boolean} [kept] the answer is a setting of this device
   * @returns {Promise<boolean>} false at once while another question is open
   */
  ask(words, kept) {
    return new Promise((resolve) => this.#open(words, false, resolve, kept));
  }

  /**
   * @param {string} title @param {boolean} pictures @param {(agreed: boolean) => void} answer @param {boolean} [kept]
   */
  #open(title, pictures, answer, kept) {
    // Prevent consent by a click meant for the previous question.
    if (this.#dialog.open && !(pictures && this.#pictures)) return answer(false);
    this.#settle(false);
    this.#answer = answer;
    this.#pictures = pictures;
    say(this.#title, title);
    say(this.#once, text(kept ? "dialogs.agreed_kept" : "dialogs.disclosure_once"));
    say(this.#agree, text(kept ? "dialogs.allow" : "dialogs.disclosure_agree"));
    show(this.#text, pictures);
    // A hidden text would still describe the dialog to screen readers.
    this.#dialog.setAttribute("aria-describedby", pictures ? this.#text.id : "");
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** @param {boolean} agreed */
  #settle(agreed) {
    const answer = this.#answer;
    this.#answer = () => {};
    answer(agreed);
  }
}

/**
 * @returns {Promise<{id: string, name: string}[]>} the device's cameras by name; none before the browser was allowed
 *   one
 */
async function devices() {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const cameras = found.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  /** @type {{id: string, name: string}[]} */
  const named = [];
  for (const [at, device] of cameras.entries()) {
    const name = nameOf(device, at + 1);
    const same = named.filter((other) => other.name === name || other.name.startsWith(`${name} `)).length;
    named.push({ id: device.deviceId, name: same ? `${name} ${same + 1}` : name });
  }
  return named;
}

/**
 * A camera's name: its label without the ids that browsers put there, or where it looks.
 * @param {MediaDeviceInfo} device
 * @param {number} number in the list
 */
function nameOf(device, number) {
  // Chromium adds vendor and product on a computer, and has "camera2 0, facing back" on Android.
  const label = device.label.replace(/ \([\da-f]{4}:[\da-f]{4}\)$/i, "").trim();
  const listed = /^camera2? \d+, facing (front|back)$/i.exec(label)?.[1].toLowerCase();
  if (label && !listed) return label;
  const [mode] = /** @type {any} */ (device).getCapabilities?.().facingMode ?? [];
  if (listed === "front" || mode === "user") return text("live.front_camera");
  return listed === "back" || mode === "environment"
    ? text("live.back_camera")
    : text("page.camera_number", { number });
}

/** Lets the person choose the camera: one of this device, or a screen. Features put others into it. */
class CamerasDialog {
  #dialog = byId("camera-dialog", HTMLDialogElement);
  #rows = byId("camera-rows", HTMLElement);
  #screen = byId("camera-screen", HTMLButtonElement);
  #said = byId("camera-said", HTMLElement);
  #visit;
  #onOpen;

  /** @param {import("../live/visit.js").Visit} visit @param {(open: boolean) => void} onOpen it was opened or closed */
  constructor(visit, onOpen) {
    this.#visit = visit;
    this.#onOpen = onOpen;
    byId("camera-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      say(this.#said, "");
      onOpen(false);
    });
    this.#screen.addEventListener("click", () => void this.#share());
  }

  async open() {
    // Phones cannot.
    show(this.#screen, Boolean(navigator.mediaDevices?.getDisplayMedia));
    this.#screen.setAttribute("aria-pressed", String(this.#visit.facts.screen));
    await this.#offer();
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    this.#onOpen(true);
  }

  /** The id of the device's camera in use; "" for none, and when the browser hides it. */
  get #used() {
    const { screen, track } = this.#visit.camera;
    return (!screen && track?.getSettings().deviceId) || "";
  }

  /** The cameras of this device; before their names are known one that stands for them. */
  async #offer() {
    const cameras = await devices();
    for (const row of this.#rows.querySelectorAll("[data-device]")) row.remove();
    const known = cameras.length > 0 ? cameras : [{ id: "", name: "" }];
    this.#screen.before(...known.map(({ id, name }) => this.#row(id, name, id !== "" && id === this.#used)));
  }

  /** @param {string} id @param {string} name @param {boolean} used */
  #row(id, name, used) {
    const added = /** @type {DocumentFragment} */ (
      byId("camera-row-template", HTMLTemplateElement).content.cloneNode(true)
    );
    const row = /** @type {HTMLButtonElement} */ (added.firstElementChild);
    const [words, help] = [...row.querySelectorAll("b, small")];
    row.dataset.device = id;
    if (name) Object.assign(words, { textContent: name, translate: false });
    if (used) say(help, text("cameras.in_use"));
    row.setAttribute("aria-pressed", String(used));
    row.addEventListener("click", () => void this.#use(id));
    return row;
  }

  /** @param {string} id "" for the one that was chosen before */
  async #use(id) {
    this.#dialog.close();
    const opened = id && id === this.#used ? null : this.#visit.useDevice(id || undefined);
    if (id) change({ camera: id });
    await opened;
    this.#goOn();
  }

  /** The button that opened it may have disappeared: move a keyboard user's focus to the next control. */
  #goOn() {
    if (document.activeElement === document.body) byId("quick-what", HTMLButtonElement).focus();
  }

  async #share() {
    say(this.#said, "");
    try {
      if (!(await this.#visit.share())) return;
      this.#dialog.close();
      this.#goOn();
    } catch {
      say(this.#said, text("cameras.screen_failed"));
    }
  }
}

/** Explains step by step how a device comes to trust the server's certificate. */
class TrustDialog {
  #dialog = byId("trust-dialog", HTMLDialogElement);

  /** @param {{onRetry: () => void}} hooks */
  constructor({ onRetry }) {
    byId("trust-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("trust-retry", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      onRetry();
    });
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }
}

// Milliseconds for a gigabyte at 100 Mbit/s
const GIGABYTE = 80_000;
/**
 * Ways to a model: the words on each, its download in GB, and the administrator's command.
 * @type {[string, number, string][]}
 */
const WAYS = [
  ["simple.small", 1.7, "bash scripts/run.sh --model"],
  ["simple.large", 18, "vllm serve Qwen/Qwen3-VL-8B-Instruct --port 8001"],
  ["simple.own", 0, "VLLM_BASE_URL=http://127.0.0.1:8001/v1"],
];

/** Says what the built-in engine can do, and how the server gets a model. */
class SimpleDialog {
  #dialog = byId("simple-dialog", HTMLDialogElement);
  #said = byId("simple-said", HTMLElement);
  #bar = byId("simple-coming-bar", HTMLProgressElement);

  constructor() {
    byId("simple-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
  }

  /** Show the model on its way. @param {import("../live/facts.js").Facts} facts */
  render(facts) {
    if (!this.#dialog.open) return;
    show(byId("simple-coming", HTMLElement), facts.coming !== null);
    say(byId("simple-coming-words", HTMLElement), comingWords(facts));
    if (facts.coming?.percent === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = facts.coming.percent;
  }

  /** @param {import("../live/facts.js").Facts} facts */
  open(facts) {
    say(this.#said, "");
    say(byId("simple-can", HTMLElement), text(namesThings(facts) ? "simple.can" : "simple.can_plain"));
    byId("simple-ways", HTMLElement).replaceChildren(...WAYS.map((way) => this.#way(...way)));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.render(facts);
  }

  /** @param {string} words @param {number} size @param {string} command */
  #way(words, size, command) {
    const [item, about, cost, row, code, copy] = ["li", "p", "p", "div", "code", "button"].map((tag) =>
      document.createElement(tag),
    );
    about.textContent = text(words);
    cost.className = "fine";
    const shown = { size: isolated(`${number(size)}\u00a0GB`), time: span(size * GIGABYTE) };
    if (size) cost.textContent = text("simple.download", shown);
    row.className = "row";
    code.dir = "ltr";
    // A line ends between two words, not at a hyphen.
    for (const word of command.split(" "))
      code.append(
        ...(code.hasChildNodes() ? [" "] : []),
        Object.assign(document.createElement("span"), { textContent: word }),
      );
    copy.textContent = text("page.copy");
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command);
        say(this.#said, text("page.copied"));
      } catch {
        getSelection()?.selectAllChildren(code);
        say(this.#said, text("page.copy_marked"));
      }
    });
    row.append(code, copy);
    item.append(about, ...(size ? [cost] : []), row);
    return item;
  }
}

/** The small dialogs that few people see. Loaded when needed, not with the page. */
export class Dialogs {
  code = new CodeDialog();
  simple = new SimpleDialog();
  cameras;
  disclosure;
  trust;

  /** @param {import("../live/visit.js").Visit} visit @param {(open: boolean) => void} onCameras see `CamerasDialog` */
  constructor(visit, onCameras) {
    this.cameras = new CamerasDialog(visit, onCameras);
    this.disclosure = new DisclosureDialog({ onAgree: (host) => visit.agree(host) });
    this.trust = new TrustDialog({ onRetry: () => visit.retry() });
  }
}

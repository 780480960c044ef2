/** The page: connects the visit (camera and connection) with the views. */

import { AnswerEntry } from "./chat/answerentry.js";
import { Changes } from "./chat/changes.js";
import { ChatView } from "./chat/chatview.js";
import { Composer } from "./chat/composer.js";
import { Conversation } from "./chat/conversation.js";
import { Drawing } from "./chat/drawing.js";
import { SpeakEntry } from "./chat/speakentry.js";
import { Speech } from "./chat/speech.js";
import { TalkEntry } from "./chat/talkentry.js";
import { WatchEntry } from "./chat/watchentry.js";
import { CodeDialog, DisclosureDialog, MissingDialog, OtherDialog, TrustDialog } from "./dialogs/dialogs.js";
import { Memory } from "./live/memory.js";
import { Visit } from "./live/visit.js";
import { byId, show } from "./page/dom.js";
import { cameAsOperator, takePairingCode } from "./page/fragment.js";
import { Language } from "./page/language.js";
import { Part, onceLater } from "./page/part.js";
import { keepRecallWish, recallWish, remember, wasLive } from "./page/resume.js";
import { waysToLook } from "./page/routes.js";
import { watchSurroundings } from "./page/surroundings.js";
import { Sheet, followViewport } from "./page/viewport.js";
import { ScreenLock } from "./page/wakelock.js";
import { SettingsEntry } from "./settings.js";
import { connectCamera } from "./stage/cameracontrols.js";
import { GuideEntry } from "./stage/guideentry.js";
import { MemoryView } from "./stage/memoryview.js";
import { Stand } from "./stage/simplemode.js";
import { StageView } from "./stage/stageview.js";
import { key, onLanguage, text } from "./words/text.js";

// Milliseconds after camera and socket are ready, which need the network first
const DOCTOR_AHEAD = 2000;
const MARKS_AHEAD = 500;

// The page is complete.
byId("partial", HTMLElement).remove();

const words = new Language({ onChosen: (language) => visit.description.prefer({ language }), onMissing: (why) => chat.announce(why) });
const stage = new StageView();
const dialog = new CodeDialog();
const trust = new TrustDialog({ onRetry: () => visit.retry() });
const other = new OtherDialog();
const disclosure = new DisclosureDialog({ onAgree: (host) => visit.agree(host) });
const missing = new MissingDialog();
const stand = new Stand();
const screenLock = new ScreenLock();
const dock = byId("dock", HTMLElement);
const sheet = new Sheet(stage.app, byId("panel", HTMLElement));
const stop = byId("stop", HTMLButtonElement);
const hold = byId("hold", HTMLButtonElement);
const describe = byId("describe", HTMLButtonElement);
const manage = byId("engine-open", HTMLButtonElement);
const unpair = byId("unpair", HTMLButtonElement);

const visit = new Visit({
  askCode: (wrong, why) => dialog.ask(wrong, why),
  onChange: render,
  onStream: (stream) => {
    stage.play(stream);
    marks.here?.clear();
    screenLock.want(stream !== null);
  },
  onMessage: (message) => {
    if (message.type === "still") return showStill(message);
    if (message.type === "change" && message.about !== "watches") return changes.render(message);
    if (message.type === "aim") return guide.receive(message);
    if (message.type === "reading") return void guide.read(message);
    if ([watches, answers, talk].some((one) => one.receive(message)) || operator.here?.receive(message)) return;
    if (message.type === "recall") return memory.received(message);
    conversation.receive(message);
    marks.here?.receive(message);
    if (message.type === "response" || message.type === "error") guide.readWhole(true);
    if (message.type === "response") tellStand(message.engine, message.model, conversation.byId(message.id));
    if (message.type === "error" && !message.id) note(message.message, message.code === "handover_refused" ? conversation.open : null);
  },
  onVoice: (track) => answers.play(track),
  onEngine: (engine, model) => tellStand(engine, model, conversation.open),
  onSent: (id) => conversation.sent(id),
  onUnsent: (id) => conversation.end(id, text("It was not asked: the camera is off.")), keeps: () => watches.on,
  onBroken: (again) => conversation.interrupt(text("The connection was lost before the answer was complete."), again),
  onNewSession: (carried) => {
    watches.forget();
    if (carried || conversation.turns.length === 0) return;
    // An open question is answered in the new session.
    note(text("A new session began. What was said before is not remembered."), conversation.open);
  },
});

const conversation = new Conversation({
  onTurn: (turn) => drawing.changed(turn),
  onGone: (turn) => {
    drawing.gone(turn);
    chat.remove(turn);
    renderRunning();
  },
});

const drawing = new Drawing((turns) => {
  chat.render(turns);
  answers.marks.draw();
  renderRunning();
});

const speech = new Speech((key) => chat.renderSpeaking(key));

const changes = new Changes({
  length: (length) => visit.description.prefer({ length }),
  sensitivity: (sensitivity) => visit.description.prefer({ sensitivity }),
});

const entry = new AnswerEntry(
  later("./answer/panel.js", "What can be done with answers", async () => (await import("./answer/panel.js")).createAnswers(visit, entry.hooks)),
  { conversation, speech, engine: () => visit.facts.status?.engine ?? visit.facts.ready?.engine, drop: (id) => visit.handover.drop(id) },
);

const chat = new ChatView(
  {
    ...entry.actions,
    again: (turn) => ask(turn.question, turn.detail, turn.wish),
    correct: (turn, text) => answers.correct(turn, text),
    ways: () => waysToLook(memory.bounds !== null && memory.wanted, Boolean(visit.facts.ready?.reads)),
    lookAgain: (turn, route) => ask(turn.question, "auto", route),
    opened: () => sheet.grow(true), watching: (open) => visit.description.prefer({ changes: open }),
  },
  changes.element,
);

const composer = new Composer({
  onAsk: (text) => ask(text),
  onWatch: (condition) => void watches.add(condition),
  onTyping: () => visit.typing(),
});

const answers = new SpeakEntry(
  later("./voice/spoken.js", key("The voice did not arrive"), async () => new (await import("./voice/spoken.js")).Spoken(answers.hooks)),
  { conversation, chat, speech, send: (message) => visit.socket.send(message), onChange: renderRunning },
);

entry.join(chat, answers.marks);

const talk = new TalkEntry(
  later("./voice/listening.js", key("The microphone did not arrive"), async () => new (await import("./voice/listening.js")).Listening(visit, talk.hooks)),
  { note, announce: (text) => chat.announce(text), tones: answers.hooks.tones, hears: () => answers.speaking, watch: (condition) => void watches.add(condition), again: () => answers.again() },
);

const marks = new Part({
  address: new URL("./track/marks.js", import.meta.url),
  load: async () => {
    const { Marks } = await import("./track/marks.js");
    return new Marks(stage.video, stage.far, {
      onAsk: (text) => composer.suggest(text),
      announce: (text) => chat.announce(text),
    });
  },
  // The answer has it in words, and on its own picture.
  onMissing: () => {},
});

// A server that is down could not deliver the doctor any more; the picture of a question is gone before marks are loaded.
const fetchDoctorAhead = onceLater(DOCTOR_AHEAD, () => void doctor.ahead());
const fetchMarksAhead = onceLater(MARKS_AHEAD, () => void marks.ahead());
const fetchAnswersAhead = onceLater(MARKS_AHEAD, () => void entry.ahead());

const doctor = new Part(
  later("./doctor/panel.js", key("The connection check did not arrive"), async () => {
    const { createDoctor } = await import("./doctor/panel.js");
    return createDoctor(visit, () => [...visit.session.secrets, ...(operator.here?.secrets ?? [])]);
  }),
);

const operator = new Part(
  later("./operator/panel.js", key("The engine panel did not arrive"), async () => {
    const { OperatorPanel } = await import("./operator/panel.js");
    return new OperatorPanel(visit, renderEntry);
  }),
);

const watches = new WatchEntry(
  later("./watch/panel.js", key("The list of watches did not arrive"), async () => {
    const { WatchPanel } = await import("./watch/panel.js");
    return new WatchPanel(visit, {
      show: (ring) => {
        drawing.flush();
        chat.add(ring);
        renderRunning();
      },
      say: (text) => answers.say(text, true) || chat.announce(text),
      opened: () => sheet.grow(true),
      refused: (condition, why) => {
        composer.restore(condition);
        note(why);
      },
    });
  }),
  composer,
);

const guide = new GuideEntry({
  address: new URL("./guide/panel.js", import.meta.url),
  load: async () => new (await import("./guide/panel.js")).Guide({ say: (text, reading = false) => answers.say(text, reading, reading), verbosity: answers.hooks.verbosity }),
  onMissing: (again) => missing.open(key("The guide did not arrive"), again), onChange: renderRunning,
  send: (message) => visit.socket.send(message),
});

const memory = new Memory(recallWish(), {
  send: (message) => visit.socket.send(message),
  onWish: keepRecallWish, onChange: () => memoryView.render(memory),
});
const memoryView = new MemoryView(memory);
const preferences = new SettingsEntry(visit, (again) => missing.open(key("The settings did not arrive"), again));

/** A part that loads when it is opened. @template T @param {string} path @param {string} missed @param {() => Promise<T>} load */
function later(path, missed, load) {
  return { address: new URL(path, import.meta.url), load, onMissing: (/** @type {() => void} */ again) => missing.open(missed, again) };
}

/** @param {string} question @param {"auto"|"low"|"high"} [detail] @param {import("./page/routes.js").Route} [route] */
function ask(question, detail = "auto", route) {
  const waited = conversation.running;
  const { id, sent } = visit.ask(question, detail, route);
  // Replaces an unsent question here; for a sent one the server reports it.
  if (waited?.state === "waiting") conversation.end(waited.id, text("Replaced by a newer question."), false);
  conversation.ask(id, question, detail, sent, route);
  if (canPoint()) void marks.ahead().then(() => conversation.running?.id === id && marks.here?.asked(id));
  if (visit.facts.disclose) disclosure.open();
}

function cancel() {
  answers.hush();
  const turn = conversation.running;
  if (turn) conversation.cancelling(turn);
  if (turn && visit.cancel(turn.id)) conversation.end(turn.id, text("Cancelled."));
}

/** @param {typeof visit.facts} facts */
function render(facts) {
  if (facts.socket === "open") trust.close(); // it trusts by now
  disclosure.render(facts.active ? facts.disclose : "");
  stage.render(facts);
  stage.renderCamera(visit.camera);
  const on = ["on", "resting", "elsewhere"].includes(facts.camera);
  const talking = on && facts.socket === "open";
  show(dock, on || facts.camera === "asking");
  hold.disabled = describe.disabled = !talking;
  hold.setAttribute("aria-pressed", String(facts.held));
  describe.setAttribute("aria-pressed", String(facts.describing));
  show(unpair, visit.session.paired);
  remember(facts.active && visit.session.paired);
  renderEntry();
  operator.here?.connected(facts.socket === "open");
  watches.connected(facts.socket === "open");
  answers.render(facts);
  guide.connected(talking && !facts.held, facts.ready);
  talk.connected(facts);
  memory.connected(facts.socket === "open", facts.ready);
  preferences.render(facts);
  if (talking) [fetchDoctorAhead, fetchAnswersAhead].forEach((fetch) => fetch());
  if (talking && canPoint()) fetchMarksAhead();
  if (!facts.describing) conversation.endDescription();
  if (facts.ready) changes.settings({ ...facts.ready, ...facts.preferred });
  if (facts.ready) composer.limit = facts.ready.limits.question_chars;
  if (facts.camera === "off" || !facts.active) speech.stop();
}

/** True when an answer may say where something is in the page's own live picture. */
function canPoint() {
  const { ready, camera, held } = visit.facts;
  return ["on", "elsewhere"].includes(camera) && !held && Boolean(ready?.capabilities.grounding);
}

/** Show the button of the engine panel to an operator: by the page's address, or by an accepted token. */
function renderEntry() {
  show(manage, cameAsOperator() || Boolean(operator.here?.known));
}

/** @param {import("./live/messages.js").Still} still */
function showStill({ image, withheld }) {
  other.close(); // the other device is connected
  // Keep showing a held picture; a withheld one leaves nothing to show.
  if (!visit.facts.held) stage.showFar(withheld ? "" : (image ?? ""));
}

/** @param {string} engine @param {string} model @param {import("./chat/conversation.js").Turn|null} before that it answers */
function tellStand(engine, model, before) {
  const news = stand.heard(engine, model);
  if (news) note(news, before);
}

/** @param {string} text @param {import("./chat/conversation.js").Turn|null} [before] null: below all turns */
function note(text, before = null) {
  drawing.flush();
  chat.note(text, before);
}

function renderRunning() {
  const { running } = conversation;
  if (!running) marks.here?.ended();
  composer.renderRunning(running !== null || answers.speaking);
  answers.running(running);
  stage.renderRead(answers.wanted || guide.wanted);
  stage.renderBusy(running !== null && running.state !== "answering");
  const talking = conversation.turns.length > 0 || chat.entries > 0;
  stage.app.classList.toggle("talking", talking);
  show(sheet.handle, talking);
}

stage.start.addEventListener("click", async () => {
  await visit.start();
  // The button has disappeared: move a keyboard user's focus to the next control.
  if (document.activeElement === document.body) stage.quick.querySelector("button")?.focus();
});
stage.other.addEventListener("click", async () => {
  visit.elsewhere();
  try {
    other.open(await visit.other.access());
  } catch {
    // No token: the page shows the reason, and the button stays.
  }
});
function leave() {
  conversation.interrupt(text("Stopped."));
  memory.forget();
  visit.stop();
}
stop.addEventListener("click", () => {
  leave();
  sheet.grow(false);
  stage.start.focus();
});
unpair.addEventListener("click", async () => {
  leave();
  try {
    await visit.session.unpair();
    chat.announce(text("This device is forgotten. To come back, scan a new code or type the access code."));
  } catch {
    chat.announce(text("The server could not be told. Try again."));
  }
  show(unpair, visit.session.paired);
});
composer.cancel.addEventListener("click", cancel);
hold.addEventListener("click", () => {
  const held = !visit.facts.held;
  if (visit.hold(held) && held) stage.takeStill();
});
describe.addEventListener("click", () => visit.describe(!visit.facts.describing));
stage.noticeAction.addEventListener("click", () => (visit.facts.untrusted ? trust.open() : visit.facts.disclose ? disclosure.open() : visit.retry()));
manage.addEventListener("click", () => void operator.open(manage));
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("button[data-doctor]")))
  button.addEventListener("click", () => void doctor.open(button));
connectCamera(stage, visit.camera, { exchange: () => void visit.exchangeCamera(), announce: (text) => chat.announce(text) });

for (const button of stage.quick.querySelectorAll("button")) {
  // Wake the camera when the finger goes down, before the click.
  button.addEventListener("pointerdown", () => visit.wake());
  button.addEventListener("click", () => {
    const { question = "", detail, route } = button.dataset;
    ask(stand.question(question), detail === "high" ? "high" : "auto", /** @type {any} */ (route));
  });
}
hold.addEventListener("pointerdown", () => visit.wake());
watchSurroundings({
  onOnline: () => visit.retry(),
  onOffline: () => visit.offline(),
  onNetwork: () => visit.woke(Infinity),
  onWoke: (ms) => visit.woke(ms),
  onDevices: () => void visit.devicesChanged(),
  onHidden: () => visit.hidden(), onShown: () => visit.shown(), onLeave: () => visit.leave(),
});

/** Redeem a one-time code in the address, also a later one in the same page; open the panel at the operator's address. */
function arrive() {
  const code = takePairingCode();
  if (code) void visit.pair(code);
  renderEntry();
  if (cameAsOperator()) void operator.open(manage);
}
window.addEventListener("hashchange", arrive);

onLanguage(() => {
  render(visit.facts);
  chat.render(conversation.turns);
  renderRunning();
  sheet.grow(stage.app.classList.contains("tall"));
});
// Before the first rendering, which stores the current state.
const resuming = wasLive();
followViewport(() => stage.fit());
if (words.chosen) visit.description.prefer({ language: words.chosen });
render(visit.facts);
arrive();
// Pressed before this module was loaded: see boot.js.
if (document.documentElement.dataset.pressed) stage.start.click();
else if ((await resuming) && !visit.facts.active) await visit.start();

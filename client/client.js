/** The page: connects the visit (camera and connection) with the views. */

import { AnswerEntry } from "./chat/answerentry.js";
import { ChatView } from "./chat/chatview.js";
import { Composer } from "./chat/composer.js";
import { Conversation } from "./chat/conversation.js";
import { Drawing } from "./chat/drawing.js";
import { SpeakEntry } from "./chat/speakentry.js";
import { Speech } from "./chat/speech.js";
import { TalkEntry } from "./chat/talkentry.js";
import { WatchEntry } from "./chat/watchentry.js";
import { DialogsEntry } from "./dialogs.js";
import { Memory } from "./live/memory.js";
import { Visit } from "./live/visit.js";
import { byId, show } from "./page/dom.js";
import { Language } from "./page/language.js";
import { MissingDialog, Part, onceLater } from "./page/part.js";
import { cameAsOperator, keepRecallWish, recallWish, remember, takePairingCode, wasLive } from "./page/resume.js";
import { waysToLook } from "./page/routes.js";
import { ScreenLock, watchSurroundings } from "./page/surroundings.js";
import { Sheet, followViewport } from "./page/viewport.js";
import { SettingsEntry } from "./settings.js";
import { connectCamera } from "./stage/cameracontrols.js";
import { GuideEntry } from "./stage/guideentry.js";
import { Stand } from "./stage/simplemode.js";
import { StageView } from "./stage/stageview.js";
import { language, onLanguage, text } from "./words/text.js";

const DOCTOR_AHEAD = 2000;
const MARKS_AHEAD = 500;

byId("partial", HTMLElement).remove(); // the page is complete

const words = new Language({ onChosen: (language) => visit.description.prefer({ language }), onMissing: (why) => chat.announce(why) });
const stage = new StageView();
const missing = new MissingDialog();
const [stand, screenLock] = [new Stand(), new ScreenLock()];
const dock = byId("dock", HTMLElement);
const sheet = new Sheet(stage.app, byId("panel", HTMLElement));
const stop = byId("stop", HTMLButtonElement);
const hold = byId("hold", HTMLButtonElement);
const describe = byId("describe", HTMLButtonElement);
const manage = byId("engine-open", HTMLButtonElement);
const unpair = byId("unpair", HTMLButtonElement);

const visit = new Visit({
  askCode: (wrong, why) => dialogs.askCode(stage.start, wrong, why),
  onChange: render,
  onStream: (stream) => {
    stage.play(stream);
    marks.here?.clear();
    screenLock.want(stream !== null);
  },
  onMessage: (message) => {
    if (message.type === "still") return message.camera ? cameras.here?.still(message) : showStill(message);
    if (message.type === "programs" || message.type === "look") return void programs.ahead().then(() => programs.here?.receive(message));
    if (message.type === "cameras") return void cameras.ahead().then(() => cameras.here?.receive(message.cameras));
    if (message.type === "change" && message.about !== "watches") return changes.here?.render(message);
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
  onUnsent: (id) => conversation.end(id, "page.not_asked"), keeps: () => watches.on || Boolean(programs.here?.on),
  onBroken: (again) => conversation.interrupt("page.answer_lost", again),
  onNewSession: (carried) => {
    watches.forget();
    [cameras, programs].forEach((part) => part.here?.clear());
    if (carried || conversation.turns.length === 0) return;
    note(text("problem.handover_refused"), conversation.open);
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

const entry = new AnswerEntry(
  later("./answer/panel.js", "page.missing_dialog", async () => new (await import("./answer/panel.js")).Answers(visit, entry.hooks), "./answer/answer.css"),
  { conversation, speech, engine: () => visit.facts.status?.engine ?? visit.facts.ready?.engine, drop: (id) => visit.handover.drop(id), others: () => programs.here },
);

const chat = new ChatView(
  {
    ...entry.actions,
    again: (turn) => ask(turn.question, turn.detail, turn.wish),
    correct: (turn, text) => answers.correct(turn, text),
    ways: () => waysToLook(memory.bounds !== null && memory.wanted, Boolean(visit.facts.ready?.features.reading)),
    lookAgain: (turn, route) => ask(turn.question, "auto", route),
    opened: () => sheet.grow(true), watching: (open) => visit.description.prefer({ changes: open }),
  },
);

const orders = new Part(later("./watch/condition.js", "", () => import("./watch/condition.js")));
const composer = new Composer({
  onAsk: (text) => ask(text),
  onWatch: (condition) => [visit.facts.active || visit.start(), watches.add(condition)],
  conditionIn: (words) => orders.here?.conditionIn(words) ?? "",
  orders: () => orders.ahead(),
  onTyping: () => visit.typing(),
});

const answers = new SpeakEntry(
  later("./voice/spoken.js", "page.missing_voice", async () => new (await import("./voice/spoken.js")).Spoken(answers.hooks)),
  { conversation, chat, speech, send: (message) => visit.socket.send(message), onChange: renderRunning },
);

entry.join(chat, answers.marks);

const talk = new TalkEntry(
  later("./voice/listening.js", "page.missing_microphone", async () => new (await import("./voice/listening.js")).Listening(visit, talk.hooks), "./voice/voice.css"),
  { note, announce: (text) => chat.announce(text), tones: answers.hooks.tones, hears: () => answers.speaking, watch: (condition) => void watches.add(condition), again: () => answers.again(), tell: (text) => answers.say(text, true) || chat.announce(text) },
);

const marks = new Part({
  address: new URL("./track/marks.js", import.meta.url),
  sheet: new URL("./track/marks.css", import.meta.url),
  load: async () => {
    const { Marks } = await import("./track/marks.js");
    return new Marks(stage.video, stage.far, { onAsk: (text) => composer.suggest(text), announce: (text) => chat.announce(text) });
  },
  onMissing: () => {},
});

// A server that is down could not deliver them any more.
const fetchDoctorAhead = onceLater(DOCTOR_AHEAD, () => [doctor, details].forEach((part) => void part.ahead()));
const fetchMarksAhead = onceLater(MARKS_AHEAD, () => void marks.ahead());
const fetchAnswersAhead = onceLater(MARKS_AHEAD, () => void entry.ahead());

const doctor = new Part(
  later("./doctor/panel.js", "page.missing_doctor", async () => {
    const { createDoctor } = await import("./doctor/panel.js");
    return createDoctor(visit, () => [...visit.session.secrets, ...(operator.here?.secrets ?? [])]);
  }, "./doctor/doctor.css", "./doctor/panel.html"),
);

const operator = new Part(
  later("./operator/panel.js", "page.missing_operator", async () => new (await import("./operator/panel.js")).OperatorPanel(visit, renderEntry), "./operator/operator.css", "./operator/panel.html"),
);

const dialogs = new DialogsEntry(visit, (missed, again) => missing.open(missed, again));

const changes = new Part(
  later("./watch/changes.js", "", async () => {
    const panel = new (await import("./watch/changes.js")).Changes((wish) => visit.description.prefer(wish), true);
    chat.changes = panel.element;
    return panel;
  }, "./watch/watch.css", "./watch/changes.html"),
);

const watches = new WatchEntry(
  later("./watch/panel.js", "page.missing_watches", async () => {
    const { WatchPanel } = await import("./watch/panel.js");
    return new WatchPanel(visit, {
      show: (alert) => {
        drawing.flush();
        chat.add(alert);
        renderRunning();
      },
      say: (text) => answers.say(text, true) || chat.announce(text),
      opened: () => sheet.grow(true),
      refused: (condition, why) => {
        composer.restore(condition);
        note(why);
      },
    });
  }, "./watch/watch.css", "./watch/changes.html"),
  composer,
);

const guide = new GuideEntry({
  address: new URL("./guide/panel.js", import.meta.url),
  load: async () => new (await import("./guide/panel.js")).Guide({ say: (text, reading = false) => answers.say(text, reading, reading), verbosity: answers.hooks.verbosity }),
  onMissing: (again) => missing.open("page.missing_guide", again), onChange: renderRunning,
  send: (message) => visit.socket.send(message),
});

const memory = new Memory(recallWish(), {
  send: (message) => visit.socket.send(message),
  onWish: keepRecallWish, onChange: renderDetails,
});

const details = new Part(later("./facts/panel.js", "page.missing_facts", async () => new (await import("./facts/panel.js")).FactsPanel(memory)));
stage.onDetails = () => void details.open(stage.state).then(renderDetails);

function renderDetails() {
  if (stage.detailed) details.here?.render(visit.facts, memory);
}

const cameras = new Part(later("./cameras/panel.js", "page.missing_cameras", async () => new (await import("./cameras/panel.js")).CamerasPanel(visit, { video: stage.video, note }), "./cameras/cameras.css", "./cameras/panel.html"));
byId("several-open", HTMLButtonElement).addEventListener("click", () => void cameras.open(stage.state));

const programs = new Part(later("./programs/panel.js", "page.missing_programs", async () => new (await import("./programs/panel.js")).ProgramsPanel(visit, { chat, last: () => conversation.turns.at(-1)?.key ?? "", onChange: renderRunning }), "./programs/programs.css", "./programs/panel.html"));
byId("programs-open", HTMLButtonElement).addEventListener("click", () => void programs.open(stage.state)); if (history.state?.programs?.length) void programs.ahead();

const preferences = new SettingsEntry(visit, (again) => missing.open("page.missing_settings", again), words);

/** A part that loads when it is opened. @param {string} path @param {string} missed @param {() => Promise<any>} load @param {string} [sheet] @param {string} [elements] */
function later(path, missed, load, sheet, elements) {
  const [address, ...files] = [path, sheet, elements].map((file) => file && new URL(file, import.meta.url));
  return { address, sheet: files[0], elements: files[1], load, onMissing: (/** @type {() => void} */ again) => missing.open(missed, again) };
}

/** @param {string} question @param {"auto"|"low"|"high"} [detail] @param {import("./page/routes.js").Route} [route] */
function ask(question, detail = "auto", route) {
  const waited = conversation.running;
  const { id, sent } = visit.ask(question, detail, route);
  if (waited?.state === "waiting") conversation.end(waited.id, "page.replaced", false);
  conversation.ask(id, question, detail, sent, route);
  void entry.ahead();
  if (canPoint()) void marks.ahead().then(() => conversation.running?.id === id && marks.here?.asked(id));
  if (visit.facts.disclose) dialogs.review(stage.noticeAction);
}

function cancel() {
  answers.hush();
  const turn = conversation.running;
  if (turn) conversation.cancelling(turn);
  if (turn && visit.cancel(turn.id)) conversation.end(turn.id, "page.cancelled");
}

/** @param {typeof visit.facts} facts */
function render(facts) {
  dialogs.render(facts);
  stage.render(facts);
  stage.renderCamera(visit.camera);
  const on = ["on", "resting", "elsewhere"].includes(facts.camera);
  const talking = on && facts.socket === "open";
  show(dock, on || facts.camera === "asking");
  hold.disabled = describe.disabled = !talking;
  hold.setAttribute("aria-pressed", String(facts.held));
  describe.setAttribute("aria-pressed", String(facts.describing));
  show(unpair, visit.session.paired);
  show(byId("programs-open", HTMLElement), facts.active && Boolean(facts.ready?.features.grants?.allowed));
  remember(facts.active && visit.session.paired);
  renderEntry();
  operator.here?.connected(facts.socket === "open");
  watches.connected(facts.socket === "open");
  answers.render(facts);
  guide.connected(talking && !facts.held, facts.ready);
  talk.connected(facts);
  memory.connected(facts.socket === "open", facts.ready);
  cameras.here?.connected();
  preferences.render(facts);
  renderDetails();
  if (talking) [fetchDoctorAhead, fetchAnswersAhead].forEach((fetch) => fetch());
  if (talking && canPoint()) fetchMarksAhead();
  if (!facts.describing) conversation.endDescription();
  if (facts.describing) void changes.ahead();
  if (facts.ready) changes.here?.settings({ ...facts.ready, ...facts.preferred });
  if (facts.ready) composer.limit = facts.ready.limits.question_chars;
  if (facts.camera === "off" || !facts.active) speech.stop();
}

/** True when an answer may say where something is in the page's own live picture. */
function canPoint() {
  const { ready, camera, held } = visit.facts;
  return ["on", "elsewhere"].includes(camera) && !held && Boolean(ready?.capabilities.grounding);
}

/** Show an operator the button of the engine panel. */
function renderEntry() {
  show(manage, cameAsOperator() || Boolean(operator.here?.known));
}

/** @param {import("./live/messages.js").Still} still */
function showStill({ image, withheld }) {
  dialogs.closeOther();
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
    await dialogs.showOther(stage.other);
  } catch {
    // No token: the page shows the reason, and the button stays.
  }
});
function leave() {
  conversation.interrupt("page.stopped");
  memory.forget();
  cameras.here?.endAll();
  visit.stop();
}
stop.addEventListener("click", () => [leave(), sheet.grow(false), stage.start.focus()]);
unpair.addEventListener("click", async () => {
  leave();
  try {
    await visit.session.unpair();
    chat.announce(text("page.device_forgotten"));
  } catch {
    chat.announce(text("page.not_forgotten"));
  }
  show(unpair, visit.session.paired);
});
composer.cancel.addEventListener("click", cancel);
hold.addEventListener("click", () => visit.hold(!visit.facts.held) && visit.facts.held && stage.takeStill());
describe.addEventListener("click", () => visit.describe(!visit.facts.describing));
stage.noticeAction.addEventListener("click", () => dialogs.review(stage.noticeAction) || visit.retry());
manage.addEventListener("click", () => void operator.open(manage));
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("button[data-doctor]")))
  button.addEventListener("click", () => void doctor.open(button));
connectCamera(stage, visit.camera, { exchange: () => void visit.exchangeCamera(), announce: (text) => chat.announce(text) });

for (const button of stage.quick.querySelectorAll("button")) {
  button.addEventListener("pointerdown", () => visit.wake());
  button.addEventListener("click", () => {
    const { question = "", detail } = button.dataset;
    ask(text(question), detail === "high" ? "high" : "auto");
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

/** Redeem a one-time code in the address; open the panel at the operator's address. */
function arrive() {
  const code = takePairingCode();
  if (code) void visit.pair(code);
  renderEntry();
  if (cameAsOperator()) void operator.open(manage);
}
window.addEventListener("hashchange", arrive);

onLanguage(() => {
  // Nobody's question decides the language of a description.
  const shown = language() === "en" ? "" : language();
  if (shown !== (visit.facts.preferred.page_language ?? "")) visit.description.prefer({ page_language: shown });
  render(visit.facts);
  chat.render(conversation.turns);
  renderRunning();
  sheet.grow(stage.app.classList.contains("tall"));
});
// Before the first rendering, which stores the current state.
const resuming = wasLive();
followViewport(() => stage.fit());
if (words.wish) visit.description.prefer({ language: words.wish });
render(visit.facts);
arrive();
// Pressed before this module was loaded: see boot.js.
if (document.documentElement.dataset.pressed) stage.start.click();
else if ((await resuming) && !visit.facts.active) await visit.start();

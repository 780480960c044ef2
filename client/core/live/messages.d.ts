// Generated from the code by `python -m tools.references`. Do not edit.

/** The token, as the first message, for a client that can send it neither as a subprotocol nor as a header. */
export interface Auth {
  type: "auth";
  /** The session's token */
  token: string;
}

/** Ask a question. */
export interface Chat {
  type: "chat";
  /** The question, 1 to 4000 characters */
  content: string;
  /** Names the question in every message about it; without it the server chooses one. */
  id?: string;
  /** The time of the question by the client's clock, with which it gets a frame captured after it: performance.timeOrigin + performance.now() in a page */
  sent_at?: number;
  /** Pixels of the picture; `auto` decides by the question. */
  detail?: "auto" | "low" | "high";
  /** Where to look; without it the words of the question decide. */
  route?: "now" | "detail" | "twice" | "past" | "where" | "read";
  /** The part of the own camera's picture that the person points at: left, top, right, bottom, as shares of its width and height, 0 to 1, each side 0.02 at least. The question is about it. */
  part?: [number, number, number, number];
  /** The client carries out orders: `transcript` with the order `guide_to`, `scan`, `where_was`, `notable` or `watch_off`, or `stop` while it leads somewhere, looks around or describes, may follow in place of an answer. */
  orders?: boolean;
}

/** Point at a part of the picture with what is said: spoken questions are about it from now on. */
export interface PointAt {
  type: "point_at";
  /** As in `chat`; without it they are about all of the picture again. */
  part?: [number, number, number, number];
}

/** The words of a spoken question were understood wrongly: ask it anew in its place, about the same picture. */
export interface CorrectTranscript {
  type: "correct_transcript";
  /** The last question's */
  id: string;
  /** The right words, 1 to 4000 characters */
  text: string;
}

/** Stop a question, and its speech. */
export interface Cancel {
  type: "cancel";
  /** The question's; without it the running one stops. */
  id?: string;
}

/** Keep the sharpest frame from now on, for the next questions. */
export interface Hold {
  type: "hold";
}

/** Give up the held frame. */
export interface Release {
  type: "release";
}

/** Change settings of the session; those that are absent keep their value. */
export interface Settings {
  type: "settings";
  /** Frames a second that are compared with the one last described; more than 2.5 count as 2.5. */
  sample_rate?: number;
  /** Longest answer; RESPONSE_MAX_TOKENS limits it. */
  max_tokens?: number;
  /** Language of answers in BCP 47, such as "de" or "pt-BR"; empty: the language of the question */
  language?: string;
  /** Language of the client's words: that of a description without a `prompt` of its own where `language` is empty. Empty: English */
  page_language?: string;
  /** IANA time zone of the person, such as Europe/Berlin. Unknown or empty: the server's */
  time_zone?: string;
  /** `response` has a small picture of its frame. */
  thumbnails?: boolean;
  /** The session's own camera is a shared screen or window, of which black is no darkness. */
  screen?: boolean;
  /** Sensitivity to changes, of the description and the watches: more of it finds smaller and weaker ones. 1 is the measured default. */
  sensitivity?: number;
  /** Words of an answer; `normal` at first */
  verbosity?: "short" | "normal" | "full";
  /** The person agrees that the model calls tools for the person's own questions, and the client shows and carries out the `calls` of a `response`; false at first. */
  tools?: boolean;
}

/** Drop the pictures of the recent past, and those of answers. */
export interface ClearRecall {
  type: "clear_recall";
}

/** Forget a question with its answer and pictures, in the history, too, and stop it if it runs. */
export interface DeleteAnswer {
  type: "delete_answer";
  /** The question's; without it all questions are forgotten. */
  id?: string;
}

/** A question is coming: wake the camera. */
export interface Typing {
  type: "typing";
}

/** Ask for a `pong`. It does not count as activity of the session. */
export interface Ping {
  type: "ping";
}

/** The person agrees that pictures, or what a feature sends beside them, go to other machines. A client sends it when a socket opens, with the machines that its person has agreed to, and after each agreement. */
export interface Confirm {
  type: "confirm";
  /** Machines as an `elsewhere` of `ready` names them, with a comma and a space between */
  host: string;
  /** The feature that sends something else, such as `voice_in` (sound) or `voice_out` (answers to be spoken); empty: pictures, and all else */
  feature?: string;
}

/** Ask for `engine` and `log` messages, and the operator's texts in others, until this socket closes. */
export interface Operator {
  type: "operator";
  /** OPERATOR_TOKEN */
  token: string;
}

/** The wish for hand-overs. */
export interface Settings {
  type: "settings";
  /** A `handover` after each change of the chat */
  handover?: boolean;
}

/** Go on with the chat of an earlier session, as the first message of this one. */
export interface Resume {
  type: "resume";
  /** The last `handover` of that session, 40,000 characters at most */
  handover: string;
  /** A token of that session */
  token: string;
}

/** The cameras that are shown and asked about. */
export interface Settings {
  type: "settings";
  /** A `still` a second, for cameras that the client does not see itself */
  stills?: boolean;
  /** Ids of the cameras that questions are about; `1` at first. Unknown ones do not count. */
  cameras?: Array<string>;
}

/** Begin a watch, in place of one with the same id. */
export interface Watch {
  type: "watch";
  /** The client's name for it */
  id: string;
  /** What to watch for in the person's words, 1 to 200 characters */
  condition: string;
  /** True: it alerts each time that the condition begins to hold; false: once. */
  repeat?: boolean;
  /** Seconds after the end of an event in which nothing alerts */
  cooldown?: number;
  /** Seconds until it ends by itself; absent: never */
  expires?: number;
  /** First and last minute of the day in the person's time; may go over midnight. Absent: always */
  hours?: [number, number];
  /** The person's time, for `hours`: minutes east of UTC */
  zone?: number;
  /** The same as a zone's name, such as Europe/Berlin, which knows summer time. One that the server does not know is ignored. */
  zone_name?: string;
  /** The `threshold` that the watch had in an earlier session; below 0.5 and above 0.95 those count. Absent for a new watch */
  threshold?: number;
}

/** End a watch. */
export interface Unwatch {
  type: "unwatch";
  /** The watch's */
  id: string;
}

/** The client has shown an alert; the next one that waits may follow. */
export interface Ack {
  type: "ack";
  /** The alert's */
  id: string;
}

/** An alert was false: its watch needs surer answers from now on. */
export interface FalseAlarm {
  type: "false_alarm";
  /** The alert's */
  id: string;
}

/** Settings of the watches. */
export interface Settings {
  type: "settings";
  /** A `change` at each comparison of the watches */
  watch_changes?: boolean;
}

/** Settings of the running description. */
export interface Settings {
  type: "settings";
  /** A running description */
  describe?: boolean;
  /** The description's question; empty: the default */
  prompt?: string;
  /** Length of a description; `short` at first */
  length?: "short" | "medium" | "long";
  /** `notable`: what matters alone, at most once in 5 s, and never while the person talks or an answer is spoken; `prompt` and `length` do not count then. `scene` at first */
  about?: "scene" | "notable";
  /** A `change` at each comparison of the running description */
  changes?: boolean;
}

/** The wish to have the recent past kept. */
export interface Settings {
  type: "settings";
  /** Keep pictures of the recent past, for the route `past`; false drops them, too. */
  recall?: boolean;
}

/** The wish for hints. */
export interface Settings {
  type: "settings";
  /** An `aim` whenever another hint how to move the camera holds, while it is on */
  guidance?: boolean;
}

/** Lead the person to something, in place of what they were led to before; a `target` follows. */
export interface Goal {
  type: "goal";
  /** What it is, in the person's words, 200 characters at most: a thing, print, a code, something of a colour; words in quotes are print. A model with boxes looks for what the server itself does not know; without one its words are print, too. Without it the person is led to nothing any more. */
  thing?: string;
}

/** Tell that the client cannot follow the last `target` any more: the next picture is looked at, though no look is due. */
export interface TargetLost {
  type: "target_lost";
}

/** Look around while the person turns, in place of a goal, or end that; `scanned` follows. */
export interface Scan {
  type: "scan";
  /** False: end it; what was seen so far follows */
  on?: boolean;
}

/** Ask where something of the last scan is; a `bearing` follows. */
export interface WhereWas {
  type: "where_was";
  /** What it is, in the person's words */
  thing: string;
}

/** The person points at a place of the own camera's newest picture, or of the held one: ask what is there. `pointed` follows where something finds things; while one is looked for, the newest waits alone. */
export interface Point {
  type: "point";
  /** Share of the picture's width, from the left */
  x: number;
  /** Share of its height, from the top */
  y: number;
}

/** The wish to hear the answers. */
export interface Settings {
  type: "settings";
  /** Answers are spoken. */
  speak?: boolean;
}

/** The progress of the client's own voice through an answer. */
export interface SpeechProgress {
  type: "speech_progress";
  /** The answer's */
  id: string;
  /** The character up to which it has read */
  end: number;
}

/** The settings of the microphone. */
export interface Settings {
  type: "settings";
  /** The way in which the microphone is heard; `off` at first */
  microphone?: "off" | "hands_free" | "push";
  /** Silence that ends a spoken question in the mode `hands_free`; 500 at first */
  silence_ms?: number;
}

/** The button of the microphone's mode `push` is held, or released. */
export interface PushToTalk {
  type: "push_to_talk";
  /** It is held. */
  down: boolean;
}

/** Let alerts of this session go to these webhooks alone, until another `forward` or the session's end. Nothing more leaves for those that were named before. */
export interface Forward {
  type: "forward";
  /** Names out of the last `webhooks`; empty: alerts go to nobody any more. */
  webhooks: Array<string>;
}

/** Make this camera a device of Home Assistant, or end that. */
export interface SetHomeAssistant {
  type: "home_assistant";
  /** True: it is a device of it; false: it is not, or no more. */
  on: boolean;
}

/** The session, its engine and its settings: the first message of a socket, and again when the engine changes. */
export interface Ready {
  type: "ready";
  /** The number of the protocol that this server speaks */
  protocol: number;
  /** The session's id, as the token's answer has it */
  session_id: string;
  /** Start of the session; another time with the same id means a new session. */
  began_at: number;
  /** Name of the engine that answers */
  engine: string;
  /** Name of its model */
  model: string;
  /** `ready`, `loading`, `unreachable`, `busy` or `misconfigured` */
  engine_state: string;
  /** A sentence about the state for visitors; may be empty */
  engine_detail: string;
  /** A sentence while an engine does the work of one that does not answer; may be empty */
  stands_in: string;
  /** The engines of `watches` and `reads`, where they are other ones than the engine that answers */
  roles: Record<string, RoleEngine>;
  /** What the engine can do */
  capabilities: EngineCapabilities;
  /** Bounds of this session */
  limits: Limits;
  /** As in `settings` */
  sensitivity: number;
  /** A frame is held. */
  held: boolean;
  /** Host of the other machine to which pictures go, with commas between several; empty: they stay on the server's. */
  elsewhere: string;
  /** The person has agreed to all of them. Until then they get nothing: see `confirm`. */
  confirmed: boolean;
  /** The features that are on: an object for each, with what a client needs to know of it from the start. `things` of `builtin`: it names them. `allowed` of `grants`: the person may let other programs look. `describe`: whether it is `on`, and its `length`. `pointing`: whether the server's own detector `finds` boxes for an engine that gives none. `recall`: the most `seconds` and `bytes` that are kept; 0: nothing is. `voice_out`: whether the server has a `voice` for answers (without one, or while it fails, clients read with their own), `elsewhere`: host of the other machine to which that sends their texts (empty: they stay on the server's), `confirmed`: the person has agreed to it, and `speak` as in `settings`. `voice_in`: whether the server takes a `microphone`, whether its `recogniser` makes words of speech, and `elsewhere` and `confirmed` as before, for sound. */
  features: Record<string, Record<string, any>>;
}

/** The state of the camera, the queue and the engine. */
export interface Status {
  type: "status";
  /** Absent before the first offer */
  camera?: "starting" | "live" | "stalled" | "frozen" | "ended";
  /** The sender: `whip` is another device; absent without one */
  source?: "page" | "whip";
  /** The picture is dark. */
  dark?: boolean;
  /** The picture is blurred. */
  blurred?: boolean;
  /** Nothing can be seen: covered, or without any light */
  black?: boolean;
  /** Pixels of the camera's picture */
  width?: number;
  /** Pixels of the camera's picture */
  height?: number;
  /** Frames a second over the last 3 s */
  fps?: number;
  /** The camera's clock contradicts itself or the client's, so capture times are by the server's clock. */
  clock_doubted: boolean;
  /** A frame is held. */
  held: boolean;
  /** Questions and descriptions that wait */
  queue_depth: number;
  /** As in `ready` */
  engine: string;
  /** As in `ready` */
  engine_state: string;
  /** As in `ready` */
  engine_detail: string;
}

/** Limits for the camera's sender; the offer's answer has the same. A client that ignores it works, with older frames and more traffic. */
export interface Sender {
  type: "sender";
  /** While nobody asks */
  idle: SenderProfile;
  /** Around a question */
  awake: SenderProfile;
  /** Bit rates after waking; empty when the path allows the full rate at once */
  ramp: Array<RampStep>;
  /** Bit rates after falling back to idle; the last one is the idle rate. */
  settle: Array<RampStep>;
  /** Time from the last key press or wake-up to falling back to idle */
  awake_ms: number;
  /** Wake now for this time, because the server waits for a frame */
  wake_ms?: number;
}

/** Something failed. It does not close the socket. */
export interface Error {
  type: "error";
  /** The question's, or the watch's; `operator` for an `operator` message */
  id?: string;
  /** See the page of errors */
  code: string;
  /** The cause, what is allowed, and the remedy */
  message: string;
  /** The same request may succeed later. */
  retryable: boolean;
  /** Seconds after which to try again; absent: unknown */
  retry_after?: number;
}

/** The answer to `ping`. */
export interface Pong {
  type: "pong";
  /** Time by the server's clock */
  at: number;
}

/** The words of a spoken question as far as they were understood; the question has this id. */
export interface Transcript {
  type: "transcript";
  /** The question's, which follows */
  id: string;
  /** All words so far, which may change until `final`; empty when nothing was understood */
  text: string;
  /** Nothing follows. The question is asked, unless the text is empty. */
  final: boolean;
  /** With an empty text: it was an order, which the client carries out. `again`: read the last answer once more; `notable`: describe with the setting `about`, `guide_to`, `scan`, `where_was`: send a `goal`, `scan`, `where_was`, `stop`: end it, `watch_off`: end all watches, all of them also for typed words of a `chat` with `orders`; `guide`: hints how to move the camera; `shorter`, `longer`: the next step of `verbosity`. Ignore those that you do not know. */
  order?: "again" | "describe" | "describe_off" | "notable" | "watch" | "watch_off" | "hold" | "release" | "guide" | "guide_off" | "guide_to" | "scan" | "where_was" | "stop" | "shorter" | "longer" | "camera_off";
  /** What to watch for, with the order `watch`; the thing, with `guide_to` and `where_was` */
  condition?: string;
  /** With an empty text: no question comes of the speech, because nothing was understood, or because the next one took its place. */
  lost?: "unclear" | "replaced";
}

/** A question waits longer than usual for a frame captured after it; `started` or `error` follows. */
export interface Waiting {
  type: "waiting";
  /** The question's */
  id: string;
  /** Always `frame` */
  what: string;
}

/** The model has the picture. It comes again when another engine takes over before the first text. */
export interface Started {
  type: "started";
  /** The question's, or the description's */
  id: string;
  /** `chat` or `describe` */
  kind: string;
  /** The frame that it is about */
  frame: FrameInfo;
  /** Where a question looks; absent for a description */
  route?: "now" | "detail" | "twice" | "past" | "where" | "read";
  /** The pictures of the past that it looks at, oldest first; absent without any */
  frames?: Array<EarlierFrame>;
  /** The pictures of other cameras that it looks at beside `frame`; absent without any */
  others?: Array<FrameInfo>;
}

/** The next piece of an answer. */
export interface DeltaMessage {
  type: "delta";
  /** The question's, or the description's */
  id: string;
  /** To be added to those before */
  text: string;
}

/** A part of the model's reasoning before its answer; not part of the answer. */
export interface Thinking {
  type: "thinking";
  /** The question's */
  id: string;
  /** To be added to those before */
  text: string;
}

/** The comparison of a frame with the one last described, or last asked about for the watches. */
export interface SceneChange {
  type: "change";
  /** Whose frame it was compared with */
  about: "description" | "watches";
  /** The strongest evidence relative to its rule; a change from 1 on */
  value: number;
  /** `same`, `first`, `view`, `scene`, `object`, `slight`, `color` or `print` */
  why: string;
  /** Left, top, right and bottom of what changed, as shares of the picture; absent without a change */
  region?: Array<number>;
  /** Share of the picture that always moves, in which only a stronger change counts */
  busy: number;
  /** The frame goes to the engine. */
  asks: boolean;
}

/** The end of an answer, with the whole of it. */
export interface Response {
  type: "response";
  /** The whole answer */
  text: string;
  /** All reasoning, 16,000 characters at most; absent without any */
  thinking?: string;
  /** Seconds in the engine */
  inference_time: number;
  /** The question's, or the description's */
  id: string;
  /** `chat` or `describe` */
  kind: string;
  /** Name of the engine that answered */
  engine: string;
  /** Name of its model */
  model: string;
  /** The frame that it is about; absent when it ended before there was one */
  frame?: FrameInfo;
  /** As in `started` */
  route?: "now" | "detail" | "twice" | "past" | "where" | "read";
  /** As in `started`; with the setting `thumbnails` those that the answer names have a picture, or all when it names none. */
  frames?: Array<EarlierFrame>;
  /** The form in which the engine got them; absent without any */
  frames_sent?: "pictures" | "video" | "refused";
  /** As in `started`, with thumbnails */
  others?: Array<FrameInfo>;
  /** The part of `frame` that the model got beside it: of a question that points at it, or as the second look at a place; absent without one */
  closer?: FrameInfo;
  /** The fate of the sound of a spoken question, or of the scene; absent where none belongs to it */
  sound?: "heard" | "deaf" | "missing" | "empty" | "too_long" | "undecodable" | "refused";
  /** Who speaks an answer whose model was asked to speak it itself; absent for others */
  speech?: "model" | "refused";
  /** Where the time went */
  timings: Timings;
  /** Tokens */
  usage: UsageInfo;
  /** `stop`, `length`, `content_filter`, `cancelled` or `replaced` (by a newer question) */
  finish_reason: string;
  /** The places of what the question asked for, 8 at most, empty when nothing was found; absent unless it asked where something is and the engine can tell. */
  boxes?: Array<FoundBox>;
  /** Who found them, where it was not the engine: `detector` is the built-in engine's. Absent: the engine */
  boxes_by?: "detector";
  /** The codes in the picture, 8 at most; absent without any, or where the engine reads none */
  codes?: Array<FoundCode>;
  /** The tools that the model called, 3 at most, with the setting `tools` alone; `text` may be empty then. Absent without any */
  calls?: Array<CalledTool>;
  /** Of the route `twice`; absent for others */
  second_look?: SecondLook;
  /** `true`: the built-in engine could not answer, and a model could. Absent otherwise */
  needs_model?: boolean;
}

/** The chat, signed, for `resume`: keep the newest. */
export interface Handover {
  type: "handover";
  /** What to keep, with the newest token */
  handover: string;
}

/** The chat of an earlier session was taken over. */
export interface Resumed {
  type: "resumed";
  /** Questions with their answers that are remembered */
  turns: number;
}

/** This part of the server is about to stop: get a new token and begin a new session now, for which another part has room. */
export interface Moved {
  type: "moved";
}

/** A recent picture of the camera, after the privacy filters. */
export interface Still {
  type: "still";
  /** JPEG data URL, at most 640 px, and 36 KiB before base64; absent when a filter withheld it */
  image?: string;
  /** Pixels of the camera's picture */
  width?: number;
  /** Pixels of the camera's picture */
  height?: number;
  /** A privacy filter withheld it. */
  withheld: boolean;
  /** A further camera's id; absent: the session's own */
  camera?: string;
}

/** The cameras of a session with more than its own. */
export interface CameraList {
  type: "cameras";
  /** The session's own first */
  cameras: Array<CameraInfo>;
}

/** State of the engine that the operator manages; to operators only. */
export interface EngineReport {
  type: "engine";
  /** `idle`, `loading`, `ready`, `stopping` or `failed` */
  state: string;
  /** The model that was chosen */
  model?: string;
  /** `vision`, `omni`, `speech`, `audio` or `video` */
  model_type?: string;
  /** `remote`, `subprocess`, `container` or `in_process` */
  mode?: string;
  /** How far loading is */
  progress?: LoadingProgress;
  /** The command that runs, quoted for a shell, secrets masked */
  command?: string;
  /** The failure, and the remedy */
  error?: string;
  /** It answers visitors, rather than another engine. */
  answers: boolean;
  /** The engine that answers visitors; absent: none */
  answering?: Answering;
  /** Why no better one answers, with the remedy */
  why?: string;
  /** The engines of `watches` and `reads`, where they are other ones than the engine that answers */
  roles?: Record<string, Answering>;
}

/** Lines of an engine's output, secrets removed; to operators only. */
export interface LogLines {
  type: "log";
  /** Oldest first, 300 characters each at most */
  lines: Array<string>;
  /** Lines before these that were dropped because the buffer was full */
  dropped: number;
}

/** A model is on its way: it is fetched, or loaded, and another engine answers meanwhile. At most once a second. */
export interface ModelComing {
  type: "model_coming";
  /** Its name; empty: none is on its way any more */
  model: string;
  /** What is done now */
  step: "fetching" | "loading";
  /** Of this step, 0 to 100; absent: unknown */
  percent?: number;
  /** Of this step; absent: unknown */
  seconds_left?: number;
}

/** Things, print, codes and people in front of the camera, so that a client can offer questions about it. It comes while the built-in engine answers, whenever it differs from the one before. */
export interface Glance {
  type: "glance";
  /** Print that could be read */
  text: boolean;
  /** A QR code or a barcode that was read */
  code: boolean;
  /** One of them is an address to open */
  link: boolean;
  /** The print has an expiry date */
  date: boolean;
  /** The print has a price, and is no list of them */
  price: boolean;
  /** Number of persons that were seen, 3 at most */
  people: number;
  /** Other things in the language of the client's words, such as "a cup"; 2 at most, the surest first */
  things: Array<string>;
}

/** All watches of the session: after each `ready`, and when one has changed. */
export interface WatchList {
  type: "watches";
  /** Oldest first */
  watches: Array<WatchInfo>;
  /** The most that a session may have */
  most: number;
}

/** A watch's condition holds, with the frame that proves it. A repeated id has newer words. */
export interface Alert {
  type: "alert";
  /** The alert's; show each one once. */
  id: string;
  /** The watch's id */
  watch: string;
  /** The watch's */
  condition: string;
  /** Capture time of the frame */
  at: number;
  /** The model's certainty, 0 to 1 */
  confidence: number;
  /** Why the model says so */
  reason: string;
  /** The name of the model */
  model?: string;
  /** The frame's id */
  frame: string;
  /** JPEG data URL, at most 640 px, and 36 KiB before base64; absent when a filter withheld it, and with newer words */
  image?: string;
  /** Where it is: left, top, right and bottom as shares of the picture; absent: the whole one */
  region?: [number, number, number, number];
  /** A client has shown it before. */
  acked: boolean;
}

/** The scene has changed, but the description with this id still holds. */
export interface Unchanged {
  type: "unchanged";
  /** The description's; ignore one that you do not know. */
  id: string;
  /** Time by the server's clock */
  looked_at: number;
}

/** The pictures of the recent past that are kept now. */
export interface Recalled {
  type: "recall";
  /** Their number */
  pictures: number;
  /** Their size */
  bytes: number;
  /** Capture time of the oldest by the server's clock; absent without any */
  oldest_at?: number;
}

/** An advice to move the camera, so that print or a face is wholly in its picture. */
export interface AimHint {
  type: "aim";
  /** What to do; sides are the picture's. */
  hint: "dark" | "blurred" | "nothing" | "back" | "closer" | "left_edge" | "right_edge" | "upper_edge" | "lower_edge" | "left" | "right" | "up" | "down" | "good";
  /** What it is about; absent: the whole picture */
  about?: "text" | "face";
  /** Time by the server's clock */
  at: number;
}

/** The place of what the person is led to: with each look while it is in the picture, and else when that changes. */
export interface Target {
  type: "target";
  /** The words of the `goal` */
  thing: string;
  /** Its name in the page's language, or the words that are looked for as print */
  label: string;
  /** What is looked for; `thing` instead of `text` once a model that can look for it is there */
  kind: "thing" | "text" | "code" | "face" | "colour";
  /** A model looks for it; else the server does: things with its detector, print, codes and faces with what reads those */
  by_model: boolean;
  /** `looking`: not found yet; `maybe`: one look says so; `lost`: it is no longer in the picture; `there`: it is near, and the goal has ended */
  state: "looking" | "maybe" | "found" | "lost" | "there";
  /** Left, top, right and bottom as shares of the camera's picture; absent before it is found; of a lost one the last */
  box?: [number, number, number, number];
  /** About how far away it is, by its size in the picture; absent where things of its kind differ in size, or not all of it is seen */
  metres?: number;
  /** Its middle is about that of the picture. */
  near: boolean;
  /** A second look, at its enlarged part of the picture, has seen it, too: the model's where one gives boxes */
  confirmed: boolean;
  /** Time of the frame, as in `FrameInfo` */
  captured_at?: number;
  /** Age of that frame at the time of this message */
  age_ms?: number;
}

/** The state of a scan: while the person turns, and once it has ended. */
export interface Scanned {
  type: "scanned";
  /** Degrees from where it began, left negative, about */
  turned: number;
  /** Things that were found so far */
  count: number;
  /** Why it has ended; absent while it goes on. `whole`: a whole turn; `time`: 40 s; `rest`: six seconds without a turn; `lost`: nobody knows how far the camera has turned; `stopped` */
  end?: "whole" | "time" | "rest" | "lost" | "stopped";
  /** What is around, as far as it was found, in the order in which it is to be told */
  things: Array<ScannedThing>;
}

/** The direction of something that the last scan saw. */
export interface Bearing {
  type: "bearing";
  /** The words of the `where_was` */
  thing: string;
  /** The nearest one; absent where none was seen */
  found?: ScannedThing;
  /** How many there are */
  count: number;
  /** Nobody knows any more which way the person looks: another scan tells. */
  lost: boolean;
}

/** Things, print and codes at a place that the person points at. */
export interface Pointed {
  type: "pointed";
  /** As in `point` */
  x: number;
  /** As in `point` */
  y: number;
  /** What is around it, the smallest first, 4 at most; empty when nothing was found */
  boxes: Array<PointedBox>;
  /** Time of the frame, as in `FrameInfo`; absent without one */
  captured_at?: number;
  /** Age of that frame at the time of this message */
  age_ms?: number;
}

/** A hint that helps to read a text on, or that the text is read: the route `read`. */
export interface ReadingState {
  type: "reading";
  /** The question's, which goes on */
  id: string;
  /** What helps to read on, such as `lower_edge`: the text goes on there. */
  hint?: "dark" | "blurred" | "nothing" | "back" | "closer" | "left_edge" | "right_edge" | "upper_edge" | "lower_edge" | "left" | "right" | "up" | "down" | "good";
  /** Nothing new has come, so the text is read; the `response` follows. */
  ended: boolean;
}

/** The state of a spoken answer, and the piece of it that is heard now. */
export interface SpeakingState {
  type: "speaking";
  /** The question's */
  id: string;
  /** `speaking`, `lowered`, `paused`, `stopped` or `done` */
  state: string;
  /** The piece that is heard; empty without one */
  text: string;
  /** The piece's first character in the answer */
  start: number;
  /** The character after its last */
  end: number;
}

/** A piece of an answer that the client reads with its own voice, in the order in which they come. */
export interface Say {
  type: "say";
  /** The question's */
  id: string;
  /** What to read */
  text: string;
  /** Its first character in the answer */
  start: number;
  /** The character after its last */
  end: number;
}

/** The state of the microphone at the server has changed. */
export interface Listening {
  type: "listening";
  /** `off`: no sound comes, or it is not wanted; `silence`: for 200 ms, and the person may go on */
  state: "off" | "waiting" | "speech" | "silence" | "recognising";
}

/** All programs that have access to the session now, oldest first. */
export interface ProgramList {
  type: "programs";
  /** Oldest first */
  programs: Array<ProgramInfo>;
  /** The most that a session may have; 0 where the operator allows none */
  most: number;
  /** Of each one, at most; all of a session together may twice as often. */
  looks_per_minute: number;
}

/** A look of a program: as it begins, and again with the same id at its end. */
export interface ProgramLook {
  type: "look";
  /** The look's */
  id: string;
  /** The program's id */
  program: string;
  /** The program's name */
  name: string;
  /** `look`, `find`, `recall`, `snapshot` or `chat` */
  tool: string;
  /** Its question; empty for a picture alone */
  question: string;
  /** Where the look is */
  state: "looking" | "done" | "failed";
  /** Time by the server's clock */
  at: number;
  /** The answer, or the reason why there is none */
  text: string;
  /** JPEG data URL of what it was about, at most 640 px, and 36 KiB before base64; absent before the end, and where a slow client has too much to read */
  image?: string;
}

/** The webhooks to which the person may let alerts go, all off in a new session: after each `ready` and `forward`, where there are some. */
export interface WebhookOffers {
  type: "webhooks";
  /** In the operator's order */
  webhooks: Array<WebhookOffer>;
}

/** Home Assistant is there, by a broker of the operator's: after each `ready` and `home_assistant`, where it is offered to visitors. */
export interface HomeAssistant {
  type: "home_assistant";
  /** The broker's host and port */
  host: string;
  /** This camera is a device there. */
  on: boolean;
}

/** The engine that does the work of a role. */
export interface RoleEngine {
  /** Its name */
  engine: string;
  /** Name of its model */
  model: string;
}

/** The abilities of the engine. */
export interface EngineCapabilities {
  /** It takes pictures. */
  images: boolean;
  /** It takes the recent past as a video. */
  video: boolean;
  /** It hears sound. */
  audio_in: boolean;
  /** It speaks its answers itself. */
  speech_out: boolean;
  /** It tells where in a picture something is. */
  grounding: boolean;
  /** It keeps to a form that is given. */
  json_schema: boolean;
  /** Its answers come piece by piece. */
  streaming: boolean;
  /** It calls tools, once the setting `tools` lets it. */
  tools: boolean;
}

/** Bounds of this session. */
export interface Limits {
  /** Longest question, in characters */
  question_chars: number;
  /** Longest message of a client, in bytes */
  message_bytes: number;
  /** Longest answer */
  max_tokens: number;
  /** Tokens that the model takes; absent: unknown */
  context_length?: number;
  /** Of a picture at low detail */
  visual_tokens: number;
  /** Of a picture at high detail */
  visual_tokens_high: number;
  /** Seconds without activity after which the session ends */
  session_timeout: number;
}

/** Parameters for RTCRtpSender.setParameters. */
export interface SenderProfile {
  /** Frames a second */
  max_framerate: number;
  /** Bit/s */
  max_bitrate: number;
  /** As WebRTC has it */
  degradation_preference: string;
  /** Of the track, as WebRTC has it */
  content_hint: string;
}

/** A bit rate, and from when on it applies. */
export interface RampStep {
  /** Milliseconds after waking, or after falling back to idle */
  at_ms: number;
  /** Bit/s */
  max_bitrate: number;
}

/** A frame that a model got. */
export interface FrameInfo {
  /** The frame's */
  id: string;
  /** Time by the sender's clock if its reports give it, else by the server's */
  captured_at: number;
  /** Age when the model got it */
  age_ms: number;
  /** Pixels of the camera's picture */
  source_width: number;
  /** Pixels of the camera's picture */
  source_height: number;
  /** Pixels of the model's picture */
  width: number;
  /** Pixels of the model's picture */
  height: number;
  /** Tokens that the picture takes */
  visual_tokens: number;
  /** It was held. */
  held: boolean;
  /** Time since which the model has had this picture; at `captured_at` the camera still showed the same. */
  unchanged_since?: number;
  /** The word of a spoken question to which the frame belongs, such as "this"; absent: it is that after the last word. */
  word?: string;
  /** The picture is dark. */
  dark?: boolean;
  /** The picture is blurred. */
  blurred?: boolean;
  /** JPEG data URL; only in `response`, with the setting `thumbnails` */
  thumbnail?: string;
  /** Id of the very picture that the model got, for `GET /api/pictures/<id>`; absent when it is not kept */
  picture?: string;
  /** The camera's id, in a session with several */
  camera?: string;
  /** The camera's name at that time */
  camera_name?: string;
  /** The part of the camera's picture that it shows, in its pixels: left, top, right, bottom; absent: all of it */
  crop?: [number, number, number, number];
  /** The part of the camera's picture that the question points at, as shares of it; absent: none */
  part?: [number, number, number, number];
}

/** A picture of the recent past that a question looked at. */
export interface EarlierFrame {
  /** The answer names the picture by it, as [1]. */
  number: number;
  /** The frame's */
  id: string;
  /** As in `FrameInfo` */
  captured_at: number;
  /** The answer names it. */
  cited: boolean;
  /** JPEG data URL, at most 240 px, and 10 KiB before base64 */
  picture?: string;
}

/** Milliseconds. */
export interface Timings {
  /** From the question to its frame */
  wait_frame_ms: number;
  /** Filters, resizing, encoding */
  prepare_ms: number;
  /** Waiting for the engine */
  queue_ms: number;
  /** From the request to the first token */
  first_token_ms?: number;
  /** From the question to the end */
  total_ms: number;
}

/** Tokens, as the engine counts them. */
export interface UsageInfo {
  /** Of question, pictures and history */
  prompt_tokens?: number;
  /** Of the answer */
  completion_tokens?: number;
  /** Of the prompt, known to the engine from before */
  cached_tokens?: number;
}

/** A thing that a question asked for, at the time of the frame: a client that shows it later has to follow the thing itself. */
export interface FoundBox {
  /** The thing's name, 100 characters at most */
  label: string;
  /** Left, top, right, bottom, in pixels of the camera's picture (`source_width`, `source_height`); absent for a point */
  box?: [number, number, number, number];
  /** X and y, in place of `box` */
  point?: [number, number];
  /** The model's certainty, 0 to 1; absent where it gives none */
  confidence?: number;
}

/** A code in the picture, and its uses to a person. Nothing opens or copies it by itself. */
export interface FoundCode {
  /** `open`, or what is copied: the `password` of a Wi-Fi network, a `phone` number, an `email` address, all of a `contact` or an `event`, or the `text` */
  use: "open" | "password" | "phone" | "email" | "contact" | "event" | "text";
  /** The address to open, of http or https, with 2,000 characters at most; or what is copied */
  value: string;
}

/** A tool that the model called for the person's question, whom the client shows it. */
export interface CalledTool {
  /** `watch`, `unwatch`, `hold`, `guide_to`: the client carries it out, and lets the person undo it; a watch gets an id that begins with `tool:`. `look_closer`, `recall`, `read`: the answer comes of it. Ignore those that you do not know. */
  name: string;
  /** What to watch for, what is watched for no more, or what to be led to; absent for others */
  about?: string;
  /** True: it cannot be done, so nothing is to be carried out. */
  refused?: boolean;
}

/** The comparison of an answer with a second look, at a part of its frame (`closer`). Where they differ, the end of the answer says so, in its language. */
export interface SecondLook {
  /** `agrees`; `differs`; and where nobody can tell: `unsure`, since the two cannot be compared; `unseen`, since the part did not show it; `late`; or `failed`, also because the answer was stopped */
  result: "agrees" | "differs" | "unsure" | "unseen" | "late" | "failed";
  /** What the second look answered, 300 characters at most; absent without an answer */
  text?: string;
  /** Second looks of this session that agreed, with this one */
  agreed: number;
  /** Those that agreed or differed */
  compared: number;
}

/** One camera of the session. */
export interface CameraInfo {
  /** `1` is the session's own. */
  id: string;
  /** The person's name for it */
  name: string;
  /** As `camera` in `status`; absent: nothing was sent yet. */
  state?: "starting" | "live" | "stalled" | "frozen" | "ended";
  /** Questions are about it. */
  asked: boolean;
}

/** The progress of loading. */
export interface LoadingProgress {
  /** What is done now */
  phase: string;
  /** 0 to 100; absent: unknown */
  percent?: number;
  /** Read so far */
  done_bytes?: number;
  /** All that is read */
  total_bytes?: number;
}

/** The engine that answers visitors now. */
export interface Answering {
  /** `vllm`, `builtin` or `local` */
  engine: string;
  /** Name of its model */
  model: string;
  /** The kind of model server if known; empty for an engine in this server */
  server: string;
  /** Its host and port; empty for an engine in this server */
  where: string;
}

/** One watch as a person reads it. */
export interface WatchInfo {
  /** As it was given */
  id: string;
  /** As it was given */
  condition: string;
  /** As it was given */
  repeat: boolean;
  /** `looking`, `seen`, `paused` (after an event, or outside its hours), `expired`, or `cannot` (such as in the dark) */
  state: string;
  /** It alerts no more, since it was to alert once and has, or its time is up. */
  ended: boolean;
  /** Why it is `paused` or `cannot`, else the last answer's reason; may be empty */
  reason: string;
  /** Time of the last look; absent before the first */
  looked_at?: number;
  /** Time of its end; absent: it has none */
  expires_at?: number;
  /** It knows how things were at its beginning, after two looks: what begins from then on alerts. */
  armed: boolean;
  /** As they were given */
  hours?: [number, number];
  /** The confidence that an answer needs, 0 to 1 */
  threshold: number;
  /** Name of the model that answers, which is asked about it, where the engine that watches cannot watch for it */
  model?: string;
}

/** A thing that was seen while the person turned. */
export interface ScannedThing {
  /** What it is: a thing or a person, print, or a code */
  kind: "thing" | "text" | "code";
  /** Its name in the page's language, the words of print, or nothing of a code */
  label: string;
  /** Its middle, in degrees from where the person looks: left negative, -180 to 180 */
  degrees: number;
  /** About how wide it looked, in degrees */
  width: number;
}

/** Something around a place, at the time of the frame. */
export interface PointedBox {
  /** What found it */
  kind: "thing" | "text" | "code";
  /** Left, top, right and bottom, as shares of the camera's picture */
  box: [number, number, number, number];
  /** Its name in the page's language, or its text, 100 characters at most; absent for a thing that cannot be named */
  label?: string;
  /** The finder's certainty, 0 to 1; absent where it gives none */
  confidence?: number;
}

/** One program's access, without its token. */
export interface ProgramInfo {
  /** The program's */
  id: string;
  /** The person's name for it */
  name: string;
  /** Of `look`, `watch`, `events` */
  scopes: Array<string>;
  /** Time at which it got access */
  made_at: number;
  /** Time at which that ends */
  expires_at: number;
  /** Time of its last use; absent before the first */
  last_used?: number;
  /** Looks so far */
  looks: number;
}

/** A webhook of the operator's. */
export interface WebhookOffer {
  /** Its name */
  name: string;
  /** Its host, with the port if one is named */
  host: string;
  /** Alerts of this session go there. */
  on: boolean;
}

export type ClientMessage = Auth | Chat | PointAt | CorrectTranscript | Cancel | Hold | Release | Settings | ClearRecall | DeleteAnswer | Typing | Ping | Confirm | Operator | Resume | Watch | Unwatch | Ack | FalseAlarm | Goal | TargetLost | Scan | WhereWas | Point | SpeechProgress | PushToTalk | Forward | SetHomeAssistant;

export type ServerMessage = Ready | Status | Sender | Error | Pong | Transcript | Waiting | Started | DeltaMessage | Thinking | SceneChange | Response | Handover | Resumed | Moved | Still | CameraList | EngineReport | LogLines | ModelComing | Glance | WatchList | Alert | Unchanged | Recalled | AimHint | Target | Scanned | Bearing | Pointed | ReadingState | SpeakingState | Say | Listening | ProgramList | ProgramLook | WebhookOffers | HomeAssistant;

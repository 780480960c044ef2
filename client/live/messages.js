/**
 * The WebSocket's messages, both ways: the mirror of server/core/messages.py (a test keeps them equal).
 *
 * Times ending in `_at` are milliseconds since the epoch, `_ms` are milliseconds, rates are bit/s and frames/s.
 */

// --- What the page sends -------------------------------------------------------------------------

/**
 * @typedef {Object} Auth
 * @property {"auth"} type
 * @property {string} token
 */

/**
 * @typedef {Object} Chat
 * @property {"chat"} type
 * @property {string} content
 * @property {string} [id]
 * @property {number} [sent_at] by the page's clock: see `pageTime`
 * @property {"auto"|"low"|"high"} [detail]
 */

/**
 * @typedef {Object} Cancel
 * @property {"cancel"} type
 * @property {string} [id]
 */

/**
 * @typedef {Object} Hold
 * @property {"hold"} type
 */

/**
 * @typedef {Object} Release
 * @property {"release"} type
 */

/**
 * Only the fields that are given change.
 * @typedef {Object} Settings
 * @property {"settings"} type
 * @property {boolean} [describe]
 * @property {string} [prompt]
 * @property {number} [sample_rate]
 * @property {number} [max_tokens]
 * @property {string} [language]
 * @property {boolean} [thumbnails]
 * @property {boolean} [stills] a picture a second, for a page whose camera is another device
 */

/**
 * @typedef {Object} Typing
 * @property {"typing"} type
 */

/**
 * @typedef {Object} Ping
 * @property {"ping"} type
 */

/**
 * The person has seen that pictures go to this machine from now on.
 * @typedef {Object} Confirm
 * @property {"confirm"} type
 * @property {string} host
 */

/**
 * Asks for `engine` and `log` messages on this socket.
 * @typedef {Object} Operator
 * @property {"operator"} type
 * @property {string} token
 */

/** @typedef {Auth|Chat|Cancel|Hold|Release|Settings|Typing|Ping|Confirm|Operator} ClientMessage */

// --- What the server sends -----------------------------------------------------------------------

/**
 * @typedef {Object} Limits
 * @property {number} question_chars
 * @property {number} message_bytes
 * @property {number} max_tokens
 * @property {number} [context_length]
 * @property {number} visual_tokens
 * @property {number} visual_tokens_high
 * @property {number} session_timeout
 */

/**
 * @typedef {Object} EngineCapabilities
 * @property {boolean} images
 * @property {boolean} video
 * @property {boolean} audio_in
 * @property {boolean} speech_out
 * @property {boolean} grounding
 * @property {boolean} json_schema
 * @property {boolean} streaming
 */

/**
 * Sent first, and again when the engine changes.
 * @typedef {Object} Ready
 * @property {"ready"} type
 * @property {string} session_id
 * @property {string} engine
 * @property {string} model
 * @property {"ready"|"loading"|"unreachable"|"busy"|"misconfigured"} engine_state
 * @property {string} engine_detail a sentence for people
 * @property {EngineCapabilities} capabilities
 * @property {Limits} limits
 * @property {number} began_at ms since the epoch: with the same session_id and another began_at it is a new session
 * @property {boolean} describe
 * @property {boolean} held
 * @property {string} elsewhere another machine that the engine's pictures go to; "" while they stay on the server's own
 * @property {boolean} confirmed whether this session's pictures may go there
 */

/**
 * @typedef {Object} Status
 * @property {"status"} type
 * @property {"starting"|"live"|"stalled"|"frozen"|"ended"} [camera] absent while no camera was offered yet
 * @property {"page"|"whip"} [source] who sends it: this page, or another device; absent while nobody does
 * @property {boolean} [dark]
 * @property {boolean} [blurred]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [fps]
 * @property {boolean} clock_doubted the camera's clock contradicts itself or the page's: the server's decides
 * @property {boolean} held
 * @property {number} queue_depth
 * @property {string} engine
 * @property {string} engine_state
 * @property {string} engine_detail
 */

/**
 * @typedef {Object} SenderProfile
 * @property {number} max_framerate
 * @property {number} max_bitrate
 * @property {string} degradation_preference
 * @property {string} content_hint
 */

/**
 * @typedef {Object} RampStep
 * @property {number} at_ms after waking, or after falling back to idle
 * @property {number} max_bitrate holds from then on
 */

/**
 * How the camera should send; also in the offer's answer.
 * @typedef {Object} Sender
 * @property {"sender"} [type]
 * @property {SenderProfile} idle
 * @property {SenderProfile} awake
 * @property {RampStep[]} ramp
 * @property {RampStep[]} settle bit rates on the way back to idle
 * @property {number} awake_ms
 * @property {number} [wake_ms] wake now, for this long
 */

/**
 * @typedef {Object} FrameInfo
 * @property {string} id
 * @property {number} captured_at
 * @property {number} age_ms when the model got it
 * @property {number} source_width
 * @property {number} source_height
 * @property {number} width of the picture that the model saw
 * @property {number} height
 * @property {number} visual_tokens
 * @property {boolean} held
 * @property {boolean} [dark]
 * @property {boolean} [blurred]
 * @property {string} [thumbnail] JPEG data URL
 */

/**
 * @typedef {Object} Timings
 * @property {number} wait_frame_ms
 * @property {number} prepare_ms
 * @property {number} queue_ms
 * @property {number} [first_token_ms]
 * @property {number} total_ms
 */

/**
 * @typedef {Object} UsageInfo
 * @property {number} [prompt_tokens]
 * @property {number} [completion_tokens]
 * @property {number} [cached_tokens]
 */

/**
 * A question waits for a frame captured after it, longer than usual; `started` or an `error` follows.
 * @typedef {Object} Waiting
 * @property {"waiting"} type
 * @property {string} id
 * @property {"frame"} what it waits for
 */

/**
 * @typedef {Object} Started
 * @property {"started"} type
 * @property {string} id
 * @property {string} kind
 * @property {FrameInfo} frame
 */

/**
 * @typedef {Object} DeltaMessage
 * @property {"delta"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * What the model thinks before it answers; no part of the answer.
 * @typedef {Object} Thinking
 * @property {"thinking"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * @typedef {Object} ResponseMessage
 * @property {"response"} type
 * @property {string} text whole
 * @property {string} [thinking] what the model thought before, whole; absent when it did not
 * @property {number} inference_time seconds
 * @property {string} id
 * @property {string} kind
 * @property {string} engine
 * @property {string} model
 * @property {FrameInfo} [frame] absent when it ended before a frame was there
 * @property {Timings} timings
 * @property {UsageInfo} usage
 * @property {"stop"|"length"|"content_filter"|"cancelled"|"replaced"} finish_reason
 */

/**
 * @typedef {Object} ErrorMessage
 * @property {"error"} type
 * @property {string} [id]
 * @property {string} code
 * @property {string} message
 * @property {boolean} retryable
 * @property {number} [retry_after] seconds
 */

/**
 * @typedef {Object} Pong
 * @property {"pong"} type
 * @property {number} at
 */

/**
 * What the camera sees about now, after the privacy filters.
 * @typedef {Object} Still
 * @property {"still"} type
 * @property {string} [image] a JPEG data URL; absent when a filter withheld it
 * @property {number} [width] of the camera's own picture
 * @property {number} [height]
 * @property {boolean} withheld
 */

/**
 * @typedef {Object} LoadingProgress
 * @property {string} phase
 * @property {number} [percent]
 * @property {number} [done_bytes]
 * @property {number} [total_bytes]
 */

/**
 * Bytes that a stopped model gave back.
 * @typedef {Object} ReleasedMemory
 * @property {number} [memory_bytes] main memory
 * @property {number} [left_bytes] that its processes hold still
 * @property {number} [gpu_bytes] of the GPUs' memory
 */

/**
 * The engine that answers visitors now.
 * @typedef {Object} Answering
 * @property {string} engine vllm, builtin, local
 * @property {string} model
 * @property {string} server what kind of server that is; empty where it is none
 * @property {string} where its host and port; empty where it is none
 */

/**
 * The engine that the operator manages; to operators only.
 * @typedef {Object} EngineReport
 * @property {"engine"} type
 * @property {"idle"|"loading"|"ready"|"stopping"|"failed"} state
 * @property {string} [model]
 * @property {string} [model_type]
 * @property {string} [mode]
 * @property {LoadingProgress} [progress]
 * @property {number} [memory_bytes] main memory that it takes
 * @property {number} [gpu_bytes] of the GPUs' memory
 * @property {ReleasedMemory} [released] by the model before it
 * @property {string} [command] exactly what runs
 * @property {string} [error] what went wrong, and what to do
 * @property {boolean} answers visitors are answered by it
 * @property {Answering} [answering] what they are answered by; absent: by nothing
 * @property {string} [why] why no better engine answers, and what to do
 */

/**
 * An engine's own words; to operators only.
 * @typedef {Object} LogLines
 * @property {"log"} type
 * @property {string[]} lines oldest first
 * @property {number} dropped lines before these that went for want of room
 */

/**
 * @typedef {Ready|Status|Sender|Waiting|Started|DeltaMessage|Thinking|ResponseMessage|Still|EngineReport|LogLines|ErrorMessage|Pong} ServerMessage
 */

const KNOWN = new Set([
  "ready",
  "status",
  "sender",
  "waiting",
  "started",
  "delta",
  "thinking",
  "response",
  "still",
  "engine",
  "log",
  "error",
  "pong",
]);

/**
 * @param {unknown} raw
 * @returns {ServerMessage|null} null for what this page does not know: a newer server may say more
 */
export function parse(raw) {
  if (typeof raw !== "string") return null;
  let data;
  try {
    data = JSON.parse(raw);
  } catch {
    return null; // not ours; the connection itself is unharmed
  }
  return data !== null && typeof data === "object" && KNOWN.has(data.type) ? data : null;
}

/** The clock that the browser also writes into the video's sender reports, so the server can compare the two. */
export function pageTime() {
  return performance.timeOrigin + performance.now();
}

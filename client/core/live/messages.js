/**
 * WebSocket messages in both directions, a copy of server/core/messages/ (a test keeps them equal).
 *
 * Times ending in `_at` are milliseconds since the epoch, `_ms` are milliseconds, rates are bit/s and frames/s.
 */

// --- Sent by the page ----------------------------------------------------------------------------

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
 * @property {"now"|"detail"|"past"|"where"|"read"} [route] where to look; absent: the words of the question decide
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
 * Absent fields keep their value.
 * @typedef {Object} Settings
 * @property {"settings"} type
 * @property {boolean} [describe]
 * @property {string} [prompt]
 * @property {number} [sample_rate]
 * @property {number} [max_tokens]
 * @property {string} [language]
 * @property {string} [page_language] of descriptions where no other is chosen; "" for English
 * @property {boolean} [thumbnails]
 * @property {"short"|"medium"|"long"} [length] of a description
 * @property {number} [sensitivity] 0.25 to 4: how small a change counts for descriptions and watches
 * @property {boolean} [changes] a `change` for each comparison
 * @property {boolean} [watch_changes] the same for the watches
 * @property {boolean} [stills] one picture per second, for a page whose camera is another device
 * @property {boolean} [recall] keep pictures of the recent past; false drops them, too
 * @property {"short"|"normal"|"full"} [verbosity] words of an answer
 * @property {boolean} [guidance] an `aim` whenever another hint how to move the camera holds
 * @property {boolean} [speak] answers are spoken
 * @property {"off"|"hands_free"|"push"} [microphone] how it is heard
 * @property {number} [silence_ms] 200 to 2000: silence that ends a spoken question
 * @property {boolean} [handover] this page keeps hand-overs
 * @property {string[]} [cameras] ids of those that questions are about
 */

/**
 * @typedef {Object} Ping
 * @property {"ping"} type
 */

/**
 * The user agrees that pictures go to this machine.
 * @typedef {Object} Confirm
 * @property {"confirm"} type
 * @property {string} host
 */

/**
 * Request `engine` and `log` messages on this socket.
 * @typedef {Object} Operator
 * @property {"operator"} type
 * @property {string} token
 */

/** Features have theirs beside them. @typedef {{type: string, [field: string]: any}} ClientMessage */

// --- Sent by the server --------------------------------------------------------------------------

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
 * @property {number} protocol the number of the protocol that the server speaks
 * @property {string} session_id
 * @property {string} engine
 * @property {string} model
 * @property {"ready"|"loading"|"unreachable"|"busy"|"misconfigured"} engine_state
 * @property {string} engine_detail a sentence for the user
 * @property {EngineCapabilities} capabilities
 * @property {Limits} limits
 * @property {number} began_at ms since the epoch; another time with the same session_id means a new session
 * @property {number} sensitivity
 * @property {boolean} held
 * @property {string} elsewhere another machine to which the engine sends pictures; "" when they stay on the server's
 * @property {boolean} confirmed this session's pictures may go there
 * @property {Record<string, Record<string, any>>} features those that are on, each with what the page needs to know of it
 */

/**
 * @typedef {Object} Status
 * @property {"status"} type
 * @property {"starting"|"live"|"stalled"|"frozen"|"ended"} [camera] absent before the first camera
 * @property {"page"|"whip"} [source] the sender: this page, or another device; absent without one
 * @property {boolean} [dark]
 * @property {boolean} [blurred]
 * @property {boolean} [black] nothing can be seen: covered, or without any light
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [fps]
 * @property {boolean} clock_doubted the camera's clock contradicts itself or the page's, so the server's is used
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
 * @property {number} max_bitrate from that time on
 */

/**
 * Limits for the camera's sender; also part of the offer's answer.
 * @typedef {Object} Sender
 * @property {"sender"} [type]
 * @property {SenderProfile} idle
 * @property {SenderProfile} awake
 * @property {RampStep[]} ramp
 * @property {RampStep[]} settle bit rates on the way back to idle
 * @property {number} awake_ms
 * @property {number} [wake_ms] wake now for this time
 */

/**
 * @typedef {Object} FrameInfo
 * @property {string} id
 * @property {number} captured_at
 * @property {number} age_ms when the model got it
 * @property {number} source_width
 * @property {number} source_height
 * @property {number} width of the model's picture
 * @property {number} height
 * @property {number} visual_tokens
 * @property {boolean} held
 * @property {number} [unchanged_since] the model has had this picture since then; at `captured_at` the camera showed the same
 * @property {string} [word] of a spoken question, at which it was captured
 * @property {boolean} [dark]
 * @property {boolean} [blurred]
 * @property {string} [thumbnail] JPEG data URL
 * @property {string} [picture] id of the very picture that the engine got, at /api/pictures/
 * @property {number[]} [crop] the part of the camera's picture that it shows: left, top, right, bottom
 * @property {string} [camera] its id, of a question about further cameras
 * @property {string} [camera_name] its name at that time
 */

/**
 * A picture of the recent past that a question looked at.
 * @typedef {Object} EarlierFrame
 * @property {number} number as in the answer's text: [1]
 * @property {string} id
 * @property {number} captured_at
 * @property {boolean} cited the answer names it
 * @property {string} [picture] JPEG data URL
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
 * A question waits longer than usual for a frame captured after it; `started` or `error` follows.
 * @typedef {Object} Waiting
 * @property {"waiting"} type
 * @property {string} id
 * @property {"frame"} what always "frame"
 */

/**
 * @typedef {Object} Started
 * @property {"started"} type
 * @property {string} id
 * @property {string} kind
 * @property {FrameInfo} frame
 * @property {"now"|"detail"|"past"|"where"|"read"} [route] where a question looks; absent for a description
 * @property {EarlierFrame[]} [frames] the pictures of the past that it looks at, oldest first
 * @property {FrameInfo[]} [others] of other cameras, beside `frame`
 */

/**
 * @typedef {Object} DeltaMessage
 * @property {"delta"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * A part of the model's reasoning before its answer; not part of the answer.
 * @typedef {Object} Thinking
 * @property {"thinking"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * A thing that a question asked for, in pixels of the camera's frame.
 * @typedef {Object} FoundBox
 * @property {string} label
 * @property {[number, number, number, number]} [box] left, top, right, bottom; absent for a point
 * @property {[number, number]} [point]
 * @property {number} [confidence] the model's certainty, 0 to 1; absent where it gives none
 */

/**
 * @typedef {Object} ResponseMessage
 * @property {"response"} type
 * @property {string} text the whole answer
 * @property {string} [thinking] the model's whole reasoning; absent without any
 * @property {number} inference_time seconds
 * @property {string} id
 * @property {string} kind
 * @property {string} engine
 * @property {string} model
 * @property {FrameInfo} [frame] absent when it ended before a frame was available
 * @property {"now"|"detail"|"past"|"where"|"read"} [route] as in `Started`
 * @property {EarlierFrame[]} [frames] as in `Started`, with pictures of those that the answer names, or of all
 * @property {"pictures"|"video"|"refused"} [frames_sent] the form in which the engine got them; refused: as pictures, since it refused the video; streamed: over its socket for video
 * @property {"heard"|"deaf"|"missing"|"empty"|"too_long"|"undecodable"|"refused"} [sound] of a spoken question, or of the scene; absent where none belongs to it
 * @property {"model"|"refused"} [speech] absent where the model was not asked to speak the answer itself
 * @property {Timings} timings
 * @property {UsageInfo} usage
 * @property {"stop"|"length"|"content_filter"|"cancelled"|"replaced"} finish_reason
 * @property {FoundBox[]} [boxes] absent unless the question asked where something is and the engine can tell
 * @property {FrameInfo[]} [others] as in `Started`, with thumbnails
 * @property {FrameInfo} [closer] the part of `frame` that was looked at again
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
 * A hint how to move the camera, so that print or a face is wholly in its picture.
 * @typedef {Object} AimHint
 * @property {"aim"} type
 * @property {"dark"|"blurred"|"nothing"|"back"|"closer"|"left_edge"|"right_edge"|"upper_edge"|"lower_edge"|"left"|"right"|"up"|"down"|"good"} hint
 * @property {"text"|"face"} [about] absent: about the whole picture
 * @property {number} at
 */

/**
 * A recent picture of the camera, after the privacy filters.
 * @typedef {Object} Still
 * @property {"still"} type
 * @property {string} [image] a JPEG data URL; absent when a filter withheld it
 * @property {number} [width] of the camera's picture
 * @property {number} [height]
 * @property {boolean} withheld
 * @property {string} [camera] a further one's id; absent: the session's own
 */

/** Those that the core takes and hands on; features have further ones beside them.
 * @typedef {Ready|Status|Sender|Waiting|Started|DeltaMessage|Thinking|ResponseMessage|AimHint|Still|ErrorMessage|Pong|import("./descriptionmessages.js").DescriptionReport|import("./handovermessages.js").HandoverReport|import("./operatormessages.js").EngineReport|import("./operatormessages.js").LogLines} ServerMessage
 */

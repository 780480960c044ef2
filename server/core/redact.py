"""Remove credentials, control characters and session ids from others' output and our log. Pure."""

from __future__ import annotations

import hashlib
import re

HIDDEN = "(hidden)"
# Default length of the result, and the characters read beyond it, so that a credential across the
# cut is recognised. No pattern needs more.
LONGEST = 2000
MARGIN = 640
# Names of secrets, also at the end of a longer name: HF_TOKEN, X-Api-Key, accessToken, PGPASSWORD.
SURE = r"(?i:password|passwd|passphrase|secret|credentials?|(?:api|auth|access|private)[_.-]?(?:key|token)|(?:access|pairing)_code|(?<=_)(?:pwd|pass))"
LIKELY = r"(?:(?<![A-Za-z])(?i:token|key|auth)|(?<=[a-z0-9])(?:Token|Key|Auth))"
# Between a name and its value: = and : in Python, JSON, YAML, headers and addresses, also where
# quotes are escaped once more
IS = r"(?:\\*[\"']\s{0,8},(?=\s{0,8}b?\\*[\"'])|(?:\\*[\"'])?\]?\s{0,8}(?:=>|:=|:|={1,3}|%3[AaDd]))\s{0,8}"
_QUOTED = r"b?(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\\+[\"'][^\"'\\]*|[\"'][^\"']*)"
_LIST = rf"[\[({{](?:\s{{0,8}}{_QUOTED}\s{{0,8}},?)+"
# Ends before a space, a quote, a comma that ends a clause, and the next field of a URL.
_BARE = r"(?:[^\s\"'\\,;&]|[,;](?=[^\s\"'])|'(?=\w)|&(?![\w.%-]{1,64}=)|\\[^\"'nrt])+"
# Words for an absent value, and placeholders such as <token>
_NONE = r"(?!(?:None|null|[Tt]rue|[Ff]alse)\b|<[a-z]{1,16}>)"
VALUE = rf"{_NONE}(?:{_QUOTED}|{_LIST}|{_BARE})"
# Start of a token of a known kind: not within a word, but after an escaped line end
_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_CREDENTIALS = (
    # A private key in one line
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END[^-]*-----|$)"), HIDDEN),
    # user:password@ of a URL with any password; also without a scheme, except an image's digest
    (
        re.compile(
            r"(\w:(?:\\?/){2})(?:[^\s/\"\\]{1,512}|[^\s/\"\\:]{0,128}:(?!\d{1,5}/)[^\s\"\\]{0,256})@"
        ),
        rf"\1{HIDDEN}@",
    ),
    (
        re.compile(
            r"(?<![\w./@+-])[\w.+-]{1,64}:[^\s@/:\"'\\]{3,128}@(?!sha\d)(?=[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}(?::\d|[/\s\"'),;\]}]|$))"
        ),
        rf"{HIDDEN}@",
    ),
    # The query of a URL, in which signatures and keys have many names; except a relay's transport
    (
        re.compile(
            r"([?#])(?!transport=(?:udp|tcp)(?:[^\w&;%=-]|$))[\w.%\[\]-]{1,64}=[^\s\"'<>\\]+"
        ),
        rf"\1{HIDDEN}",
    ),
    # Headers whose value is more than a word
    (
        re.compile(
            rf"(?i)(authorization{IS})(?!(?:[a-z]{{1,16}} )?<[a-z]{{1,16}}>)(?:{_QUOTED}|(?:digest|aws4[\w-]*|signature)\s.*|(?:[a-z][\w-]*\s+)?{_BARE})"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(?i)(cookie{IS})(?:{_QUOTED}|[^\"'\\]+)"), rf"\1{HIDDEN}"),
    (
        re.compile(
            rf"(?i)\b(bearer(?:\s+|[.:=]\s*|\\*[\"']\s*[,:]\s*))(?!(?:tokens?|auth\w*|scheme|of|is|was)\b){_NONE}{_BARE}"
        ),
        rf"\1{HIDDEN}",
    ),
    # On a command line, a list of its words, curl's and netrc's
    (
        re.compile(
            rf"(?i)((?<![\w-])--[\w-]{{0,64}}?(?:token|secret|key|password|passwd|credentials?)[\"']?(?:\s{{0,8}},)?\s+)(?!-)({VALUE})"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"((?:^|\s)(?:-u|--user|--proxy-user)[\s=]\s{0,8})[^\s:]{1,256}:\S+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(\blogin\s+\S+\s+password\s+)\S+"), rf"\1{HIDDEN}"),
    (re.compile(rf"({SURE}s?{IS}){VALUE}"), rf"\1{HIDDEN}"),
    # Not a count or a time: "time per token: 13.5 ms"
    (
        re.compile(rf"({LIKELY}{IS})(?!\d{{1,6}}(?:\.\d+)?(?:\s?(?:ms|s|%))?(?![\w.])){VALUE}"),
        rf"\1{HIDDEN}",
    ),
    # Not the exit status of a program or of this one
    (re.compile(rf"(\bcode=)(?!-?\d{{1,4}}\b){VALUE}"), rf"\1{HIDDEN}"),
    # Anything like a JWT: it begins with base64url of {"
    (re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,4}"), HIDDEN),
    # Tokens of model hubs, registries, clouds and of hosted models
    (
        re.compile(
            rf"{_BEGINS}(?:hf_[A-Za-z0-9]{{16,}}|api_org_\w{{16,}}|[spr]k[-_][\w-]{{16,}}|gsk_\w{{16,}}|r8_\w{{16,}}"
            r"|nvapi-[\w-]{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|dckr_pat_[\w-]{10,}"
            r"|xox[abeprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,})"
        ),
        HIDDEN,
    ),
)
# Escape sequences: colours, cursor movements, window titles, device strings
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
# Control characters, and characters that reverse the text direction or are invisible
_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def redact(text: str, most: int = LONGEST) -> str:
    """Hide everything that looks like a credential, also at the cut, and return at most `most` characters."""
    shown = text[: most + MARGIN]
    for pattern, replacement in _CREDENTIALS:
        shown = pattern.sub(replacement, shown)
    if len(text) > most + MARGIN:
        # Hidden credentials have shortened the text.
        shown = shown[: max(0, len(shown) - MARGIN)]
    return shown[:most]


def remove_controls(text: str) -> str:
    """Remove escape sequences and control characters from a line; a tab becomes a space."""
    return _CONTROL.sub("", _ESCAPES.sub("", text)).replace("\t", " ")


def hash_session_id(session_id: str) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of a session's id, for logs."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]

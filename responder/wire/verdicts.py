"""What do an error's words and numbers mean? Tables of what providers are known to say, each with its source.

Knowledge only: which class an error becomes, and whether it ends a run, is decided in `failures.py`. Where a table is silent, the
error belongs to its own prompt and ends nothing.

Sources, where an entry names no other: the provider's own reference of errors (read 2026-08 to 2026-11), and for words
not in any reference, the public issues of programs that met them, as owner/repository#number.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """Words that mean something.

    Attributes:
        words: A regular expression; case does not matter.
        source: Who says so.
    """

    words: str
    source: str


WRONG_KEY = (
    Sign(r"API_KEY_(?:INVALID|EXPIRED)|api key (?:not valid|not found|expired)", "Google; a wrong key is a 400 there"),
    Sign(r"(?:invalid|incorrect|wrong)[_ ](?:x-)?api[_ -]?key|invalid x-api-key", "OpenAI, xAI (a 400), Anthropic, MiniMax 2049"),
    Sign(
        r"api key (?:was|has been|is) (?:reported as )?(?:leaked|revoked|disabled|deleted|deactivated|invalid)",
        "Google, OpenAI",
    ),
    Sign(
        r"(?:missing|no|provide an?|requires? an?|carry the) (?:api (?:secret )?key|auth(?:entication|"
        r"orization)? credentials)",
        "several",
    ),
    Sign(r"doesn't allow unregistered callers", "Google; a missing key is a 403 there"),
    Sign(r"\bUNAUTHENTICATED\b|authentication_error|invalid_authentication|AuthenticationError", "Google, Anthropic, Moonshot"),
    Sign(
        r"(?:bearer|access|auth(?:entication)?|api|security) token (?:\S+ ){0,4}(?:is|has|was)? ?(?:expired|invalid|"
        r"revoked)",
        "AWS and gateways",
    ),
    Sign(r"ExpiredToken|UnrecognizedClient|InvalidAccessKeyId|InvalidSignature", "AWS"),
    Sign(r"invalid (?:bearer|access|auth(?:entication)?|api) token|Invalid API token", "Cloudflare, GitHub"),
    Sign(r"invalid subscription key", "Azure"),
)

SPENT_CODES = (
    Sign(
        r"insufficient_(?:quota|balance|funds|credits?)|credit_balance|credits?_(?:exhausted|depleted|required)",
        "OpenAI, Venice, Vercel",
    ),
    Sign(
        r"spend(?:ing)?_limit|usage_limit_(?:exceeded|reached)|billing|payment_required|budget_exceeded|ExceededBudget",
        "OpenAI, Anthropic, LiteLLM",
    ),
    Sign(
        r"exceeded_current_quota|InsufficientBalance|CreditsError|BILLING_DISABLED",
        "Moonshot (a 403: MoonshotAI/Kimi-K2#5), Google",
    ),
    Sign(
        r"Arrearage|AccountOverdue|FreeTierOnly|SetLimitExceeded|ServiceQuotaExceeded|dailyLimitExceeded",
        "Alibaba, Volcengine, AWS, Google",
    ),
)
# The money is gone, whatever else the message mentions.
SPENT_MONEY = (
    Sign(r"credit balance is too low|balance (?:is )?(?:too low|insufficient|not enough|exhausted)", "Anthropic"),
    Sign(
        r"insufficient (?:\w+ )?(?:balance|credits?|funds|quota)|(?:not enough|no|out of|requires? more) (?:credits|"
        r"balance|funds)",
        "OpenRouter, Z.ai 1113, MiniMax 1008",
    ),
    Sign(r"budget.{0,20}exceeded|over (?:its |the )?budget", "LiteLLM"),
    Sign(
        r"used (?:all|up)(?: \w+){0,4} (?:credits|allocation|quota|allowance)|credits? (?:is |are )?(?:exhausted|depleted|"
        r"used up)",
        "xAI (429 and 403: continuedev/continue#10373), Cloudflare",
    ),
)
# A limit is reached, but not one per minute, unless the words say so. "You exceeded your current quota, please check your plan
# and billing details" alone says neither: Google says it about minutes as well, and gateways pass it on without its code.
SPENT_WORDS = (
    Sign(
        r"(?:reached|exceeded|hit|over) (?:your|its|the|their)(?: [\w-]+){0,4} "
        r"(?:usage|spend(?:ing)?|credit|billing|budget)[\w ]{0,20}limits?",
        "Anthropic ('your specified API usage limits', a 400: anthropics/claude-code#38035), xAI ('its monthly spending limit')",
    ),
    Sign(
        r"exceeded (?:your|the) (?:monthly|weekly|daily|included|free)[\w ]{0,20}(?:credits?|quota|usage|allowance)",
        "Hugging Face (402: huggingface/agents-course#386)",
    ),
    Sign(
        r"can only afford|credit limit (?:exceeded|reached)|key limit exceeded|usage limit (?:has been )?reached",
        "OpenRouter, Together, Z.ai 1308",
    ),
    Sign(
        r"suspended.{0,80}(?:spending limit|past invoices|billing)|failure to pay|unpaid (?:invoice|balance)|in arrears",
        "Fireworks (412)",
    ),
    Sign(
        r"out of call volume quota|quota (?:has been |is )?(?:used up|exhausted|depleted)|free (?:tier|quota|"
        r"trial)[\w ]{0,30}(?:exhausted|used up|ended|expired)",
        "Azure API Management (a 403), Alibaba",
    ),
    Sign(r"please (?:recharge|top up)|\byour package has expired", "Z.ai 1113 and 1309"),
    Sign(
        r"余额不足|欠费|请充值|额度(?:已)?(?:用完|用尽|不足|耗尽)|配额(?:已)?(?:用完|用尽|耗尽)",
        "Z.ai (continuedev/continue#11823), Alibaba",
    ),
)

# Over what time a limit counts. The window that a message names first is the one that is used up: OpenRouter's per-minute
# refusal also advertises how many requests a day one could buy.
LONG_WINDOW = (
    Sign(
        r"per[-_ ]?day|/ ?day|\bdaily\b|\b[RT]PD\b|PerDay|ByDay|per 86400 ?s|a day\b",
        "OpenAI, Groq, Cerebras, OpenRouter, GitHub",
    ),
    Sign(r"per[-_ ]?(?:week|month)|/ ?(?:week|month)\b|\b(?:weekly|monthly)\b", "Cohere, Mistral"),
    Sign(r"for \d+ hours?\b|\b\d+[- ]hour (?:limit|window|quota)", "Z.ai 1308: five hours"),
    Sign(r"limit: 0(?!\.?\d)", "Google: the model is not in the free tier"),
)
SHORT_WINDOW = (
    Sign(r"per[-_ ]?min(?:ute)?|/ ?min(?:ute)?\b|PerMinute|ByMinute|\b[RTI]PM\b|per 60 ?s|a minute\b", "OpenAI and most others"),
    Sign(r"per[-_ ]?sec(?:ond)?|/ ?s(?:ec(?:ond)?)?\b|\b[RQ]PS\b|per[-_ ]?hour", "Mistral, NVIDIA"),
)

RATE = (
    Sign(
        r"rate[-_ ]?limit|too many (?:requests|concurrent)|throttl|slow_?down|\bTooManyRequests\b",
        "several; some under a 400 or 403",
    ),
    Sign(
        r"(?:high|maximum|max) concurrency|concurrency limit|error code: 1015|RESOURCE_EXHAUSTED|capacity[ _]exceeded",
        "Z.ai 1302, Cloudflare, Google, Mistral",
    ),
)

OVERLOADED = (
    Sign(
        r"overload|temporarily unavailable|server (?:is )?busy|\bUNAVAILABLE\b|no (?:healthy|available) (?:upstream|"
        r"instances?)|high demand",
        "several",
    ),
)

BLOCKED = (
    Sign(
        r"\bcontent[_ ]?filter(?:ed|ing)?\b|contentFilter|content_policy_violation|result of our safety system",
        "OpenAI, Azure, Moonshot, Anthropic ('Output blocked by content filtering policy': anthropics/claude-code#58367)",
    ),
    Sign(r"ResponsibleAIPolicyViolation|content management policy|ContentPolicyViolation", "Azure, LiteLLM"),
    Sign(r"content exists risk", "DeepSeek (deepseek-ai/awesome-deepseek-integration#13)"),
    Sign(
        r"violat\w+ (?:of )?(?:our |the |xAI's )?(?:usage|content|safety)[\w ]{0,12} (?:guidelines|polic)|"
        r"SAFETY_CHECK_TYPE",
        "xAI (a 403: UKGovernmentBEIS/inspect_ai#2267), OpenAI",
    ),
    Sign(
        r"prompt was flagged|flagged as potentially|moderation_blocked|misalignment_policy_violation|bio_policy|safety_violation",
        "OpenAI's invalid_prompt (openai/codex#7250)",
    ),
    Sign(r"data_?inspection_?failed|inappropriate content", "Alibaba (camel-ai/owl#432, QwenLM/qwen-code#2905)"),
    Sign(r"considered high risk", "Moonshot (MoonshotAI/kimi-cli#1002)"),
    Sign(
        r"new_sensitive|(?:input|output) (?:\w+ )?sensitive|sensitive (?:content|words|information)|SensitiveContent",
        "MiniMax 1026 and 1027, Volcengine, Google",
    ),
    Sign(
        r"PROHIBITED_CONTENT|blocked (?:due to|by|for) (?:the |our |its )?(?:safety|content|prohibited|guardrail)|"
        r"Responsible AI practices",
        "Google, Anthropic",
    ),
    Sign(
        r"guardrail_intervened|blocked by (?:a |the )?(?:\w+ )?guardrail|violated (?:\w+ )?guardrail|censorship_blocked|"
        r"RiskDetection|content moderation",
        "AWS, StepFun, Volcengine",
    ),
    Sign(r"不安全或敏感|敏感内容|内容(?:违规|审核不通过|存在风险)", "Z.ai 1301, MiniMax"),
)
# Words that mean a filter only together with a filter's statuses (400, 403, 422, 451).
PERHAPS_BLOCKED = (
    Sign(
        r"\bflagged\b|\bmoderation\b|\bSAFETY\b|\bRECITATION\b|safety (?:filter|polic|reason)",
        "OpenRouter (403 with metadata.reasons), Google",
    ),
)

TOO_DEAR = (
    Sign(r"prompt tokens limit exceeded", "OpenRouter: the credit left does not cover this prompt (continuedev/continue#11540)"),
)
TOO_LONG = (
    *TOO_DEAR,
    Sign(
        r"context_length_exceeded|exceed_context_size|maximum context length|context (?:window|size)|"
        r"string_above_max_length",
        "OpenAI, vLLM, llama.cpp",
    ),
    Sign(
        r"prompt is too long|input (?:is )?too long|reduce the length|input token count.{0,60}exceeds|prompt exceeds max",
        "Anthropic, AWS, Google, Z.ai 1261",
    ),
    Sign(r"(?:required|needed) for long context requests", "Anthropic, a 429 (anthropics/claude-code#29584)"),
)

# What a 400, 403 or 404 says about one prompt alone: its files, its pictures, the turn that it continues.
ONE_PROMPT = (
    Sign(
        r"access the file|\bfiles?\b.{0,100}(?:not found|not exist|expired|deleted|may not exist)|\bfile[_-]not[_-]found",
        "Google, OpenAI",
    ),
    Sign(
        r"\b(?:image|images|audio|video|document|pdf|media|attachment|url|uri|cached ?content)s?\b.{0,120}(?:not found|"
        r"not exist|could not|failed|unable|cannot|forbidden|download|fetch)",
        "several",
    ),
    Sign(
        r"(?:could not|couldn't|failed to|unable to|cannot|error while) (?:download|fetch|retriev|access|load|open|read|"
        r"process)\w*.{0,80}(?:image|file|url|uri|audio|video|document|media)",
        "several",
    ),
    Sign(
        r"support\w*.{0,60}\b(?:image|vision|audio|video|file|pdf|document|tool|function|multimodal|modalit|media|input|"
        r"parameter)",
        "OpenRouter ('No endpoints found that support image input': Kilo-Org/kilocode#9006)",
    ),
    Sign(
        r"previous[_ ]response|conversation|\bitems? with id|vector store|\bthread\b|tool[_ ](?:call|use|result)[_ ]?id",
        "OpenAI, Anthropic",
    ),
)

# The account is closed or blocked, perhaps for what it sent.
CLOSED = (
    Sign(
        r"account (?:\S+ ){0,3}(?:is|has been|was) (?:\S+ )?(?:not active|inactive|suspended|deactivated|disabled|blocked|"
        r"locked|terminated|restricted|overdue|flagged|banned)|account_(?:deactivated|suspended|disabled)|"
        r"access[_ ]terminated|in good standing",
        "OpenAI, Moonshot (clacky-ai/openclacky#192), Fireworks (412), Alibaba",
    ),
)
ACCOUNT = (
    *CLOSED,
    Sign(
        r"organi[sz]ation (?:\S+ )?(?:has been |is |was )?(?:restricted|disabled|deactivated|suspended|blocked|"
        r"not active)|organization_restricted|at the organi[sz]ation level|blocked_org|must be verified|"
        r"member of an organi[sz]ation",
        "Groq (a 400: NVIDIA-NeMo/Guardrails#563), Anthropic, OpenAI",
    ),
    Sign(
        r"unsupported_country|country, region|(?:location|country|region) is not supported|not (?:available|"
        r"supported) in your (?:country|region|location)",
        "OpenAI (403), Google (a 400: poenl/gemini-api#4)",
    ),
    Sign(
        r"SERVICE_DISABLED|CONSUMER_(?:INVALID|SUSPENDED)|IAM_PERMISSION_DENIED|PROJECT_(?:INVALID|DENIED)|"
        r"has not been used in project|denied on resource|\bproject (?:\S+ )?(?:has been|is|was|does not) (?:denied|"
        r"suspended|disabled|archived|not|have)",
        "Google (Kilo-Org/kilocode#2842)",
    ),
    Sign(
        r"API_KEY_\w+_BLOCKED|api key (?:\S+ )?(?:does not have|doesn't have|lacks|is not|has no|cannot|may not)|"
        r"insufficient permissions?|missing scopes?|INSUFFICIENT_SCOPE|SCOPE_INSUFFICIENT|lacks the required data action|"
        r"principal does not have",
        "Google, Anthropic, OpenAI, Azure",
    ),
    Sign(
        r"virtual network|firewall rules|public access is disabled|private endpoint|network settings|"
        r"ip[_ ](?:address )?(?:\S+ )?(?:is )?(?:not[_ ]allowed|not[_ ]authorized|blocked)|TrafficDenied",
        "Azure (Azure-Samples/azure-sql-db-chatbot#3), Groq, OpenAI",
    ),
    Sign(
        r"data policy|no allowed providers|settings/privacy",
        "OpenRouter (a 404: ShamanicArts/Flow.Launcher.Plugin.AI-Assistant#2)",
    ),
    Sign(
        r"AccessDenied|not authorized to (?:perform|invoke)|explicit deny|marketplace subscription|only authorized for|"
        r"only available for",
        "AWS, Anthropic, Moonshot",
    ),
    Sign(
        r"not (?:available|included) in your (?:\w+ )?(?:plan|subscription|tier)|plan does not|requires? terms acceptance|"
        r"accept the .{0,30}terms",
        "Z.ai 1311, Groq",
    ),
)

_NAME = r"(?:[\"'`][^\"'`]{1,200}[\"'`]|[\w./:@\-]{1,200})"
MODEL = (
    Sign(
        r"model_?not_?(?:found|exist|available|supported)|model_(?:decommissioned|deprecated|retired|access_denied|"
        r"terms_required|permission_\w+)|(?:invalid|unknown|no_such)_model|DeploymentNotFound|Model ?Not ?Exist",
        "OpenAI, Groq, Azure, DeepSeek, Alibaba",
    ),
    Sign(
        rf"\b(?:model|deployment)s?(?: id| name)?[ :=/]*(?:{_NAME})?,? (?:is |was |has been |could |"
        rf"for this resource )?(?:currently )?(?:not (?:be )?(?:found|exist|available|supported|deployed|served|"
        rf"accessible)|does(?: not|n't) exist|no longer|unknown|invalid|deprecated|decommissioned|retired|blocked|archived)",
        "several",
    ),
    Sign(r"models/\S+ is not found|publisher model .{0,200}not found", "Google"),
    Sign(r"not_found_error\b.*\bmodel: ", "Anthropic"),
    Sign(
        r"(?:invalid|unknown|unsupported|no such|unable to access|cannot find|could not find) model\b|not a valid model|"
        r"model identifier is invalid",
        "Mistral, Together, OpenRouter, AWS",
    ),
    Sign(
        r"no endpoints found for|not supported by any provider|not a chat model|not supported in the v1/",
        "OpenRouter, Hugging Face, OpenAI",
    ),
    Sign(
        r"(?:does not|doesn't|don't|not) have access to (?:the |this |it)?(?:\w+ )?(?:model|it\b)|"
        r"you do not have access to it",
        "OpenAI, AWS",
    ),
    Sign(r"try pulling it first", "Ollama"),
)

ADDRESS = (
    Sign(
        r"unknown_url|(?:unknown|unrecognized) request url|invalid url \(|no route matched|cannot (?:post|get|put) /|"
        r"unknown path|wrong api endpoint",
        "Groq, OpenAI, Kong, Express, Azure",
    ),
    Sign(r"api[ -]?version.{0,60}not supported|unsupported_?api_?version|UnknownOperation", "Azure, AWS"),
)

# What the model itself wrote was unusable; another sample may be fine.
MODELS_SLIP = frozenset({"tool_use_failed", "json_validate_failed", "output_parse_failed"})
"""Codes of a 400 that a retry may fix. Source: Groq."""

MINIMAX = {
    "1000": 500, "1001": 504, "1002": 429, "1004": 401, "1008": 402, "1013": 500, "1024": 500, "1026": 400, "1027": 400,
    "1033": 500, "1039": 429, "1041": 429, "1042": 400, "2013": 400, "2045": 429, "2049": 401, "2056": 402,
}  # fmt: skip
"""`base_resp.status_code` under a 200, as HTTP statuses. Source: https://www.minimax.io/platform/document/error-code."""
MINIMAX_BLOCKED = frozenset({"1026", "1027"})

ZAI = {
    "1000": "key", "1001": "key", "1002": "key", "1003": "key", "1004": "key", "1110": "account", "1111": "account",
    "1112": "account", "1113": "spent", "1120": "account", "1121": "account", "1211": "model", "1220": "account",
    "1221": "model", "1222": "model", "1261": "long", "1301": "blocked", "1302": "rate", "1303": "rate", "1304": "spent",
    "1305": "rate", "1308": "spent", "1309": "spent", "1310": "spent", "1311": "account", "1312": "rate", "1313": "account",
}  # fmt: skip
"""Z.ai's and BigModel's codes. Source: https://docs.z.ai/api-reference/api-code, and zai-org/feedback#789."""

_STATUSES = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "invalid_prompt": 400,
    "data_residency_mismatch": 400,
    "failed_precondition": 400,
    "badrequesterror": 400,
    "validationexception": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "payment_required": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "accessdeniedexception": 403,
    "not_found_error": 404,
    "not_found": 404,
    "notfounderror": 404,
    "model_not_found": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "ratelimiterror": 429,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "throttlingexception": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "resource_exhausted": 429,
    "slow_down": 429,
    "api_error": 500,
    "server_error": 500,
    "internal": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "service_unavailable": 503,
    "serviceunavailableexception": 503,
    "unavailable": 503,
    "server_is_overloaded": 503,
    "deadline_exceeded": 504,
    "overloaded_error": 529,
}


# OpenAI has a dozen words for an image that it cannot read (openai 3.57, types/responses/response_error.py).
_IMAGE_AT_FAULT = re.compile(r"\bimage_(?!generation)\w|\b(?:invalid|unsupported|empty|failed_to_download)_(?:\w+_)?image")


@functools.cache
def _pattern(signs: tuple[Sign, ...]) -> re.Pattern[str]:
    """Compiled at the first error: a program without errors pays nothing."""
    return re.compile("|".join(f"(?:{sign.words})" for sign in signs), re.IGNORECASE | re.DOTALL)


def says(signs: tuple[Sign, ...], words: str) -> bool:
    """Return whether a text holds one of the signs."""
    return _pattern(signs).search(words) is not None


def long_window(words: str) -> bool | None:
    """Return whether the limit that a text names first counts over a day or longer; None if it names no time."""
    long, short = _pattern(LONG_WINDOW).search(words), _pattern(SHORT_WINDOW).search(words)
    if long is None:
        return None if short is None else False
    return short is None or long.start() < short.start()


def status_of_words(codes: str, message: str) -> int:
    """Return the HTTP status that an error without a number stands for; 500 if its words say nothing."""
    for word in re.split(r"[^A-Za-z_]+", codes):
        if word.lower() in _STATUSES:
            return _STATUSES[word.lower()]
    if _IMAGE_AT_FAULT.search(codes):
        return 400
    words = f"{codes} {message}"
    meanings: Iterable[tuple[tuple[Sign, ...], int]] = (
        (WRONG_KEY, 401),
        (SPENT_CODES, 402),
        (SPENT_MONEY, 402),
        (BLOCKED, 400),
        (RATE, 429),
        (SPENT_WORDS, 402),
        (OVERLOADED, 503),
        (TOO_LONG, 400),
        (ACCOUNT, 403),
        (MODEL, 404),
        (ADDRESS, 404),
    )
    return next((status for signs, status in meanings if says(signs, words)), 500)

"""Does the model want Python functions called? They are, and it is told the results, turn after turn, until it answers.

Every turn is a `Call` of its own, with its turn in the governor, its money and its line in the trace. The functions run once
for each call that the model makes, whatever is repeated, hedged or handed to a fallback: those work on requests.
"""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from responder.call.attempts import Call
from responder.values.answer import NO_USAGE, Answer
from responder.values.bounds import Bounds
from responder.values.errors import (
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
    ResponderError,
    TurnsExceededError,
)
from responder.values.functions import Function
from responder.values.messages import Message, Part, Prompt, Text, ToolCall, ToolResult, as_messages
from responder.values.options import Options
from responder.wire.masking import masked

# So many functions of one turn run at once: models rarely ask for more, and a map has its workers beside them.
_AT_ONCE = 8

# Characters of an exception that the model is told.
_LONGEST_ERROR = 1000

DEFAULT_TURNS = 10
"""How often a model is asked for one prompt, unless the caller says otherwise."""

NOT_CALLED = "not called: the turns are used up"


class Functions:
    """The Python functions among the tools of an answer.

    Args:
        options: Whose tools.
    """

    def __init__(self, options: Options) -> None:
        tools = options.tools or ()
        self.names = [tool.name for tool in tools]
        self._called: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            tool.name: Function(tool.function, tool.name) for tool in tools if tool.function is not None
        }
        self._others = set(self.names) - set(self._called)

    def __bool__(self) -> bool:
        return bool(self._called)

    def wants(self, call: ToolCall) -> bool:
        """Return whether a call is answered here: by a function, or by an error where the model made the name up."""
        return call.name not in self._others

    def is_called_by(self, answer: Answer) -> bool:
        """Return whether an answer has calls that are answered here."""
        return bool(self._called) and any(self.wants(call) for call in answer.tool_calls)

    def result(self, call: ToolCall) -> ToolResult:
        """Call the function that the model asked for; its exception becomes the text of the result."""
        function = self._called.get(call.name)
        try:
            if function is None:
                raise ValueError(f"there is no tool {call.name!r}; there are: {', '.join(self.names)}")
            if call.is_broken:
                raise ValueError("the arguments are not a JSON object")
            return ToolResult(call.id, _content(function(call.arguments)), call.name)
        except Exception as error:  # noqa: BLE001 - the model is told, and may do better
            said = masked(f"{type(error).__name__}: {error}")[:_LONGEST_ERROR]
            return ToolResult(call.id, said, call.name, is_error=True)


class Conversation:
    """The turns of one prompt, whoever answers them. For one thread.

    Args:
        prompt: What is asked.
        max_turns: How often the model is asked, at most.
    """

    def __init__(self, prompt: Prompt, max_turns: int) -> None:
        self.messages: tuple[Message, ...] = as_messages(prompt)
        self.turns = 0
        self._max_turns = max_turns
        self._usage = NO_USAGE

    @property
    def is_whole(self) -> bool:
        """False when the last answer also wants tools called that are none of ours: it is no answer to the prompt yet."""
        return self.messages[-1].role != "tool"

    def answer(self, functions: Functions, ask: Callable[[], Answer], call: Call) -> Answer:
        """Return the answer that wants no function called.

        Args:
            functions: What may be called.
            ask: Sends `messages` and returns the model's answer.
            call: The first turn, whose bounds and trace are those of all.

        Raises:
            TurnsExceededError: The last turn wants one called, too.
            ResponderError: A turn's own error; its `messages` are those of the turns before it.
        """
        while True:
            try:
                answer = ask()
            except ResponderError as error:
                if self.turns:
                    error.messages = self.messages
                raise
            self.turns += 1
            self._usage = self._usage + answer.usage
            wanted = [each for each in answer.tool_calls if functions.wants(each)] if functions.is_called_by(answer) else []
            said = answer.message
            if not wanted:
                return self._finished(answer, (said,), answer.tool_calls)
            try:
                if self.turns >= self._max_turns:
                    raise self._exceeded(answer, said, wanted)
                results = _run(wanted, functions, call.bounds)
            except ResponderError as error:
                call.sign(error)
                error.messages = error.messages or self.messages
                raise
            self.messages = (*self.messages, said, Message("tool", results))
            if others := tuple(each for each in answer.tool_calls if not functions.wants(each)):
                return self._finished(answer, (), others)

    def _finished(self, answer: Answer, said: tuple[Message, ...], calls: tuple[ToolCall, ...]) -> Answer:
        """Fill in what only the conversation knows; the answer is nobody else's yet."""
        self.messages += said
        for name, value in (("tool_calls", calls), ("messages", self.messages), ("usage", self._usage)):
            object.__setattr__(answer, name, value)
        return answer

    def _exceeded(self, answer: Answer, said: Message, calls: Sequence[ToolCall]) -> TurnsExceededError:
        results = [ToolResult(call.id, NOT_CALLED, call.name, is_error=True) for call in calls]
        names = ", ".join(dict.fromkeys(call.name for call in calls))
        return TurnsExceededError(
            f"{answer.model} still wants {names} called after max_turns={self._max_turns}: raise it, or send error.messages on",
            messages=(*self.messages, said, Message("tool", results)),
            usage=self._usage,
            request_id=answer.request_id,
            model=answer.model,
        )


def later(options: Options) -> Options:
    """Return the options of the turns after the first one: a model that must call a tool each time would never answer."""
    if options.tool_choice in (None, "auto", "none"):
        return options
    return dataclasses.replace(options, tool_choice="auto")


def _run(calls: Sequence[ToolCall], functions: Functions, bounds: Bounds) -> list[ToolResult]:
    """Call functions in threads and return their results in the order of the calls.

    A thread cannot be ended from outside: at the deadline, or when the call is cancelled, what still runs is left alone, and
    what has not begun does not begin.

    Raises:
        DeadlineExceededError, CancelledError: They did not finish before.
        BaseException: What a function raised that is no error, such as a SystemExit.
    """
    results: list[ToolResult | None] = [None] * len(calls)
    waiting = iter([(place, call, contextvars.copy_context()) for place, call in enumerate(calls)])
    lock, awake = threading.Lock(), threading.Event()
    raised: list[BaseException] = []
    left, is_over = len(calls), False

    def work() -> None:
        nonlocal left
        while True:
            with lock:
                place, call, context = (None, None, None) if is_over else next(waiting, (None, None, None))
            if place is None or call is None or context is None:
                return
            try:
                results[place] = context.run(functions.result, call)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                raised.append(error)
                awake.set()
                return
            with lock:
                left -= 1
                if not left:
                    awake.set()

    cancel = bounds.cancel
    registered = cancel.register(awake.set) if cancel is not None else -1
    try:
        _start(work, min(len(calls), _AT_ONCE))
        seconds = bounds.deadline.remaining()
        awake.wait(None if seconds == math.inf else min(max(seconds, 0.0), threading.TIMEOUT_MAX))
    finally:
        with lock:
            is_over = True
        if cancel is not None:
            cancel.unregister(registered)
    if raised:
        raise raised[0]
    done = [result for result in results if result is not None]
    if len(done) == len(calls):
        return done
    names = ", ".join(call.name for place, call in enumerate(calls) if results[place] is None)
    if cancel is not None and cancel.cancelled:
        raise CancelledError(f"cancelled while a tool ran ({names}): {cancel.reason}")
    raise DeadlineExceededError(f"the deadline passed while a tool ran ({names})")


def _start(work: Callable[[], None], threads: int) -> None:
    for number in range(threads):
        try:
            threading.Thread(target=work, name="responder-tool", daemon=True).start()
        except RuntimeError:  # no thread is left for it
            if not number:
                work()
            return


def _content(value: Any) -> str | tuple[Part, ...]:
    """Return what a function gave back as the content of a result: texts and parts as they are, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Part.__args__):
        return (value,)
    if isinstance(value, (list, tuple)) and any(isinstance(part, Part.__args__) for part in value):
        return tuple(Text(part) if isinstance(part, str) else part for part in value)
    return json.dumps(value, ensure_ascii=False, default=_as_json)


def _as_json(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def checked_turns(max_turns: Any) -> int:
    """Return how often a model is asked at most.

    Raises:
        ConfigurationError: Not a whole number, 1 or more.
    """
    if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
        raise ConfigurationError(f"max_turns is a whole number, 1 or more, not {max_turns!r}", fatal=True)
    return max_turns

"""Who answers a prompt: a file, an equal prompt already asked, the first provider, or a fallback?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from responder.call.attempts import SINGLE, Call, Terms
from responder.call.dedupe import AskedOnce
from responder.call.keeping import AnswerStore, StoredAnswer
from responder.call.question import Question
from responder.call.replies import fit, invalid_answer
from responder.call.stream import Stream
from responder.call.turns import DEFAULT_TURNS, Conversation, Functions, checked_turns, later
from responder.values.answer import Answer
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import (
    APIError,
    CircuitOpenError,
    ConfigurationError,
    InvalidAnswerError,
    InvalidResponseError,
    ResponderError,
)
from responder.values.messages import Message, Prompt, as_messages
from responder.values.options import Options
from responder.values.schema import UnfitError
from responder.values.trace import Trace

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """One of the providers that may be asked.

    Attributes:
        endpoint: Where its questions go.
        options: What holds for its answers.
        timeout: For one attempt.
        system: What goes before every prompt; None: nothing.
        cache: Its file of reusable answers; None: each question is asked.
        stores: False where the run's checkpoint is the cache's file, too: it keeps each answer once.
    """

    endpoint: Endpoint
    options: Options
    timeout: Timeout
    system: str | None
    cache: AnswerStore | None
    stores: bool = True

    @property
    def name(self) -> str:
        """Provider and model, as `for_model` takes them."""
        return f"{self.endpoint.dialect.provider}:{self.endpoint.dialect.model}"

    def question(self, prompt: Prompt, is_streamed: bool = False) -> Question:
        """Return what is sent to this one for a prompt.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        return Question.of(self.endpoint.dialect, self.system, prompt, self.options, is_streamed)

    def key(self, question: Question) -> bytes:
        """Return the name under which a file keeps the answer."""
        return question.key(self.endpoint.dialect.provider)

    def restored(self, kept: StoredAnswer) -> Answer:
        """Return an answer that a file kept, as if it had just come.

        Raises:
            UnfitError: It does not fit the schema: the type has changed since, or another version kept it unchecked.
        """
        answer = self.endpoint.dialect.parse(kept.reply)
        object.__setattr__(answer, "request_id", kept.request_id)
        object.__setattr__(answer, "attempts", 0)
        fit(answer, self.options.schema)
        return answer


class Asker:
    """Gets the answer to one prompt after another. Safe for threads.

    Args:
        sources: The first provider and its fallbacks, in order.
        cancel: Ends the calls.
        terms: What the run allows.
        checkpoint: The run's file.
        dedupe: Ask equal prompts once.
        reasks: How often a model is asked again when its answer does not fit the schema.
        max_turns: How often a model is asked for one prompt, at most, where it has functions called.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        cancel: CancelToken | None,
        terms: Terms = SINGLE,
        checkpoint: AnswerStore | None = None,
        dedupe: bool = False,
        reasks: int = 1,
        max_turns: int = DEFAULT_TURNS,
    ) -> None:
        if isinstance(reasks, bool) or not isinstance(reasks, int) or reasks < 0:
            raise ConfigurationError(f"reasks must be a whole number, 0 or more, not {reasks!r}", fatal=True)
        self._reasks = reasks
        self._sources = sources
        self._functions = [Functions(source.options) for source in sources]
        self._max_turns = checked_turns(max_turns)
        self._cancel = cancel
        # Do not wait for a provider that is down if another can step in.
        self._terms = [replace(terms, patience=0.0)] * (len(sources) - 1) + [terms]
        self._checkpoint = checkpoint
        self._asked = AskedOnce() if dedupe else None
        self._out: set[int] = set()  # those that failed for every prompt: a wrong key, no credit

    def answer(self, prompt: Prompt, deadline: Deadline, trace: Trace) -> Answer:
        """Return the answer to a prompt.

        Raises:
            ResponderError: None of them answered; the last one's error.
        """
        first = self._sources[0]
        question = first.question(prompt)
        if self._asked is None:
            return self._answer(prompt, question, deadline, trace)
        return self._asked.result(first.key(question), lambda: self._answer(prompt, question, deadline, trace), deadline)

    def _answer(self, prompt: Prompt, question: Question, deadline: Deadline, trace: Trace) -> Answer:
        kept = self._kept(0, prompt, question, deadline)
        if kept is not None:
            return kept
        questions = [question, *(source.question(prompt) for source in self._sources[1:])]
        for place in range(1, len(questions)):
            kept = self._kept(place, prompt, questions[place], deadline)
            if kept is not None:
                return kept
        calls = [self._call(place, asked, deadline, trace) for place, asked in enumerate(questions)]
        conversation = Conversation(prompt, self._max_turns) if any(self._functions) else None

        def ask(place: int) -> Answer:
            if conversation is not None:
                return self._through_turns(place, prompt, conversation, calls[place])
            return self._fitting(self._sources[place], self._functions[place], prompt, calls[place])

        place, answer = self._in_turn(len(calls), ask)
        if conversation is None or conversation.is_whole:
            self._keep(place, questions[place], answer, deadline)
        return answer

    def kept(self, prompt: Prompt, deadline: Deadline) -> Answer | None:
        """Return the answer that a file holds, of whichever source; None where the prompt has to be asked.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        for place, source in enumerate(self._sources):
            kept = self._kept(place, prompt, source.question(prompt), deadline)
            if kept is not None:
                return kept
        return None

    def stream(self, prompt: Prompt, deadline: Deadline, trace: Trace, ended: Callable[[Stream], object] | None = None) -> Stream:
        """Return the answer to a prompt as a stream. Files and equal prompts are not used.

        Args:
            prompt: What is asked; refused here if it cannot be sent.
            deadline: When it must be over.
            trace: Gets what the stream did.
            ended: Called once, when the stream has ended, for any reason.
        """
        calls = [
            self._call(place, source.question(prompt, is_streamed=True), deadline, trace)
            for place, source in enumerate(self._sources)
        ]
        return Stream(calls, lambda begin: self._in_turn(len(calls), lambda place: begin(calls[place]))[1], ended)

    def _call(self, place: int, question: Question, deadline: Deadline, trace: Trace) -> Call:
        source = self._sources[place]
        return Call(source.endpoint, question, Bounds(source.timeout, deadline, self._cancel), self._terms[place], trace)

    def _fitting(self, source: Source, functions: Functions, prompt: Prompt, call: Call) -> Answer:
        """Return an answer that fits its schema, or wants functions called; what does not fit is shown to the model, once more.

        Raises:
            InvalidAnswerError: It did not come to fit.
        """
        answer = call.answer()
        messages: tuple[Message, ...] = ()
        for reask in range(self._reasks + 1):
            if functions.is_called_by(answer):
                return answer
            try:
                fit(answer, call.question.schema)
            except UnfitError as unfit:
                if answer.truncated or reask == self._reasks:  # asked in the same way, it would be cut again
                    error = invalid_answer(answer, unfit, reask)
                    call.sign(error)
                    raise error from None
                messages = (*(messages or as_messages(prompt)), answer.message, Message("user", _correction(unfit)))
            else:
                object.__setattr__(answer, "reasks", reask)
                return answer
            call = Call(call.endpoint, source.question(messages), call.bounds, call.terms, call.trace)
            call.trace.reasks += 1
            answer = call.answer()
        raise AssertionError("the last answer is returned or refused above")

    def _through_turns(self, place: int, prompt: Prompt, conversation: Conversation, call: Call) -> Answer:
        """Return an answer, after the functions that the model wants called; one who steps in goes on where it stands."""
        functions, source = self._functions[place], self._sources[place]

        def ask() -> Answer:
            if not conversation.turns:
                return self._fitting(source, functions, prompt, call)
            next_source = replace(source, options=later(source.options))
            question = next_source.question(conversation.messages)
            next_call = Call(call.endpoint, question, call.bounds, call.terms, call.trace)
            return self._fitting(next_source, functions, conversation.messages, next_call)

        return conversation.answer(functions, ask, call)

    def _in_turn(self, count: int, ask: Callable[[int], T]) -> tuple[int, T]:
        """Ask one after another until one answers; return who answered, and the answer."""
        places = [place for place in range(count) if place not in self._out] or [0]
        before: list[ResponderError] = []
        for place in places:
            try:
                return place, ask(place)
            except ResponderError as error:
                if place == places[-1] or not _another_may_answer(error):
                    if before:
                        error.fatal = error.fatal and all(other.fatal for other in before)
                        error.args = (f"{error}. Before that: " + "; ".join(str(other) for other in before),)
                    raise
                if error.fatal and not isinstance(error, CircuitOpenError):
                    self._out.add(place)
                before.append(error)
        raise AssertionError("the last one's error is raised above")

    def _keep(self, place: int, question: Question, answer: Answer, deadline: Deadline) -> None:
        source = self._sources[place]
        for file in (self._checkpoint, source.cache if source.stores else None):
            if file is None:
                continue
            try:
                file.store(source.key(question), answer.raw, answer.request_id, deadline, self._cancel)
            except ConfigurationError as error:
                if self._cancel is not None:
                    self._cancel.cancel(str(error))  # return this answer; stop asking for more that could not be kept

    def _kept(self, place: int, prompt: Prompt, question: Question, deadline: Deadline) -> Answer | None:
        """Return an answer that a file holds, as if it had just come; None where it has to be asked for."""
        source, checkpoint = self._sources[place], self._checkpoint
        if checkpoint is None and source.cache is None:
            return None
        key = source.key(question)
        while checkpoint is not None and (kept := checkpoint.take(key, deadline, self._cancel)) is not None:
            with contextlib.suppress(*_NOT_THIS_ONE):  # one that was stored later may do
                return self._restored(place, prompt, kept)
        if source.cache is not None and (kept := source.cache.find(key, deadline, self._cancel)) is not None:
            with contextlib.suppress(*_NOT_THIS_ONE):  # asked anew; that answer is the newest then
                return self._restored(place, prompt, kept)
        return None

    def _restored(self, place: int, prompt: Prompt, kept: StoredAnswer) -> Answer:
        """Return a kept answer, unless it wants functions called: then it is one to other tools, which were not to be called.

        Raises:
            UnfitError, InvalidResponseError: It is of no use.
        """
        answer, functions = self._sources[place].restored(kept), self._functions[place]
        if functions:
            if functions.is_called_by(answer):
                raise InvalidResponseError("the kept answer wants functions called")
            object.__setattr__(answer, "messages", (*as_messages(prompt), answer.message))
        return answer


# Why a kept answer may be of no use: it does not fit (the type has changed since), or it was damaged on disk, in a file of an
# earlier version, which has no digests.
_NOT_THIS_ONE = (UnfitError, InvalidResponseError)


def _another_may_answer(error: ResponderError) -> bool:
    if isinstance(error, InvalidAnswerError):
        return True
    return isinstance(error, APIError) and (error.retryable or error.fatal or error.suspect)


def _correction(unfit: UnfitError) -> str:
    problems = "\n".join(f"- {problem}" for problem in unfit.problems)
    return f"That answer does not fit the JSON Schema:\n{problems}\nAnswer again, with JSON that fits it and nothing else."

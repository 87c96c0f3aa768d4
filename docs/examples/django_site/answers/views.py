"""Three ways to ask from a view: several providers within a deadline, one as a stream, and many prompts with progress."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from responder import ResponderError, parallel_map
from responder.integrations.django import get_responder, stream_response
from responder.integrations.public import public_message, public_text

TOPICS = (
    "baseball", "bread", "bridges", "chess", "clouds", "comets", "coral", "glass", "harbours", "honey", "ice", "kites",
    "lighthouses", "maps", "moss", "opera", "paper", "rivers", "salt", "sleep", "steam", "swifts", "tea", "volcanoes",
)  # fmt: skip
PROMPTS = [f"Explain {topic} in one sentence." for topic in TOPICS]


def compare(request: HttpRequest) -> HttpResponse:
    """Ask several providers at once, and show those who answered within the deadline."""
    question = request.GET.get("question", "").strip()
    deadline = settings.ANSWER_DEADLINE

    def ask(name: str) -> dict[str, str]:
        try:
            return {"name": name, "text": public_text(get_responder(name).answer(question, deadline=deadline).text)}
        except ResponderError as error:  # one that fails costs the page its card, and nothing else
            return {"name": name, "error": public_message(error)}

    cards = [result.unwrap() for result in parallel_map(ask, settings.MODELS)] if question else []
    return render(request, "answers/compare.html", {"question": question, "cards": cards, "deadline": deadline})


def ask(request: HttpRequest) -> HttpResponse:
    """Show the page whose answer is streamed."""
    return render(request, "answers/ask.html", {"model": settings.MODELS[0]})


def answer(request: HttpRequest) -> HttpResponseBase:
    """Stream one answer; a browser that leaves ends the provider's stream."""
    question = request.GET.get("question", "").strip()
    if not question:
        return HttpResponseBadRequest("Ask something: ?question=...")
    return stream_response(request, get_responder().stream(question))


def batch(request: HttpRequest) -> HttpResponse:
    """Show the page on which many prompts are asked."""
    return render(request, "answers/batch.html", {"prompts": PROMPTS, "model": settings.MODELS[0]})


def results(request: HttpRequest) -> HttpResponseBase:
    """Ask many prompts, and send each result as it comes; a browser that leaves cancels the rest."""
    return stream_response(request, get_responder().imap_unordered(PROMPTS, max_workers=4))

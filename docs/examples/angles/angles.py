"""What is asked: one question, from four angles."""

from __future__ import annotations

ANGLES = {
    "Depth": "Go deep: take the one point that matters most and follow it to the bottom.",
    "Breadth": "Go wide: name many different aspects, in a sentence each.",
    "Structure": "Show the structure: the parts, and how they hang together.",
    "Time": "Tell it along time: before, during, after, and what comes next.",
}


def prompts(question: str) -> list[str]:
    """Return a prompt for each angle, in their order."""
    return [f"{question.strip()}\n{angle}" for angle in ANGLES.values()]

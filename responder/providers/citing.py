"""Which sources does an answer cite? Each dialect's annotations, as Citations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from responder.values.answer import Citation
from responder.values.reading import as_dict, as_index, as_list, as_str


def openai_citations(parts: Iterable[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """Return the citations of a message's parts (Responses), or of a message (Chat Completions)."""
    found: list[Citation] = []
    before = 0  # of the texts of the parts before: indexes count from the start of each
    for part in parts:
        for given in map(as_dict, as_list(part.get("annotations"))):
            note = as_dict(given.get("url_citation")) or given
            url, title = as_str(note.get("url")), as_str(note.get("title")) or as_str(note.get("filename"))
            start, end = as_index(note.get("start_index")), as_index(note.get("end_index"))
            if url or title or note.get("file_id"):
                found.append(
                    Citation(
                        url,
                        title or as_str(note.get("file_id")),
                        as_str(note.get("content")),
                        None if start is None else before + start,
                        None if end is None else before + end,
                    )
                )
        before += len(as_str(part.get("text")))
    return tuple(found)


def listed_citations(reply: Mapping[str, Any]) -> tuple[Citation, ...]:
    """Return the sources that a reply lists beside its choices (Perplexity and some gateways)."""
    results = [as_dict(result) for result in as_list(reply.get("search_results"))]
    if results:
        return tuple(
            Citation(as_str(result.get("url")), as_str(result.get("title")), as_str(result.get("snippet"))) for result in results
        )
    return tuple(Citation(url) for url in as_list(reply.get("citations")) if isinstance(url, str))


def anthropic_citations(blocks: Iterable[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """Return the citations of Anthropic's text blocks: each block is what its sources support."""
    found: list[Citation] = []
    before = 0
    for block in blocks:
        if block.get("type") != "text":
            continue
        end = before + len(as_str(block.get("text")))
        for note in map(as_dict, as_list(block.get("citations"))):
            title = as_str(note.get("title")) or as_str(note.get("document_title"))
            found.append(
                Citation(
                    as_str(note.get("url")) or as_str(note.get("source")), title, as_str(note.get("cited_text")), before, end
                )
            )
        before = end
    return tuple(found)


def gemini_citations(candidate: Mapping[str, Any]) -> tuple[Citation, ...]:
    """Return the sources that Google grounded a candidate in, and those that it cites."""
    grounding = as_dict(candidate.get("groundingMetadata"))
    places: dict[int, Mapping[str, Any]] = {}
    for support in map(as_dict, as_list(grounding.get("groundingSupports"))):
        for index in as_list(support.get("groundingChunkIndices")):
            if isinstance(index, int):
                places.setdefault(index, as_dict(support.get("segment")))
    found = []
    for index, chunk in enumerate(map(as_dict, as_list(grounding.get("groundingChunks")))):
        source = as_dict(chunk.get("web")) or as_dict(chunk.get("retrievedContext")) or as_dict(chunk.get("maps"))
        # Google counts its segments in bytes, so they are no places in a str: the text that it repeats says where.
        found.append(Citation(as_str(source.get("uri")), as_str(source.get("title")), as_str(places.get(index, {}).get("text"))))
    cited = as_dict(candidate.get("citationMetadata"))
    for note in map(as_dict, as_list(cited.get("citationSources") or cited.get("citations"))):
        found.append(Citation(as_str(note.get("uri")), as_str(note.get("title")), ""))
    return tuple(found)


def bedrock_citations(blocks: Iterable[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """Return the citations of Converse's blocks: each is what its sources support."""
    found: list[Citation] = []
    before = 0
    for block in blocks:
        cited = as_dict(block.get("citationsContent"))
        said = as_str(block.get("text")) + "".join(as_str(as_dict(part).get("text")) for part in as_list(cited.get("content")))
        for note in map(as_dict, as_list(cited.get("citations"))):
            source = "".join(as_str(as_dict(part).get("text")) for part in as_list(note.get("sourceContent")))
            url = as_str(as_dict(as_dict(note.get("location")).get("web")).get("url")) or as_str(note.get("source"))
            found.append(Citation(url, as_str(note.get("title")), source, before, before + len(said)))
        before += len(said)
    return tuple(found)


def cohere_citations(message: Mapping[str, Any]) -> tuple[Citation, ...]:
    """Return the citations of a message of Cohere's: one for each source of a piece of its text."""
    found: list[Citation] = []
    for note in map(as_dict, as_list(message.get("citations"))):
        for source in map(as_dict, as_list(note.get("sources"))):
            document = as_dict(source.get("document"))
            url, title = as_str(document.get("url")), as_str(document.get("title")) or as_str(source.get("id"))
            found.append(Citation(url, title, as_str(note.get("text")), as_index(note.get("start")), as_index(note.get("end"))))
    return tuple(found)

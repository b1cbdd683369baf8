"""Whole pictures from interlaced ones, whose odd and even lines were taken at different times."""

from __future__ import annotations

import av.error
import av.filter
from av.video.frame import VideoFrame


class Deinterlacer:
    """Passes progressive frames on; from the first interlaced one, runs all through a filter.

    The filter holds one frame back, and keeps each frame's presentation time.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._made_for: tuple[int, int, str] | None = None

    def feed(self, frame: VideoFrame) -> list[VideoFrame]:
        """Take one decoded frame; return what is ready.

        Raises:
            av.error.FFmpegError: the filter cannot read this pixel format.
        """
        shape = (frame.width, frame.height, frame.format.name)
        ready: list[VideoFrame] = []
        if self._graph is not None and shape != self._made_for:
            ready = self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                return [*ready, frame]
            self._graph, self._made_for = _graph(frame), shape
        self._graph.vpush(frame)
        return ready + _pulled(self._graph)

    def flush(self) -> list[VideoFrame]:
        """Return what is held back; the next frame begins anew."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.vpush(None)
        return _pulled(graph)


def _pulled(graph: av.filter.Graph) -> list[VideoFrame]:
    frames: list[VideoFrame] = []
    while True:
        try:
            frames.append(graph.vpull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return frames


def _graph(template: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=template.width, height=template.height, format=template.format, time_base=template.time_base
    )
    # One picture per frame, not per field: the rate stays; frames flagged progressive pass untouched.
    weaver = graph.add("bwdif", mode="send_frame", deint="interlaced")
    graph.link_nodes(source, weaver, graph.add("buffersink")).configure()
    return graph

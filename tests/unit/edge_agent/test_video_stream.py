import av

from edge_agent.camera.video_stream import DecodedStream


class Stumbling:
    """A container whose library fails at the end, as it does where a damaged file began another stream later."""

    def __init__(self, container):
        self.streams, self.format, self._container = container.streams, container.format, container

    def demux(self, stream):
        for packet in self._container.demux(stream):
            if packet.size == 0:
                raise IndexError("list index out of range")
            yield packet


def test_a_library_that_stumbles_at_the_end_loses_no_picture(films):
    film = films.make(times_ms=[n * 40 for n in range(25)], options={"bf": "3"})
    with av.open(str(film)) as container:
        decoded = list(DecodedStream(Stumbling(container), container.streams.video[0]).decoded())
    assert sum(item.picture is not None for item in decoded) == 25

import threading

import numpy as np

from edge_agent.camera.frames import Frame
from edge_agent.camera.latest import Captured, LatestFrame
from privacy.protocol.messages import SkipReason


def captured(index, missed=SkipReason.OVERLOAD):
    frame = Frame(pixels=np.zeros((32, 32, 3), np.uint8), index=index, monotonic_us=index)
    return Captured(frame=frame, missed=missed)


def test_the_newest_frame_wins():
    slot = LatestFrame()
    slot.put(captured(1))
    slot.put(captured(2))
    assert slot.take(timeout_s=0).frame.index == 2
    assert slot.take(timeout_s=0) is None


def test_a_loss_that_nobody_took_is_not_forgotten():
    slot = LatestFrame()
    slot.put(captured(5, SkipReason.CAMERA_LOST))
    slot.put(captured(6))
    assert slot.take(timeout_s=0).missed is SkipReason.CAMERA_LOST


def test_after_closing_the_last_frame_can_still_be_taken():
    slot = LatestFrame()
    slot.put(captured(1))
    slot.close()
    assert not slot.is_closed
    assert slot.take(timeout_s=0).frame.index == 1
    assert slot.is_closed


def test_a_waiting_reader_is_woken_by_a_frame():
    slot, got = LatestFrame(), []
    reader = threading.Thread(target=lambda: got.append(slot.take(timeout_s=30)))
    reader.start()
    slot.put(captured(9))
    reader.join(timeout=30)
    assert got[0].frame.index == 9


def test_a_writer_can_wait_until_the_latest_frame_was_taken():
    slot, waited = LatestFrame(), threading.Event()
    slot.wait_taken(timeout_s=30)
    slot.put(captured(1))

    def write():
        slot.wait_taken(timeout_s=30)
        waited.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert slot.take(timeout_s=30).frame.index == 1
    assert waited.wait(30)
    writer.join(timeout=30)
    slot.put(captured(2))
    slot.wait_taken(timeout_s=0)
    assert slot.take(timeout_s=0).frame.index == 2

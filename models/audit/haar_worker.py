"""Runs OpenCV's frontal-face Haar cascade for `models.audit.peers.HaarWorker`; imports nothing of ours.

Standard input: height and width (two little-endian u32), then that many grey pixels. Standard output: a count
(u32), then x, y, width, height (four i32) of each face. Needs OpenCV below 5.
"""

import struct
import sys
from typing import Any

import cv2
import numpy as np


def main() -> None:
    """Answer frames until standard input ends."""
    opencv: Any = cv2
    cascade = opencv.CascadeClassifier(opencv.data.haarcascades + "haarcascade_frontalface_default.xml")
    while True:
        head = sys.stdin.buffer.read(8)
        if len(head) < 8:
            return
        height, width = struct.unpack("<II", head)
        grey = np.frombuffer(sys.stdin.buffer.read(height * width), np.uint8).reshape(height, width)
        boxes = np.asarray(cascade.detectMultiScale(grey, 1.1, 3), "<i4").reshape(-1, 4)
        sys.stdout.buffer.write(struct.pack("<I", len(boxes)) + boxes.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

"""From checked content to pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import ContentError
from privacy.protocol.envelope import Codec, Header

UInt8Array = npt.NDArray[np.uint8]


def decode_crop(header: Header, content: bytes | memoryview) -> UInt8Array:
    """Decode a crop; nothing larger than the header's size is ever allocated.

    Args:
        header: authenticated header; its codec is a crop codec.
        content: opened content that passed `privacy.protocol.content.check_content` for this header, which refuses
            image bombs while they are still a few bytes. It is read where it lies.

    Returns:
        uint8 of shape (height, width, 3) in R, G, B order, or (height, width) for the grey codecs;
        writable, so that it can be wiped.

    Raises:
        ContentError: the content does not decode to the header's size.
    """
    size = (header.height, header.width)
    if header.codec is Codec.RAW_GRAY:
        return np.frombuffer(content, np.uint8).reshape(size).copy()
    mode = cv2.IMREAD_GRAYSCALE if header.codec is Codec.JPEG_GRAY else cv2.IMREAD_COLOR_RGB
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        raise ContentError("the crop does not decode") from None
    if decoded is None or decoded.shape[:2] != size:
        raise ContentError("the crop does not decode to the header's size")
    return np.asarray(decoded, np.uint8)

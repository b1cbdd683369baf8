"""Pure stage: score records and session events in, packs and changes per tenant out.

Rules, cited by number:

* P1  A pack holds 30 frames of one face in one playback segment; bit i of its mask says that slot i
      holds frame `bucket * 30 + i`. A slot whose bit is clear is all zero.
* P2  First wins: a slot that is set is never written again, so a redelivered entry changes no byte.
* P3  Packs do not depend on the order or the repetition of what they are built from.
* P4  Nothing is acked, to the stream or to the agent, before it is committed.
* P5  A worker writes a shard only while it holds the shard's lease, and the database checks that in the
      very transaction that writes.
* P6  Session events may come twice and late: an event of an older epoch never undoes a newer one.
"""

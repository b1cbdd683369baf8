"""Pure stage: when hot packs are sealed, what is overdue, how an erasure goes.

Rules, cited by number:

* L1  A closed session is sealed a moment after its end, and any pack that has been silent for a minute
      is sealed too: hot frames do not outlive their session.
* L2  A timeline, hot or at rest, is readable only with its session's data key, and that key only with a
      key-encryption key; both are in no database.
* L3  Sealing moves frames: they are sealed and their packs deleted in one transaction.
* L4  What the policy gives a time to live is deleted when it is due; how late that is, is measured.
* L5  An erasure runs in the order of `privacy.governance.erasure`, leaves no row but the tombstone and the evidence
      of consent, and is receipted in the transaction that deletes.
* L6  A clock that may be wrong deletes nothing for its age (`clock_guard`).
"""

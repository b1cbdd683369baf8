"""The REST API: accounts, studies, consent and timelines; it never carries a face."""

"""Versioned consent texts per locale, with digests."""

from privacy.governance.notices.rendering import LOCALES, Notice, render_notice

__all__ = ["LOCALES", "Notice", "render_notice"]

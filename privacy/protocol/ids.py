"""Identifiers that both sides share."""

from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
SessionId = NewType("SessionId", UUID)
KeyId = NewType("KeyId", str)

"""What anybody may know: the policy, and the platform's public keys."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.api.context import Context
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.result_schemas import PolicyFacts, RetentionRule
from cloud.api.routes.join import public_key_base64
from cloud.api.schemas import Keys

router = APIRouter(tags=["public"], route_class=CredentialFirstRoute)


@router.get("/v1/privacy/governance/policy")
async def read_policy(context: Context) -> PolicyFacts:
    """Give the policy that is enforced: how long what is kept, where capture is allowed."""
    policy = context.policy
    return PolicyFacts(
        version=policy.version,
        minimum_age_years=policy.minimum_age_years,
        disclosure_minimum=policy.disclosure_minimum,
        consent_ttl_us=policy.consent_ttl_us,
        retention={
            str(artefact): RetentionRule.model_validate({"ttl_us": rule.ttl_us, "from": str(rule.anchor)})
            for artefact, rule in policy.retention.items()
        },
        jurisdictions=sorted(policy.jurisdictions),
    )


@router.get("/.well-known/countenance/keys")
async def read_keys(context: Context) -> Keys:
    """Give the public signing key and the signed bundle of pool keys."""
    return Keys(signing_public_key=public_key_base64(context), key_bundle=context.key_bundle())
